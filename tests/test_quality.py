import numpy as np
import pytest

from temlib.quality import affine_fit, fitted_scores, haze, paper_scores

PIXEL_NM = 5.0


@pytest.fixture
def rng():
    return np.random.default_rng(20211210)


def half_dark(rows=32, cols=48):
    image = np.ones((rows, cols))
    image[:, : cols // 2] = 0.5
    return image


def test_affine_fit_undoes_brightness_and_contrast(rng):
    reference = rng.random((5, 7))
    np.testing.assert_allclose(affine_fit(0.2 * reference - 40, reference), reference)


def test_affine_fit_of_a_constant_image_is_the_mean_of_the_reference(rng):
    reference = rng.random((5, 7))
    np.testing.assert_allclose(affine_fit(np.full((5, 7), 3.0), reference), reference.mean())


def test_a_tenth_too_bright_is_an_mae_of_a_tenth_and_20_db():
    hde = np.array([[0.0, 0.5, 0.9], [0.9, 0.4, 0.0]])
    scores = paper_scores(hde + 0.1, hde)
    assert scores["mae"] == pytest.approx(0.1)
    assert scores["psnr_db"] == pytest.approx(20)


def test_a_blank_image_leaves_all_of_the_variance():
    reference = half_dark()
    scores = fitted_scores(np.ones_like(reference), reference, pixel_size_nm=PIXEL_NM)
    assert scores["mse"] == scores["variance"] == pytest.approx(0.25**2)


def test_noise_that_the_affine_fit_shrinks_leaves_the_error_of_the_wiener_formula():
    reference = half_dark()
    noise = 0.1 * (-1.0) ** np.indices(reference.shape).sum(axis=0)  # a chessboard, orthogonal to the halves
    scores = fitted_scores(7 * (reference + noise), reference, pixel_size_nm=PIXEL_NM)
    left = 0.25**2 * 0.1**2 / (0.25**2 + 0.1**2)
    assert scores["mse"] == pytest.approx(left)
    assert scores["psnr_affine_db"] == pytest.approx(-10 * np.log10(left))


def test_haze_is_the_rms_of_a_slow_error():
    row = np.arange(400)[:, None] * PIXEL_NM
    wave = 0.02 * np.cos(2 * np.pi * row / 1000) * np.ones((400, 300))
    damping = np.exp(-2 * (np.pi * 50 / 1000) ** 2)  # of a 1000 nm wave by a Gaussian of 50 nm
    expected = 0.02 / np.sqrt(2) * damping
    assert haze(1 + wave, np.ones((400, 300)), pixel_size_nm=PIXEL_NM) == pytest.approx(expected, rel=0.01)


def test_haze_forgets_pixel_noise(rng):
    noise = rng.normal(0, 0.02, (400, 300))
    # a Gaussian of 10 px averages 4 pi 10^2 pixels of independent noise
    expected = 0.02 / np.sqrt(4 * np.pi * 100)
    assert haze(1 + noise, np.ones((400, 300)), pixel_size_nm=PIXEL_NM) == pytest.approx(expected, rel=0.2)


def test_haze_does_not_count_what_is_wrong_inside_a_particle():
    reference = np.ones((80, 120))
    reference[30:50, 40:70] = 0.5
    wrong = np.where(reference < 1, 0.2, 1.0)
    assert haze(wrong, reference, pixel_size_nm=PIXEL_NM) == 0


def test_haze_of_a_frame_without_background_is_unknown():
    assert np.isnan(haze(np.full((20, 30), 0.4), np.full((20, 30), 0.5), pixel_size_nm=PIXEL_NM))
