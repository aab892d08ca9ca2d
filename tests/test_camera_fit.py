from dataclasses import replace

import numpy as np
import pytest

from temlib.camera import ONEVIEW_BIN8, expose, fixed_pattern
from temlib.camera_fit import (
    class_values,
    fit_camera,
    lifted_share,
    photon_transfer,
    pixel_probabilities,
    row_covariance,
)
from temlib.real_frames import KATSUNO, real_exposures

needs_real_frames = pytest.mark.skipif(not KATSUNO.is_dir(), reason="the paper's real frames are not beside this clone")


def exposures(camera, *, shape=(256, 320), seed=0):
    """Two exposures of two fields with a dark stripe, which gives the fit a range of intensities."""
    rng = np.random.default_rng(seed)
    pattern = fixed_pattern(shape, camera, rng)
    sets = []
    for left in (40, 150):
        transmission = np.ones(shape)
        transmission[:, left : left + 60] = 0.35
        frames = [
            expose(transmission, dose_e_per_px=4.5, camera=camera, rng=rng, fixed_pattern=pattern) for _ in range(2)
        ]
        sets.append(np.stack(frames).astype(float))
    return sets


def neighbour_covariance(frame):
    rest = frame - frame.mean()
    return np.mean(rest[1:] * rest[:-1])


@pytest.fixture(scope="module")
def fitted():
    return fit_camera(exposures(ONEVIEW_BIN8), counts_per_e=44.0, n_blocks=2)  # standard errors are not looked at


def test_probabilities_are_those_of_simulated_pixels():
    camera = replace(ONEVIEW_BIN8, segment_counts=0.0, fixed_pattern_counts=0.0)
    frame = expose(np.ones((700, 500)), dose_e_per_px=3.0, camera=camera, rng=np.random.default_rng(5))
    model = pixel_probabilities(np.array([3.0]), camera, camera.white_counts)[0]
    assert model.sum() == pytest.approx(1, abs=1e-6)
    assert model[0] == pytest.approx(np.mean(frame == 0), abs=0.003)
    assert model @ class_values() == pytest.approx(frame.mean(), rel=0.01)


def test_fit_gives_back_the_camera_that_made_the_frames(fitted):
    camera, _, _ = fitted
    assert camera.white_counts == pytest.approx(133, rel=0.03)
    assert camera.segment_counts == pytest.approx(37.5, rel=0.05)
    assert camera.excess_factor == pytest.approx(1.65, rel=0.1)
    assert camera.blur_px == pytest.approx(0.15, abs=0.03)


def test_a_gain_as_in_the_file_is_not_reported(fitted):
    assert not fitted[2]


def test_a_gain_half_as_high_as_the_file_says_is_reported():
    frames = exposures(replace(ONEVIEW_BIN8, counts_per_e=22.0, white_counts=60.0), shape=(192, 256))
    _, table, disagrees = fit_camera([2 * pair for pair in frames], counts_per_e=22.0, n_blocks=2)
    # doubled counts: a pulse is 44 counts high where the file says 22
    assert disagrees
    assert table.set_index("parameter").loc["gain", "value"] > 1.2 * 22


def test_photon_transfer_of_the_model_follows_the_frames(fitted):
    table = photon_transfer(exposures(ONEVIEW_BIN8, seed=1), fitted[0])
    table = table.iloc[[0, 1, -2, -1]]  # the levels between mix both sides of the stripe's edge
    np.testing.assert_allclose(table["model_variance"], table["variance"], rtol=0.03)
    np.testing.assert_allclose(table["model_zeros"], table["zeros"], atol=0.015)


def test_row_covariance_vanishes_beyond_a_segment(fitted):
    table = row_covariance(exposures(ONEVIEW_BIN8), fitted[0]).set_index("lag_px")
    assert abs(table.loc[36:, "covariance"].mean()) < 50
    assert table.loc[2, "covariance"] == pytest.approx(table.loc[2, "model"], rel=0.15)


def test_clipping_lets_as_much_shared_charge_through_as_the_model_says():
    quiet = replace(ONEVIEW_BIN8, white_counts=0.0, segment_counts=0.0, fixed_pattern_counts=0.0)
    rng = np.random.default_rng(4)
    charge = expose(np.ones((900, 1100)), dose_e_per_px=2.0, camera=quiet, rng=rng).astype(float)
    clipped = [np.clip(charge + rng.normal(0, 133, charge.shape), 0, None) for _ in range(4)]
    kept = np.mean([neighbour_covariance(frame) for frame in clipped]) / neighbour_covariance(charge)
    # 0.59, known to 1.5 %; the squared share of pixels above 0 would be 0.52
    assert lifted_share(np.array([2.0]), quiet, 133.0)[0] ** 2 == pytest.approx(kept, rel=0.04)


@needs_real_frames
def test_real_frames_give_the_camera_that_was_measured_on_them():
    sets, gain = real_exposures()
    camera, table, disagrees = fit_camera(sets, counts_per_e=gain)
    # camera.md: white noise 133 to 138 counts, excess factor 1.65, segments 37 counts; within 15 %
    assert camera.white_counts == pytest.approx(135.5, rel=0.15)
    assert camera.excess_factor == pytest.approx(1.65, rel=0.15)
    assert camera.segment_counts == pytest.approx(37, rel=0.15)
    assert not disagrees
    assert np.all(table["standard_error"] > 0)
