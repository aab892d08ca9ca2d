"""Classical filters on the same frames as the network, each given its best chance.

The width is tuned on training fields, and what the camera's clipping at zero did to the
mean is undone. Frames in e-/px, results as transmission (background = 1).
"""

import threading

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters.rank import median
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from skimage.transform import resize

from temlib.camera import ONEVIEW_BIN8, cut_mean, pixel_variance
from temlib.preprocess import bin_area
from temlib.quality import affine_fit

# What is tried: standard deviation [px], edge of the window [px], weight in units of the noise
WIDTHS = {
    "gaussian": (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0),
    "median": (5, 9, 13, 17, 21, 25, 29, 33, 39, 45),
    "total_variation": (0.7, 1.0, 1.4, 2.0, 2.8, 4.0),
}
# Those that compare patches: edge of the bins that are averaged first [px]. With the noise of one pixel as
# high as the signal no two patches of single pixels are alike: on real frames bins of 4 gain 3 dB
PATCH_WIDTHS = {"non_local_means": (2, 3, 4, 6, 8), "bm3d": (2, 3, 4, 6, 8)}
PATCH_PX, SEARCH_PX = 9, 15  # of non-local means
_ONE_AT_A_TIME = threading.Lock()  # two calls of bm3d in one process hang it, or end it
STRENGTH = {"non_local_means": 0.3, "bm3d": 1.2}  # in units of the noise; best on real frames in bins of 4


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
    return spread * cut_mean(mean_e / spread)


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
        "gaussian", "median", "total_variation" (Chambolle, 2004), "non_local_means" (Buades et al., 2005) or
        "bm3d" (Dabov et al., 2007; the package bm3d is for noncommercial use).
    lde_e : ndarray of shape (M, N)
        LDE frame [e-/px].
    background_e : float
        What the empty film reads in it [e-/px].
    width : float
        See `WIDTHS` and `PATCH_WIDTHS`.
    camera : Camera or None
        What clipped the frame at zero; None where nothing did.

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
        smooth = median(levels, np.ones((width, width))) / 64
        return smooth if camera is None else smooth * background_e / unclip(background_e, camera)
    if method == "gaussian":
        smooth = gaussian_filter(relative, width)
    elif method == "total_variation":  # the default tolerance stops at a tenth of the iterations that such noise needs
        smooth = denoise_tv_chambolle(relative, weight=width * noise_level(relative), eps=1e-6, max_num_iter=500)
    else:
        smooth = _by_patches(method, relative, width)
    return smooth if camera is None else unclip(smooth * background_e, camera) / unclip(background_e, camera)


def noise_level(image):
    """Standard deviation of the noise, from neighbours down a column, which share no segment; (M, N) to float."""
    return float(np.sqrt(np.mean(np.diff(image, axis=0) ** 2) / 2))


def _by_patches(method, relative, binning):
    """Frame in bins through a filter that compares patches, and back on its grid; (M, N) to (M, N)."""
    padded = np.pad(relative, [(0, -n % binning) for n in relative.shape], mode="symmetric")
    binned = bin_area(padded, binning).astype(np.float64)
    noise = noise_level(binned)
    strength = STRENGTH[method] * noise
    if method == "bm3d":
        from bm3d import BM3DProfile, bm3d  # not everybody may use it, so it is no core dependency

        profile = BM3DProfile()
        profile.nf, profile.k = 16, 2  # variances on a grid half as fine: no worse, and four times as fast
        profile.num_threads = 1  # of several the last digits depend on which is first
        with _ONE_AT_A_TIME:
            smooth = bm3d(binned, strength, profile)
    else:
        smooth = denoise_nl_means(binned, PATCH_PX, SEARCH_PX, strength, sigma=noise)
    return resize(smooth, padded.shape, order=1, mode="edge")[: relative.shape[0], : relative.shape[1]]


def tune_width(method, frames, references, backgrounds_e, *, camera=ONEVIEW_BIN8):
    """The width with the lowest nRMSE after the affine fit, over all frames together.

    Parameters
    ----------
    method : str
    frames, references : sequence of ndarray of shape (M, N)
        LDE frames [e-/px] of training fields, and what they should be.
    backgrounds_e : sequence of float
        Background of each frame [e-/px].
    camera : Camera or None
        As for `filter_frame`.

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

    return min((WIDTHS | PATCH_WIDTHS)[method], key=error)
