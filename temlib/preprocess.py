"""From the frames of a set to images that can be compared pixel by pixel.

Two ways, kept side by side: *faithful*, what the authors' published code does (bilinear
resize without antialiasing, every frame on its own min-max scale, the brightest fifth of an
LDE frame saturated, no alignment), and *corrected* (area mean, drift removed, intensity
relative to the background, which can be inverted). Arrays in, arrays out.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from scipy.signal.windows import tukey
from scipy.stats import gaussian_kde
from skimage.registration import phase_cross_correlation
from skimage.transform import downscale_local_mean, resize

from temlib.camera import fisher_information
from temlib.paths import rounded

LDE_PERCENTILES = (1, 80)  # of the authors' code; for HDE frames they are 0 and 100
TEMPLATE_SIGMA_PX = 1.5  # takes the HDE frame's noise out of the template that is looked for
PARTICLE_CONTRAST = 0.03  # what is nowhere darker than this is an empty field; carbon alone reaches 0.02
BEAM_SIGMA_PX = 16.0  # slower variations are the beam, which does not move with the specimen


def bin_area(image, binning):
    """Mean over blocks of `binning` x `binning` pixels; (M, N) to (M / binning, N / binning)."""
    return downscale_local_mean(image, (binning, binning)).astype(np.float32)


def resize_as_authors(image, shape):
    """Bilinear resize without antialiasing, as the authors' code has it.

    For an even whole factor this is the mean of the central 2 x 2 pixels of every block.
    """
    return resize(image, shape, order=1, mode="edge", anti_aliasing=False, preserve_range=True).astype(np.float32)


def hde_targets(hde, lde_shape):
    """An HDE frame at LDE size, both ways.

    Parameters
    ----------
    hde : Frame or dict of ndarray
        The frame, or the two images that were stored in its place (see `fields.load_set`).
    lde_shape : tuple of int

    Returns
    -------
    area_mean, faithful : ndarray of float32, shape `lde_shape` [e- per HDE pixel]
    """
    if isinstance(hde, dict):
        return hde["hde"], hde["hde_faithful"]
    return bin_area(hde.image, hde.image.shape[0] // lde_shape[0]), resize_as_authors(hde.image, lde_shape)


def min_max_scale(image):
    """Image on its own scale from minimum (0) to maximum (1)."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low)


def faithful_scale(image, low_percentile, high_percentile):
    """Intensity scale of the authors' code: min-max, then between two percentiles, clipped.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Any unit.
    low_percentile, high_percentile : float
        1 and 80 for LDE frames (the brightest fifth saturates), 0 and 100 for HDE frames.

    Returns
    -------
    ndarray of float32, shape (M, N), 0 to 1
    """
    scaled = min_max_scale(image)
    low, high = np.percentile(scaled, (low_percentile, high_percentile))
    return np.clip((scaled - low) / (high - low), 0, 1).astype(np.float32)


def background_level(image, sigma_px):
    """Intensity of the empty film: the commonest value of the smoothed image, seen from above.

    In bright field nothing is brighter than the film, so the highest peak among the brighter
    half of the smoothed pixels is the film even where particles cover much of the frame.

    Parameters
    ----------
    image : ndarray of shape (M, N)
    sigma_px : float
        Width of the smoothing: 4 for LDE frames of 5 electrons a pixel, 1 for HDE frames.

    Returns
    -------
    float, in the unit of the image
    """
    smooth = gaussian_filter(image.astype(np.float64), sigma_px)
    step = max(1, round(min(smooth.shape) / 64))
    values = smooth[::step, ::step].ravel()
    grid = np.linspace(np.median(values), values.max(), 200)
    return float(grid[np.argmax(gaussian_kde(values)(grid))])


def drift_template(hde, hde_background_e):
    """What is looked for in an LDE frame: the HDE frame as transmission, without noise and beam."""
    transmission = hde / hde_background_e
    return gaussian_filter(transmission, TEMPLATE_SIGMA_PX) - gaussian_filter(transmission, BEAM_SIGMA_PX)


