import numpy as np
import pytest

from temlib.film import film_level, film_scale


def test_film_level_is_the_films_where_a_bar_covers_half_and_a_pixel_is_saturated():
    frame = np.full((50, 83), 6.0)  # 6 x 10 whole blocks of 8 x 8; what is left over is not looked at
    frame[:, :45] = 0.1
    frame[2, 70] = 65535
    assert film_level(frame)[0, 0] == pytest.approx(6)


def test_film_level_is_not_that_of_a_bar_that_covers_nine_tenths():
    frame = np.full((80, 160), 6.0)
    frame[:, 16:] = 0.1
    assert film_level(frame)[0, 0] == pytest.approx(3)


def test_film_level_is_the_block_mean_that_seven_tenths_undercut():
    blocks = np.arange(11.0).reshape(1, 11).repeat(8, axis=0).repeat(8, axis=1)  # means 0, 1, ..., 10
    assert film_level(blocks)[0, 0] == 7
    assert film_level(np.zeros((9, 7)))[0, 0] == 1
    assert film_level(np.full((3, 5), 4, np.uint16))[0, 0] == 4


def half_covered(values):
    """A frame (200, 304) of such pixels on film, a tenth of them on its left half, and the same without noise."""
    covered = np.where(np.arange(304) < 152, 0.1, 1.0)
    return covered * values, np.broadcast_to(covered, values.shape)


NOISE = np.random.default_rng(7)


@pytest.mark.parametrize(
    "values",
    [
        NOISE.normal(5, 4, (200, 304)),
        NOISE.normal(5, 4, (200, 304)).clip(0),  # 5 before the cut, 5.3 after it
        np.rint(44 * NOISE.normal(5, 4, (200, 304)).clip(0)) / 44,
        NOISE.poisson(5, (200, 304)) * 1.0,
        NOISE.poisson(1, (200, 304)) * 5.0,  # every third pixel is 0, and nothing was cut
    ],
    ids=["unclipped", "clipped", "counts", "counting", "counting one electron"],
)
def test_film_scale_is_the_mean_of_the_film_before_it_was_cut(values):
    frame, denoised = half_covered(values)
    assert film_scale(frame, 4 * denoised)[0, 0] == pytest.approx(1.25, rel=0.015)


def test_film_scale_is_not_that_of_hot_pixels():
    frame, denoised = half_covered(np.full((200, 304), 5.0))
    frame[100, 200] = 65535
    assert film_scale(frame, 4 * denoised)[0, 0] == pytest.approx(1.25, rel=0.02)


def test_film_scale_of_a_tensor_is_that_of_the_array():
    torch = pytest.importorskip("torch")
    frames, denoised = half_covered(NOISE.normal(5, 4, (2, 1, 200, 304)).clip(0).astype(np.float32))
    found = film_scale(torch.from_numpy(frames), torch.from_numpy(4 * denoised))
    np.testing.assert_allclose(found.numpy(), film_scale(frames, 4 * denoised), rtol=1e-4)


def test_film_scale_stays_1_where_nothing_is_known():
    dark = np.zeros((64, 80))
    for frame, denoised in ((dark, dark + 1), (dark + 1, dark), (dark - 1, dark + 1), (dark + 1, dark - 1)):
        assert film_scale(frame, denoised)[0, 0] == 1
