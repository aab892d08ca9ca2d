"""Classical filters on the same frames as the network, each given its best chance.

The width is tuned on training fields, and what the camera's clipping at zero did to the
mean is undone. Frames in e-/px, results as transmission (background = 1).
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from skimage.filters.rank import median
from skimage.restoration import denoise_tv_chambolle

from temlib.camera import ONEVIEW_BIN8, pixel_variance
from temlib.quality import affine_fit

# What is tried: standard deviation [px], edge of the window [px], weight in units of the background
WIDTHS = {
    "gaussian": (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0),
    "median": (5, 9, 13, 17, 21, 25, 29, 33, 39, 45),
    "total_variation": (0.5, 0.7, 1.0, 1.4, 2.0, 2.8),
}


def clipped_mean(mean_e, camera=ONEVIEW_BIN8):
    """Mean that a pixel reads when negative values are clipped at zero.

    Parameters
    ----------
    mean_e : ndarray or float
        Mean without clipping [e-/px].
    camera : Camera

    Returns
    -------
    ndarray or float [e-/px]
        mu Phi(mu / s) + s phi(mu / s), the mean of max(0, x) for x normal with mean mu and
        the camera's standard deviation s at mu.
    """
    variance = (pixel_variance(mean_e, camera) + camera.segment_counts**2) / camera.counts_per_e**2
    spread = np.sqrt(variance)
    return mean_e * norm.cdf(mean_e / spread) + spread * norm.pdf(mean_e / spread)


def unclip(read_e, camera=ONEVIEW_BIN8):
    """Mean without clipping of what reads `read_e` on average [e-/px]; the inverse of `clipped_mean`.

    What reads less than an opaque region does becomes 0.
    """
    highest = max(float(np.max(read_e)), 1.0)
    mean_e = np.linspace(0, highest, 2000)  # clipping only ever raises a mean
    return np.interp(read_e, clipped_mean(mean_e, camera), mean_e)


def filter_frame(method, lde_e, background_e, width, *, camera=ONEVIEW_BIN8):
    """One LDE frame through a filter, as transmission.

    Parameters
    ----------
    method : str
        "gaussian", "median" or "total_variation" (Chambolle, 2004).
    lde_e : ndarray of shape (M, N)
        LDE frame [e-/px].
    background_e : float
        What the empty film reads in it [e-/px].
    width : float
        See `WIDTHS`.
    camera : Camera

    Returns
    -------
    ndarray of shape (M, N)

    Notes
    -----
    Filtering comes first, since only of a local mean is it known what clipping did to it. A
    local median needs no correction: half of the pixels are above it, clipped or not.
    """
    relative = lde_e / background_e
    if method == "median":  # of 8-bit values, in steps of 0.016, for which there is a fast way
        levels = np.clip(np.rint(relative * 64), 0, 255).astype(np.uint8)
        middle = median(levels, np.ones((width, width))) / 64
        return middle * background_e / unclip(background_e, camera)
    if method == "gaussian":
        smooth = gaussian_filter(relative, width)
    else:  # the default tolerance stops at a tenth of the iterations that such noise needs
        smooth = denoise_tv_chambolle(relative, weight=width, eps=1e-6, max_num_iter=500)
    return unclip(smooth * background_e, camera) / unclip(background_e, camera)


def tune_width(method, frames, references, backgrounds_e, *, camera=ONEVIEW_BIN8):
    """The width with the lowest nRMSE after the affine fit, over all frames together.

    Parameters
    ----------
    method : str
    frames, references : sequence of ndarray of shape (M, N)
        LDE frames [e-/px] of training fields, and what they should be.
    backgrounds_e : sequence of float
        Background of each frame [e-/px].

    Returns
    -------
    float
    """

    def error(width):
        total = 0.0
        for lde_e, reference, background_e in zip(frames, references, backgrounds_e, strict=True):
            filtered = filter_frame(method, lde_e, background_e, width, camera=camera)
            total += np.mean((affine_fit(filtered, reference) - reference) ** 2)
        return total

    return min(WIDTHS[method], key=error)
