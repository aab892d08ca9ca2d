import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.io import imread

from temlib.frames import read_frame
from temlib.real_frames import KATSUNO
from temlib.real_score import best_fit, block_mean, residual_variance


def test_block_mean_divides_where_an_even_division_is_nearest():
    image = np.array([[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 8.0, 10.0]])
    # five columns in three blocks: edges at 0, 1.67, 3.33, 5 become 0, 2, 3, 5
    np.testing.assert_allclose(block_mean(image, (1, 3)), [[2.5, 5.5, 8.5]])


def test_a_shifted_and_scaled_image_leaves_nothing():
    image = np.random.default_rng(2).random((40, 60))
    moved = np.roll(image, (2, -1), axis=(0, 1))
    moved = (moved + np.roll(moved, 1, axis=0)) / 2  # half a pixel further down
    assert residual_variance(image, 3 * moved - 5) == pytest.approx(0, abs=1e-12)


def test_the_best_fit_is_the_reference_where_only_shift_and_scale_differ():
    image = np.random.default_rng(2).random((40, 60))
    reference = 3 * np.roll(image, (-2, 1), axis=(0, 1)) - 5
    np.testing.assert_allclose(best_fit(image, reference), reference[5:-5, 5:-5])


def test_a_shift_beyond_the_range_is_not_undone():
    image = np.random.default_rng(2).random((40, 60))
    assert residual_variance(image, np.roll(image, 4, axis=1)) > 0.5 * image.var()


def test_a_constant_leaves_the_whole_variance():
    reference = np.random.default_rng(2).random((40, 60))
    assert residual_variance(np.ones((40, 60)), reference) == pytest.approx(reference[5:-5, 5:-5].var())


@pytest.mark.skipif(not KATSUNO.is_dir(), reason="the paper's real frames are not beside the project")
@pytest.mark.parametrize(
    ("denoised", "raw", "constant", "gaussian", "authors", "panel"),
    [("val_0001", "val_0002", 3.504, 3.384, 3.340, 3.318), ("val_0002", "val_0001", 3.525, 3.401, 3.352, 3.333)],
)
def test_the_published_scores_of_the_real_frames_come_out(denoised, raw, constant, gaussian, authors, panel):
    target = block_mean(read_frame(KATSUNO / f"{raw}.tif").image)
    frame = read_frame(KATSUNO / f"{denoised}.tif").image
    output = imread(KATSUNO / f"{denoised}_authors_output_panel.png").astype(float)
    hde = imread(KATSUNO / "val_0000_hde_panel.png") / 255
    assert residual_variance(np.ones_like(target), target) == pytest.approx(constant, abs=0.001)
    assert residual_variance(output, target) == pytest.approx(authors, abs=0.001)
    assert residual_variance(hde, target) == pytest.approx(panel, abs=0.001)
    best = min(residual_variance(block_mean(gaussian_filter(frame, width)), target) for width in (6, 7, 8))
    assert best == pytest.approx(gaussian, abs=0.002)
    assert -10 * np.log10(residual_variance(output, hde)) == pytest.approx(30.1, abs=0.05)
