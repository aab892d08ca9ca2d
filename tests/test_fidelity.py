import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.draw import disk

from temlib import fidelity, filters, trials
from temlib.real_score import PANEL_SHAPE

NM = {"pixel_size_nm": 3.0}


def noise(seed, shape=(96, 160)):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_film_mask_leaves_out_a_particle_and_thirty_nanometres_around_it():
    image = np.ones((80, 120))
    image[disk((40, 50), 12)] = 0.5
    film = fidelity.film_mask(image, smooth_px=0.5, darkest=0.9, **NM)
    row = np.flatnonzero(~film[40])
    # the disk reaches from column 39 to 61; ten pixels of 3 nm more on either side, and one of the smoothing
    assert abs(row[0] - 29) <= 1 and abs(row[-1] - 71) <= 1
    assert film[:, 80:].all()


def test_film_without_particles_is_film_everywhere():
    assert fidelity.film_mask(4.5 + 0.1 * noise(0), smooth_px=2.0, darkest=0.9, **NM).all()


def test_masks_without_a_panel_agree_on_both_grids():
    exposures = 4.5 + 0.1 * noise(1, (2, 512, 512))
    exposures[:, 100:160, 200:300] = 2.0
    full, panel = fidelity.film_masks(exposures, None, **NM)
    assert full.shape == (512, 512) and panel.shape == PANEL_SHAPE
    assert not full[130, 250] and not panel[62, 120]
    assert full.mean() == pytest.approx(panel.mean(), abs=0.01)


def test_the_beam_is_no_unevenness_of_the_film():
    beam = 5 * np.add.outer(np.linspace(0.98, 1.02, 300), np.zeros(400))
    film = np.ones(beam.shape, bool)
    assert fidelity.roughness(beam, film, **NM) < 0.003  # its standard deviation is 0.012
    assert fidelity.roughness(beam * (1 + 0.3 * gaussian_filter(noise(2, beam.shape), 4)), film, **NM) > 0.01


def test_ring_correlation_of_an_image_with_itself_is_one_and_with_other_noise_about_zero():
    itself = fidelity.ring_correlation(noise(3), noise(3), **NM)
    np.testing.assert_allclose(itself["frc"], 1)
    strange = fidelity.ring_correlation(noise(3), noise(4), **NM)
    # the real part of n complex coefficients in random phase has the variance 1 / (2 n)
    assert np.mean(2 * strange["n"] * strange["frc"] ** 2) == pytest.approx(1, abs=0.4)
    assert itself["frequency_per_nm"].max() < 1 / 6  # Nyquist


def test_ring_correlation_of_two_exposures_is_s_over_one_plus_s():
    signal = 2 * noise(5, (400, 300))
    found = fidelity.ring_correlation(signal + noise(6, signal.shape), signal + noise(7, signal.shape), **NM)
    assert found["frc"].mean() == pytest.approx(4 / 5, abs=0.02)
    truth = fidelity.ring_correlation(signal, signal + noise(7, signal.shape), **NM)
    assert truth["frc"].mean() == pytest.approx(np.sqrt(4 / 5), abs=0.02)


def test_a_linear_filter_does_not_change_the_ring_correlation():
    signal = gaussian_filter(noise(8), 2) * 5
    raw, other = signal + noise(9), signal + noise(10)
    before = fidelity.ring_correlation(raw, other, **NM)["frc"]
    after = fidelity.ring_correlation(gaussian_filter(raw, 2, mode="wrap"), other, **NM)["frc"]
    assert np.abs(after - before)[:8].max() < 0.05


def test_rings_are_counted_in_nanometres_along_both_axes():
    row, col = np.indices((96, 160))
    wave = np.cos(2 * np.pi * row * 2.0 / 24) + np.cos(2 * np.pi * col * 4.0 / 24)  # 24 nm on pixels of 2 and 4 nm
    found = fidelity.ring_correlation(wave, wave + 0.5 * noise(11), pixel_size_nm=(2.0, 4.0))
    strongest = found.loc[found["frc"].idxmax(), "frequency_per_nm"]
    assert strongest == pytest.approx(1 / 24, abs=0.01)


def test_stripes_of_a_known_height_are_found_and_noise_holds_none():
    offsets = 0.05 * noise(12, (512, 6))
    image = 4 * (1 + np.repeat(offsets, 32, axis=1) + 0.1 * noise(13, (512, 192)))
    film = np.ones(image.shape, bool)
    assert fidelity.stripes(image, film, segment_px=32, **NM) == pytest.approx(0.05, abs=0.006)
    assert abs(fidelity.stripes(4 + 0.4 * noise(14, image.shape), film, segment_px=32, **NM)) < 0.01


def test_segments_that_are_not_all_film_do_not_count():
    image = np.ones((64, 128))
    film = np.ones(image.shape, bool)
    image[:, 40], film[:, 40] = 0.2, False
    image[:, 72:88:2] = 1.0
    assert fidelity.stripes(image, film, segment_px=32, **NM) == 0


