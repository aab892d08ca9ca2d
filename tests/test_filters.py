import numpy as np
import pytest
from scipy.ndimage import median_filter

from temlib.camera import ONEVIEW_BIN8, expose
from temlib.filters import WIDTHS, clipped_mean, filter_frame, noise_level, tune_width, unclip

GAIN = ONEVIEW_BIN8.counts_per_e


def exposure(transmission, seed=3):
    rng = np.random.default_rng(seed)
    return expose(transmission, dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=rng) / GAIN


def test_clipping_lifts_dark_means_as_was_measured_on_the_real_frames():
    counts = np.array([20, 65, 100, 200])
    # camera.md: these means read as 67, 98, 124 and 210 counts
    np.testing.assert_allclose(clipped_mean(counts / GAIN) * GAIN, [67, 98, 124, 210], atol=3)


def test_clipped_mean_is_what_the_camera_model_reads_electron_by_electron():
    for transmission in (0.2, 0.6, 1.0):
        read = exposure(np.full((150, 200), transmission)).mean()
        assert clipped_mean(4.5 * transmission) == pytest.approx(read, rel=0.02)


def test_unclip_undoes_clipped_mean():
    mean_e = np.linspace(0, 8, 12).reshape(3, 4)
    np.testing.assert_allclose(unclip(clipped_mean(mean_e)), mean_e, atol=1e-3)


def test_frames_far_above_zero_are_left_as_they_are():
    counts = np.array([[300.0, 500.0, 400.0]])  # a file without electron calibration
    np.testing.assert_allclose(unclip(counts), counts, rtol=1e-3)


FILTERS = [("gaussian", 12), ("median", 25), ("total_variation", 4.0), ("non_local_means", 4), ("bm3d", 4)]


@pytest.mark.parametrize(("method", "width"), FILTERS)
def test_a_filter_gives_back_the_transmission_of_a_dark_half(method, width):
    if method == "bm3d":
        pytest.importorskip("bm3d")
    transmission = np.ones((128, 192))
    transmission[:, :96] = 1 / 3
    lde = exposure(transmission)
    background = clipped_mean(4.5)
    filtered = filter_frame(method, lde, background, width)
    assert filtered[40:90, 25:70].mean() == pytest.approx(1 / 3, abs=0.05)  # it reads as 0.46
    assert filtered[40:90, 120:170].mean() == pytest.approx(1, abs=0.06)
    assert lde[40:90, 25:70].mean() / background == pytest.approx(0.46, abs=0.02)


def test_the_quick_median_is_the_median():
    lde = exposure(np.full((40, 60), 0.9))
    background = clipped_mean(4.5)
    quick = filter_frame("median", lde, background, 5) * unclip(background)
    steps = background / 64  # of the 8-bit values
    np.testing.assert_allclose(quick[2:-2, 2:-2], median_filter(lde, 5)[2:-2, 2:-2], atol=0.51 * steps)


def test_a_clean_frame_asks_for_the_narrowest_filter_and_a_noisy_empty_one_for_a_wide_one():
    rng = np.random.default_rng(5)
    fine = 1 + 0.3 * rng.random((40, 50))
    assert tune_width("gaussian", [400 * fine], [fine], [400.0]) == WIDTHS["gaussian"][0]
    slow = 1 + 0.05 * np.cos(np.arange(96) / 30)[None, :] * np.ones((64, 1))
    assert tune_width("gaussian", [exposure(slow)], [slow], [clipped_mean(4.5)]) >= 10


def test_a_frame_that_nothing_clipped_is_not_corrected_for_clipping():
    frame = np.full((60, 90), 0.4)
    np.testing.assert_allclose(filter_frame("gaussian", frame, 0.8, 2.0, camera=None), 0.5)
    np.testing.assert_allclose(filter_frame("non_local_means", frame, 0.8, 4, camera=None), 0.5)


def test_the_noise_is_measured_past_stripes_and_slow_changes():
    rng = np.random.default_rng(6)
    image = np.linspace(0, 5, 300)[:, None] + 0.7 * rng.standard_normal((300, 200))
    assert noise_level(image) == pytest.approx(0.7, rel=0.01)


def test_bins_that_do_not_divide_the_frame_lose_nothing_and_move_nothing():
    row, col = np.indices((50, 71))
    frame = 5 + 0.02 * row + 0.03 * col
    filtered = 5 * filter_frame("non_local_means", frame, 5.0, 4, camera=None)
    assert filtered.shape == frame.shape
    np.testing.assert_allclose(filtered[8:40, 8:60], frame[8:40, 8:60], atol=0.05)
