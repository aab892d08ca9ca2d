"""Recorded images as specimens for the camera model."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.io import imread

from temlib.camera import ONEVIEW_BIN8, expose, pixel_variance
from temlib.exposed_images import binned_mask, grey_levels, particles_in, transmission_of
from temlib.paths import ROOT

SEGMENTATION = ROOT.parent / "shared" / "real" / "segmentation"
needs_real = pytest.mark.skipif(not SEGMENTATION.is_dir(), reason="no folder ../shared/real/segmentation")


def half_dark(rows=64, cols=96):
    """Film of grey level 160 whose left third has 40."""
    image = np.full((rows, cols), 160, np.uint8)
    image[:, : cols // 3] = 40
    return image


def test_the_film_becomes_1_and_a_quarter_of_its_grey_level_becomes_a_quarter():
    transmission = transmission_of(half_dark())
    assert transmission.shape == (32, 48)
    assert transmission.dtype == np.float32
    np.testing.assert_allclose(transmission[:, -8:], 1, rtol=1e-3)
    np.testing.assert_allclose(transmission[:, :8], 0.25, rtol=1e-3)


def test_a_black_level_is_taken_from_film_and_particle():
    # (40 - 20) / (160 - 20)
    np.testing.assert_allclose(transmission_of(half_dark(), black=20)[:, :8], 1 / 7, rtol=1e-3)
    # (40 + 80) / (160 + 80)
    np.testing.assert_allclose(transmission_of(half_dark(), black=-80)[:, :8], 1 / 2, rtol=1e-3)
    assert transmission_of(half_dark(), black=60)[:, :8].max() == 0


def test_without_smoothing_a_pixel_is_the_mean_of_its_block():
    image = np.full((41, 62), 100.0)
    image[10:13, 21:24] = [[20, 40, 99], [60, 80, 99], [99, 99, 99]]
    transmission = transmission_of(image, binning=2, sigma_px=0)
    assert transmission.shape == (20, 31)
    # rows 10 and 11, columns 22 and 23: (40 + 99 + 80 + 99) / 4 of 100
    assert transmission[5, 11] == pytest.approx(0.795, rel=1e-3)


def test_white_noise_falls_as_the_docstring_says():
    image = np.random.default_rng(1).normal(100, 10, (256, 512))
    transmission = transmission_of(image, binning=1, sigma_px=3)
    assert transmission.std() == pytest.approx(0.1 / (2 * 3 * np.sqrt(np.pi)), rel=0.05)


def test_channels_of_a_grey_picture_are_one_image_and_colours_are_refused():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    opaque = np.full_like(grey, 255)
    np.testing.assert_array_equal(grey_levels(np.dstack([grey, grey, grey, opaque])), grey)
    np.testing.assert_array_equal(grey_levels(np.dstack([grey, opaque])), grey)
    with pytest.raises(ValueError, match=r"\(3, 4, 3\) with colours"):
        grey_levels(np.dstack([grey, grey, opaque]))


def test_particles_of_a_mask_have_the_diameter_of_their_area():
    mask = np.zeros((40, 60), np.uint8)
    mask[4:12, 20:36] = 255  # 8 x 16 pixels, binned 4 x 8
    mask[30:, 50:] = 255  # 10 x 10 at the corner
    table = particles_in(binned_mask(mask))
    np.testing.assert_allclose(table.row_px, [3.5, 17])
    np.testing.assert_allclose(table.col_px, [13.5, 27])
    np.testing.assert_allclose(table.diameter_px, [2 * np.sqrt(32 / np.pi), 2 * np.sqrt(25 / np.pi)])


def test_an_empty_mask_has_no_particles():
    assert particles_in(np.zeros((8, 12), bool)).empty


@needs_real
@pytest.mark.parametrize("number", range(10))
def test_real_images_have_a_film_of_1_particles_below_it_and_little_noise(number):
    image, mask = (imread(SEGMENTATION / f"{kind}_{number}.png") for kind in ("image", "label"))
    transmission, particles = transmission_of(image), binned_mask(mask)
    assert transmission.shape == (256, 256)
    # median grey levels of the images inside and outside their hand-made masks: 0.54 to 0.82
    assert np.median(transmission[~particles]) == pytest.approx(1, abs=0.02)
    assert 0.5 < np.median(transmission[particles]) < 0.85
    assert transmission[distance_transform_edt(~particles) >= 4].std() < 0.07
    assert 5 < len(particles_in(particles)) < 40


@needs_real
def test_a_real_image_is_exposed_at_a_dose():
    transmission = transmission_of(imread(SEGMENTATION / "image_0.png"))
    counts = expose(transmission, dose_e_per_px=50, camera=ONEVIEW_BIN8, rng=np.random.default_rng(3))
    # at 50 electrons nothing is clipped: mean counts are 44 x dose x transmission
    assert counts.mean() == pytest.approx(44 * 50 * transmission.mean(), rel=0.01)
    error = counts / (44 * 50) - transmission
    expected = pixel_variance(50 * transmission, ONEVIEW_BIN8).mean() + 37.5**2 - 8**2  # no fixed pattern here
    assert error.var() == pytest.approx(expected / (44 * 50) ** 2, rel=0.03)