def drift_bound_px(hde, hde_background_e, lde_background_e, camera, n_lde):
    """Cramer-Rao bound on the drift between an HDE frame and `n_lde` LDE frames.

    Returns
    -------
    ndarray of shape (2,)
        Standard deviation along rows and columns that no unbiased estimator from these frames can
        undercut [LDE px], for an HDE image known to TEMPLATE_SIGMA_PX and LDE frames that were not
        clipped; infinite where nothing is in the field.
    """
    template = drift_template(hde, hde_background_e)
    derivatives = lde_background_e * np.stack(np.gradient(template))
    electrons = lde_background_e * np.maximum(gaussian_filter(hde / hde_background_e, TEMPLATE_SIGMA_PX), 0)
    information = n_lde * fisher_information(derivatives, electrons, camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = np.linalg.pinv(information)
    variance = np.diag(covariance)
    return np.where(np.diag(information) > 0, np.sqrt(np.maximum(variance, 0)), np.inf)


def find_drift_px(hde, hde_background_e, lde_e, lde_background_e, camera):
    """Displacement of the HDE frame against the LDE frame.

    Cross-correlation finds it roughly (normalising its spectrum, as phase correlation does,
    would weight noise like signal). Then offset, contrast and remaining shift are fitted
    together by least squares with the camera's noise covariance, which knows that pixels of
    a segment share an offset; near the solution that is the maximum-likelihood estimate.

    Parameters
    ----------
    hde : ndarray of shape (M, N)
        HDE frame at LDE size.
    lde_e : ndarray of shape (M, N)
        Mean of the LDE frames of the set [e-/px].

    Returns
    -------
    ndarray of shape (2,)
        (row, column) [LDE px]: a feature at x in the LDE frame is at x + drift in the HDE frame.
    """
    template = drift_template(hde, hde_background_e)
    # only the template fades out at the edges: the same window on both would itself correlate at zero drift
    faded = template * np.outer(*(tukey(n, 0.1) for n in lde_e.shape))
    signal = lde_e - lde_e.mean()
    found, _, _ = phase_cross_correlation(signal, faded, upsample_factor=10, normalization=None)
    drift = -found
    electrons = np.full(lde_e.shape, lde_background_e)
    for _ in range(10):  # an elongated particle holds one direction badly, and converges slowly
        here = shift(template, -drift, order=3, mode="nearest")
        terms = np.stack([np.ones_like(here), here, *np.gradient(here), lde_e])
        products = fisher_information(terms, electrons, camera)
        _, contrast, *slopes = np.linalg.lstsq(products[:4, :4], products[:4, 4])[0]
        # a step of more than a pixel means that nothing in the field holds the fit
        drift = drift + np.clip(np.divide(slopes, contrast), -1, 1)
    return drift


def align(hde, drift_px):
    """HDE image at LDE size shifted onto the LDE frame: by minus the drift, cubic interpolation."""
    return shift(hde, -np.asarray(drift_px), order=3, mode="nearest")


def authors_scale(pair, mode):
    """The authors' HDE image of a set, beside the LDE frame in corrected mode, on the scale of its own extremes.

    These are taken before it is moved: between two pixels, of a hit on one of them half is left.

    Returns
    -------
    scaled : ndarray of shape (M, N)
    lowest_e, range_e : float
        Of that scale [e- per HDE pixel].
    """
    image = pair["hde_faithful"]
    scaled = min_max_scale(image)
    return align(scaled, pair["drift_px"]) if mode == "corrected" else scaled, image.min(), np.ptp(image)


def network_input(lde, background_e, mode):
    """An LDE frame as the network of a mode wants it; (M, N) to (M, N).

    corrected: relative to the background, minus 1, so that 0 is the empty film. faithful: the
    authors' scale.
    """
    return lde / background_e - 1 if mode == "corrected" else faithful_scale(lde, *LDE_PERCENTILES)


def prepare_pair(hde, hde_faithful, ldes_e, camera):
    """Arrays of one set, aligned and with their intensity scales.

    Parameters
    ----------
    hde : ndarray of shape (M, N)
        Area mean of the HDE frame at LDE size [e- per HDE pixel].
    hde_faithful : ndarray of shape (M, N)
        The authors' resize of it.
    ldes_e : ndarray of shape (n_lde, M, N)
        LDE frames [e-/px].
    camera : Camera or None
        None where the frames are in counts of unknown gain: then the noise, and with it the
        bound, is unknown, and nothing is shifted.

    Returns
    -------
    dict of ndarray
        The contract of `pairs/<field>.npz`, without the truth and the pixel size; `aligned`
        is False where the bound exceeds 1 px, the field is empty or the best match is beyond a
        tenth of the frame, and then nothing is shifted.
    """
    hde_background = background_level(hde, 1.0)
    backgrounds = np.array([background_level(lde, 4.0) for lde in ldes_e])
    bound, drift, aligned = np.full(2, np.nan), np.zeros(2), False
    if camera is not None:
        bound = drift_bound_px(hde, hde_background, backgrounds.mean(), camera, len(ldes_e))
        drift = find_drift_px(hde, hde_background, ldes_e.mean(axis=0), backgrounds.mean(), camera)
        empty = drift_template(hde, hde_background).min() > -PARTICLE_CONTRAST
        aligned = bool(bound.max() <= 1 and np.abs(drift).max() <= min(hde.shape) / 10 and not empty)
    if aligned:
        hde = align(hde, drift)
    return {
        "lde": ldes_e.astype(np.float32),
        "hde": rounded(hde, hde_background),
        "hde_faithful": rounded(hde_faithful, hde_background),
        "background_e": backgrounds,
        "hde_background_e": np.float64(hde_background),
        "drift_px": drift if aligned else np.zeros(2),
        "drift_bound_px": bound,
        "aligned": np.bool_(aligned),
    }
