from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from temlib.camera import ONEVIEW_BIN8, expose
from temlib.preprocess import (
    background_level,
    bin_area,
    drift_bound_px,
    faithful_scale,
    find_drift_px,
    min_max_scale,
    prepare_pair,
    resize_as_authors,
)


def disc(shape, centre, radius, depth=0.5):
    row, col = np.indices(shape)
    return gaussian_filter(1 - depth * (np.hypot(row - centre[0], col - centre[1]) < radius), 1.0)


def test_area_binning_averages_blocks():
    np.testing.assert_allclose(bin_area(np.array([[1.0, 3, 0, 0], [5, 7, 0, 8]]), 2), [[4, 2]])


def test_authors_resize_is_the_mean_of_the_central_four_of_each_block():
    image = np.random.default_rng(0).normal(size=(24, 40))
    blocks = image.reshape(3, 8, 5, 8)[:, 3:5, :, 3:5]
    np.testing.assert_allclose(resize_as_authors(image, (3, 5)), blocks.mean(axis=(1, 3)), atol=1e-6)


def test_min_max_scale_runs_from_zero_to_one():
    np.testing.assert_allclose(min_max_scale(np.array([[2.0, 4.0, 6.0]])), [[0, 0.5, 1]])


def test_faithful_scale_saturates_the_brightest_fifth():
    ramp = np.arange(1000.0).reshape(20, 50)
    scaled = faithful_scale(ramp, 1, 80)
    assert np.mean(scaled == 1) == pytest.approx(0.2, abs=0.002)
    assert np.mean(scaled == 0) == pytest.approx(0.01, abs=0.002)
    # by hand: percentiles 1 and 80 of 0..999 are 9.99 and 799.2
    assert scaled[8, 0] == pytest.approx((400 - 9.99) / (799.2 - 9.99), rel=1e-5)


def test_faithful_scale_of_an_hde_frame_is_its_min_max_scale():
    image = np.random.default_rng(1).normal(size=(7, 9))
    np.testing.assert_allclose(faithful_scale(image, 0, 100), min_max_scale(image), atol=1e-6)


def test_background_is_the_film_even_where_particles_cover_a_third():
    rng = np.random.default_rng(2)
    image = np.full((150, 200), 1100.0)
    image[:, :66] = 500
    noisy = image + rng.normal(0, 30, image.shape)
    assert background_level(noisy, 1.0) == pytest.approx(1100, rel=0.01)


def test_background_of_an_lde_frame_is_the_dose_of_the_film():
    frame = expose(disc((256, 192), (100, 90), 40), dose_e_per_px=20, camera=ONEVIEW_BIN8, rng=np.random.default_rng(3))
    assert background_level(frame / 44, 4.0) == pytest.approx(20, rel=0.03)  # at 20 e- nothing is clipped


@pytest.mark.parametrize("drift", [(0.0, 0.0), (2.0, -1.0), (-1.5, 2.5)])
def test_drift_of_a_strong_particle_is_found(drift):
    shape = (192, 256)
    lde = expose(disc(shape, (90, 120), 30), dose_e_per_px=50, camera=ONEVIEW_BIN8, rng=np.random.default_rng(4))
    hde = 1000 * disc(shape, (90 + drift[0], 120 + drift[1]), 30)
    found = find_drift_px(hde, 1000.0, lde / 44, 50.0, ONEVIEW_BIN8)
    np.testing.assert_allclose(found, drift, atol=0.15)


def test_drift_found_spreads_by_no_more_than_twice_its_bound():
    shape, dose = (128, 160), 6.0
    specimen = disc(shape, (60, 80), 25) * disc(shape, (30, 40), 15) * disc(shape, (95, 120), 20)
    rng = np.random.default_rng(5)
    bound = drift_bound_px(1000 * specimen, 1000.0, dose, ONEVIEW_BIN8, 1)
    found = [
        find_drift_px(
            1000 * specimen,
            1000.0,
            expose(specimen, dose_e_per_px=dose, camera=ONEVIEW_BIN8, rng=rng) / 44,
            dose,
            ONEVIEW_BIN8,
        )
        for _ in range(30)
    ]
    spread = np.std(found, axis=0)
    assert np.all(spread < 2 * bound)
    assert np.all(spread > 0.6 * bound)  # an estimate better than the bound would mean that the bound is wrong


def test_bound_of_the_drift_falls_with_the_square_root_of_the_frames():
    hde = 1000 * disc((96, 120), (50, 60), 20)
    one, four = (drift_bound_px(hde, 1000.0, 5.0, ONEVIEW_BIN8, n) for n in (1, 4))
    np.testing.assert_allclose(one / four, 2)


def test_segment_noise_hides_drift_more_down_the_rows_than_along_them():
    hde = 1000 * disc((128, 128), (64, 64), 25)
    with_segments = drift_bound_px(hde, 1000.0, 5.0, replace(ONEVIEW_BIN8, segment_counts=100.0), 1)
    without = drift_bound_px(hde, 1000.0, 5.0, replace(ONEVIEW_BIN8, segment_counts=0.0), 1)
    loss = with_segments / without
    assert loss[0] > loss[1] > 1


def test_empty_field_is_not_shifted():
    rng = np.random.default_rng(6)
    film = np.ones((96, 128))
    ldes = np.stack([expose(film, dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=rng) / 44 for _ in range(2)])
    hde = 1000 + rng.normal(0, 5, film.shape)
    pair = prepare_pair(hde, hde, ldes, ONEVIEW_BIN8)
    assert not pair["aligned"]
    np.testing.assert_allclose(pair["hde"], hde, rtol=3e-4)  # as rounded for the file
    np.testing.assert_array_equal(pair["drift_px"], [0, 0])
