"""A score on real frames: how well one denoised frame predicts another raw frame of its field.

Two exposures of one field have independent noise, so what a denoised frame A leaves of the
raw frame B is B's noise plus the error of A. Done on the grid of the panels by which the
authors' network is known. Arrays in, numbers out.
"""

import numpy as np

PANEL_SHAPE = (246, 247)
CUT_PX = 5
HALF_STEPS = (range(-6, 7), range(-3, 4))  # half pixels that are tried, along rows and columns


def block_mean(image, shape=PANEL_SHAPE):
    """Mean over blocks of whole pixels, whose edges are the nearest to an even division.

    Parameters
    ----------
    image : ndarray of shape (M, N)
    shape : tuple of int
        At most (M, N); blocks differ by one pixel where it does not divide it.

    Returns
    -------
    ndarray of the given shape
    """
    image = np.asarray(image, dtype=np.float64)
    for axis, (size, blocks) in enumerate(zip(image.shape, shape, strict=True)):
        edges = np.rint(np.arange(blocks + 1) * size / blocks).astype(int)
        counts = np.diff(edges).reshape((-1, 1) if axis == 0 else (1, -1))
        image = np.add.reduceat(image, edges[:-1], axis=axis) / counts
    return image


def best_fit(image, reference):
    """Image after the shift and the affine fit that bring it nearest to `reference`.

    Parameters
    ----------
    image, reference : ndarray of shape (M, N)
        On one grid; half-pixel shifts of up to 3 rows and 1.5 columns are tried with linear interpolation.

    Returns
    -------
    ndarray of shape (M - 10, N - 10)
        In the unit of `reference`: 5 px are cut off every edge. The mean of the reference if the image is constant.
    """
    inside = np.s_[CUT_PX:-CUT_PX, CUT_PX:-CUT_PX]
    mean = reference[inside].mean()
    target = reference[inside] - mean
    best, fitted = 0.0, np.zeros_like(target, dtype=np.float64)
    for row in HALF_STEPS[0]:
        moved_rows = _half_shift(image, row, axis=0)
        for col in HALF_STEPS[1]:
            moved = _half_shift(moved_rows, col, axis=1)[inside]
            moved = moved - moved.mean()
            power, common = np.mean(moved**2), np.mean(moved * target)
            if power > 0 and common**2 / power > best:
                best, fitted = common**2 / power, common / power * moved
    return mean + fitted


def residual_variance(image, reference):
    """Variance of `reference` that `image` leaves after the best shift and the best affine fit (`best_fit`).

    Returns
    -------
    float
        In the square of the reference's unit; all of its variance for a constant image. On a
        0..1 scale, -10 log10 of it is a PSNR.
    """
    inside = np.s_[CUT_PX:-CUT_PX, CUT_PX:-CUT_PX]
    return np.mean((reference[inside] - best_fit(image, reference)) ** 2)


def _half_shift(image, steps, axis):
    """Image displaced by `steps` half pixels, periodically: what comes round is cut off."""
    whole, half = divmod(steps, 2)
    moved = np.roll(image, whole, axis)
    return (moved + np.roll(moved, 1, axis)) / 2 if half else moved
