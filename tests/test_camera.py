from dataclasses import replace

import numpy as np
import pytest

from temlib.camera import (
    ONEVIEW_BIN8,
    Camera,
    charge_shares,
    detectability,
    expose,
    fisher_information,
    pixel_variance,
    segment_offsets,
    to_counts,
)

QUIET = Camera(
    counts_per_e=10.0,
    pulse_shape=1.54,
    white_counts=0.0,
    segment_counts=0.0,
    segment_width_px=32,
    fixed_pattern_counts=0.0,
    blur_px=0.0,
)


def covariance(counts, lag_row, lag_col):
    residual = counts - counts.mean()
    rows, cols = counts.shape
    return np.mean(residual[lag_row:, lag_col:] * residual[: rows - lag_row, : cols - lag_col])


@pytest.fixture(scope="module")
def background():
    """An empty field as the paper's camera would record it, 600 x 700."""
    return expose(np.ones((600, 704)), dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=np.random.default_rng(0)).astype(
        float
    )


def test_empty_field_has_the_moments_of_the_real_frames(background):
    # camera.md, row "model, dose 4.5"
    assert background.mean() == pytest.approx(208, rel=0.01)
    assert background.var() == pytest.approx(23.9e3, rel=0.02)
    assert np.mean(background == 0) == pytest.approx(0.118, abs=0.006)


def test_empty_field_has_the_covariances_of_the_real_frames(background):
    # camera.md: along a row at lag 1, 2, 16, 32; down a column at lag 1
    assert covariance(background, 0, 1) == pytest.approx(1883, rel=0.08)
    assert covariance(background, 0, 2) == pytest.approx(993, rel=0.1)
    assert covariance(background, 0, 16) == pytest.approx(461, rel=0.2)
    assert covariance(background, 0, 32) == pytest.approx(0, abs=100)
    # of 4e5 pixels a covariance is known to 37 counts^2: 14 % is three standard errors
    assert covariance(background, 1, 0) == pytest.approx(804, rel=0.14)


def test_mean_counts_are_dose_times_gain_times_transmission():
    transmission = np.tile(np.linspace(0.2, 1, 50), (400, 1))
    counts = expose(transmission, dose_e_per_px=40, camera=QUIET, rng=np.random.default_rng(1))
    # 400 rows of Poisson numbers: 3 standard errors are 3 sqrt(1.65 / (400 x 8)) = 7 %
    np.testing.assert_allclose(counts.mean(axis=0), 400 * transmission[0], rtol=0.07)


def test_blur_keeps_the_total_charge():
    electrons_only = Camera(**(vars(QUIET) | {"blur_px": 0.4, "pulse_shape": 1e6}))
    field = np.ones((40, 30))
    counts = expose(field, dose_e_per_px=1000, camera=electrons_only, rng=np.random.default_rng(2))
    assert counts.mean() == pytest.approx(10_000, rel=0.01)


def test_variance_without_blur_is_gain_squared_times_excess_times_electrons():
    camera = Camera(**(vars(QUIET) | {"white_counts": 3.0, "fixed_pattern_counts": 4.0}))
    assert pixel_variance(7.0, camera) == pytest.approx(100 * (1 + 1 / 1.54) * 7 + 9 + 16)


def test_charge_shares_sum_to_one_electron():
    weight, measure = charge_shares(0.3)
    assert np.sum(weight * measure) == pytest.approx(1, rel=1e-3)


def test_segment_offsets_are_constant_inside_a_segment_and_change_at_its_edge():
    offsets = segment_offsets((5, 80), ONEVIEW_BIN8, np.random.default_rng(3))
    assert offsets.shape == (5, 80)
    assert np.all(offsets[:, :32] == offsets[:, :1])
    assert np.all(offsets[:, 31] != offsets[:, 32])
    assert np.all(offsets[:, 64:] == offsets[:, 64:65])  # the last segment is cut off


def test_counts_are_rounded_and_clipped_to_sixteen_bits():
    np.testing.assert_array_equal(to_counts(np.array([-3.2, 0.4, 1.6, 70_000.0])), [0, 0, 2, 65535])


def test_information_of_a_common_offset_without_segments_is_the_sum_of_inverse_variances():
    camera = Camera(**(vars(QUIET) | {"white_counts": 20.0}))
    electrons = np.full((3, 5), 2.0)
    variance_e = (1 + 1 / 1.54) * 2 + 4  # shot noise, and 20 counts at 10 counts an electron
    information = fisher_information(np.ones((1, 3, 5)), electrons, camera)
    assert information[0, 0] == pytest.approx(15 / variance_e)


def test_information_with_segments_equals_that_of_the_full_covariance_matrix():
    camera = Camera(**(vars(QUIET) | {"white_counts": 20.0, "segment_counts": 15.0, "segment_width_px": 3}))
    rng = np.random.default_rng(4)
    electrons = rng.uniform(1, 5, (2, 7))
    derivatives = rng.normal(size=(2, 2, 7))
    same_segment = np.equal.outer(np.arange(7) // 3, np.arange(7) // 3)
    expected = np.zeros((2, 2))
    for row in range(2):  # one covariance matrix a row, inverted by numpy
        covariance_e = np.diag(pixel_variance(electrons[row], camera) / 100) + same_segment * 1.5**2
        expected += derivatives[:, row] @ np.linalg.inv(covariance_e) @ derivatives[:, row].T
    np.testing.assert_allclose(fisher_information(derivatives, electrons, camera), expected)


@pytest.mark.parametrize(("dose_e_per_px", "more"), [(0.5, 0.069), (1.5, 0.027), (5, 0.003), (20, 0)])
def test_the_likelihood_of_clipped_pixels_holds_little_more_information(exact_pixel, dose_e_per_px, more):
    camera = replace(ONEVIEW_BIN8, segment_counts=0, fixed_pattern_counts=0, blur_px=0)
    exact = exact_pixel(dose_e_per_px, camera)["information"]
    told = fisher_information(np.ones((1, 1, 1)), np.full((1, 1), dose_e_per_px), camera)
    assert exact / told[0, 0] == pytest.approx(1 + more, abs=0.004)


def test_a_known_signal_in_white_noise_has_the_d_prime_of_its_energy():
    camera = Camera(**(vars(QUIET) | {"white_counts": 20.0}))
    electrons = np.full((3, 5), 2.0)
    variance_e = (1 + 1 / 1.54) * 2 + 4
    # d'^2 = sum s^2 / variance, for 15 pixels that lack half an electron each
    expected = np.sqrt(15 * 0.25 / variance_e)
    assert detectability(np.full((3, 5), 0.5), electrons, camera) == pytest.approx(expected)
