import numpy as np
import pytest

torch = pytest.importorskip("torch")

from temlib.camera import ONEVIEW_BIN8  # noqa: E402
from temlib.camera import expose as expose_one  # noqa: E402
from temlib.fresh_noise import draw_cameras, expose  # noqa: E402

GAIN = ONEVIEW_BIN8.counts_per_e
ONEVIEW = {
    "dose_e_per_px": 4.5,
    "pulse_shape": ONEVIEW_BIN8.pulse_shape,
    "white_e": ONEVIEW_BIN8.white_counts / GAIN,
    "segment_e": ONEVIEW_BIN8.segment_counts / GAIN,
    "fixed_e": 0.0,
    "segment_px": 32,
    "blur_px": ONEVIEW_BIN8.blur_px,
    "clipped": True,
    "counting": False,
}


def cameras(n, **changes):
    return {name: np.full(n, value) for name, value in (ONEVIEW | changes).items()}


def covariance(frames, lag_row, lag_col):
    residual = frames - frames.mean()
    rows, cols = frames.shape[-2:]
    return np.mean(residual[..., lag_row:, lag_col:] * residual[..., : rows - lag_row, : cols - lag_col])


@pytest.fixture(scope="module")
def both():
    """Flat frames through the camera here and, electron by electron, through that of `camera`."""
    here, _ = expose(torch.ones(8, 1, 192, 256), cameras(8), 1)
    rng = np.random.default_rng(1)
    there = [expose_one(np.ones((192, 256)), dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=rng) for _ in range(8)]
    here = here.numpy()[:, 0]
    return here.clip(max=60), np.stack(there) / GAIN


def test_mean_variance_and_zeros_are_those_of_the_camera_model(both):
    here, there = both
    assert here.mean() == pytest.approx(there.mean(), rel=0.01)
    assert here.var() == pytest.approx(there.var(), rel=0.03)
    assert np.mean(here == 0) == pytest.approx(np.mean(there == 0), abs=0.005)


@pytest.mark.parametrize("lag", [(1, 0), (0, 1), (0, 2), (0, 16), (0, 32)])
def test_covariances_are_those_of_the_camera_model(both, lag):
    here, there = both
    assert covariance(here, *lag) == pytest.approx(covariance(there, *lag), abs=0.05)


def test_expected_is_dose_times_transmission():
    transmission = torch.rand(2, 1, 6, 9)
    doses = np.array([2.0, 7.0])
    _, expected = expose(transmission, cameras(2) | {"dose_e_per_px": doses}, 1)
    np.testing.assert_allclose(expected.numpy(), transmission.numpy() * doses[:, None, None, None], rtol=1e-6)


def test_a_counting_camera_gives_whole_electrons():
    quiet = cameras(1, pulse_shape=np.inf, white_e=0.0, segment_e=0.0, blur_px=0.0, counting=True)
    frames, _ = expose(torch.ones(1, 1, 40, 60), quiet, 1)
    np.testing.assert_array_equal(frames.numpy(), np.rint(frames.numpy()))
    assert frames.numpy().var() == pytest.approx(4.5, rel=0.1)  # Poisson


def test_a_camera_that_does_not_clip_keeps_negative_values():
    frames, _ = expose(torch.ones(2, 1, 40, 60), cameras(2) | {"clipped": np.array([True, False])}, 1)
    assert frames[0].min() == 0
    assert frames[1].min() < 0


def test_the_same_seed_gives_the_same_frames():
    one, again, other = (expose(torch.ones(1, 1, 8, 32), cameras(1), seed)[0] for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_cameras_cover_the_ranges_that_are_stated():
    drawn = draw_cameras(4000, np.random.default_rng(0))
    assert 1 <= drawn["dose_e_per_px"].min() < 1.1
    assert 45 < drawn["dose_e_per_px"].max() <= 50
    assert np.mean(drawn["counting"]) == pytest.approx(0.04, abs=0.012)
    assert set(drawn["segment_px"]) == {0, 16, 32, 64}
    assert 0 < np.mean(drawn["clipped"]) < 1
    assert (drawn["white_e"] <= 5.5).all()