def test_a_dark_border_is_found():
    image = np.full((200, 260), 3.0)
    image[:8] = image[-8:] = 2.97
    image[:, :8] = image[:, -8:] = 2.97
    film = np.ones(image.shape, bool)
    assert fidelity.border_step(image, film, **NM) == pytest.approx(-0.01, abs=0.001)
    assert np.isnan(fidelity.border_step(image, np.zeros(image.shape, bool), **NM))


def test_a_blob_that_the_other_exposure_shows_is_confirmed_and_another_is_not():
    film, there = np.ones((120, 160), bool), np.ones((120, 160))
    there[disk((40, 50), 8)] = 0.9
    invented = there.copy()
    invented[disk((80, 110), 8)] = 1.1
    raw = 4 * there + 0.2 * noise(15, there.shape)
    honest = fidelity.blobs(4 * there, film, raw, **NM)
    assert (honest["dark_blobs"], honest["bright_blobs"]) == (1, 0)
    assert honest["blob_support"] == pytest.approx(1, abs=0.15)
    half = fidelity.blobs(4 * invented, film, raw, **NM)
    assert (half["dark_blobs"], half["bright_blobs"]) == (1, 1)
    assert half["blob_support"] == pytest.approx(0.5, abs=0.15)


def test_what_lies_outside_of_the_film_is_no_invention():
    image = np.ones((120, 160))
    image[disk((40, 50), 8)] = 0.5
    film = fidelity.film_mask(image, smooth_px=0.5, darkest=0.9, **NM)
    found = fidelity.blobs(image, film, image, **NM)
    assert found["dark_blobs"] == found["bright_blobs"] == 0
    assert np.isnan(found["blob_support"])


def test_a_panel_has_no_score_that_takes_single_pixels():
    row = np.arange(512)[:, None]
    other = 4.5 * (1 - 0.5 * (np.hypot(row - 250, row.T - 260) < 60)) + 0.5 * noise(16, (512, 512))
    films = fidelity.film_masks(np.stack([other, other]), None, **NM)
    truth = np.where(np.hypot(row - 250, row.T - 260) < 60, 2.25, 4.5)
    full, _ = fidelity.scores(truth, other, films, **NM)
    panel, _ = fidelity.scores(fidelity.block_mean(truth) * 50 - 3, other, films, **NM)
    assert np.isnan(panel["stripes"]) and np.isnan(panel["border_step"])
    assert panel["residual_variance_e2"] == pytest.approx(full["residual_variance_e2"])
    assert panel["roughness"] == pytest.approx(full["roughness"], abs=0.002)


def test_against_a_panel_the_psnr_is_that_of_what_the_best_fit_leaves():
    truth, wrong = 0.7 + 0.1 * gaussian_filter(noise(20, (512, 512)), 9) * 9, 0.02 * noise(21, PANEL_SHAPE)
    panel = fidelity.block_mean(truth)
    films = np.ones(truth.shape, bool), np.ones(PANEL_SHAPE, bool)
    row, _ = fidelity.scores(40 * truth - 7, truth, films, panel + wrong, **NM)
    assert row["psnr_panel_db"] == pytest.approx(-20 * np.log10(0.02), abs=0.1)


def test_the_best_width_is_nearer_to_the_truth_than_the_ends_of_the_range_and_brings_the_level_back():
    truth = np.ones((260, 280))
    for row, col in np.random.default_rng(22).uniform(20, 240, (12, 2)):
        truth[disk((row, col), 14)] = 0.3
    rng = np.random.default_rng(23)
    frame, other = (trials.expose(truth, "clipped", dose_e_per_px=4.5, rng=rng) for _ in range(2))
    image, width = fidelity.best_filtered("gaussian", frame, other)
    assert image[truth == 1].mean() == pytest.approx(4.5, rel=0.03)
    error = np.mean((image - 4.5 * truth) ** 2)
    for end in (min(filters.WIDTHS["gaussian"]), max(filters.WIDTHS["gaussian"])):
        assert end != width
        assert error < 0.8 * np.mean((4.5 * filters.filter_frame("gaussian", frame, 4.7, end) - 4.5 * truth) ** 2)


def test_the_brightness_beside_particles_is_found_whatever_the_light():
    distance = np.hypot(*(np.mgrid[0:90, 0:140] - np.array([40, 60])[:, None, None])) - 10  # of a disc [px]
    image = np.where(distance > 0, 1 + 0.08 * np.exp(-np.maximum(distance, 0) / 3), 0.3)
    light = 5 * (1 + 0.2 * np.linspace(-1, 1, 140)) * (1 - 0.1 * np.linspace(-1, 1, 90)[:, None] ** 2)
    table = fidelity.beside_particles(image * light, np.where(distance > 0, 1.0, 0.3), pixel_size_nm=3.0)
    expected = 1 + 0.08 * np.exp(-table["distance_nm"] / 3 / 3)
    np.testing.assert_allclose(table["intensity"][1:], expected[1:], atol=0.006)


def test_where_there_is_no_particle_or_no_film_nothing_is_beside_one():
    for denoised in (np.ones((60, 70)), np.where(np.indices((60, 70)).sum(0) < 110, 0.4, 1.0)):
        assert fidelity.beside_particles(np.ones((60, 70)), denoised, pixel_size_nm=3.0).empty
