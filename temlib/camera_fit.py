"""Fit the camera model to repeated exposures of the same field of view.

The noise of one exposure is read at places that the *other* exposure has sorted by intensity,
so that selection and noise stay independent. The distribution of a pixel follows from the
model without approximation: a compound Poisson sum of gamma pulses, each shared with the
neighbours, plus Gaussian noise, clipped at zero.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq, minimize
from scipy.special import ndtr

from temlib.camera import ONEVIEW_BIN8, charge_shares

STEP_COUNTS = 16.0  # of histogram and density; well below the noise of any pixel
GRID = 0.5 + STEP_COUNTS * (np.arange(-96, 416) + 0.5)  # class centres, whole counts in each
LOCAL_SIGMA_PX = 4.0
GAIN_TOLERANCE = 0.2


def pixel_density(electrons, camera, additive_counts):
    """Distribution of a pixel before it is clipped.

    Parameters
    ----------
    electrons : ndarray of shape (B,)
        Expected electrons on a pixel.
    camera : Camera
        Its gain, pulse shape and blur are used.
    additive_counts : float
        Standard deviation of all additive noise together [counts].

    Returns
    -------
    ndarray of shape (B, GRID.size)
        Probability of the STEP_COUNTS whole counts about each value of GRID.

    Notes
    -----
    log of the characteristic function = electrons * sum_k m_k [(1 - i w g a_k / s)^-s - 1]
    - (additive w)^2 / 2, for shares a_k of the charge with measure m_k, gain g, pulse shape s.
    """
    omega = 2 * np.pi * np.fft.rfftfreq(GRID.size, STEP_COUNTS)
    weight, measure = charge_shares(camera.blur_px)
    scale = camera.counts_per_e / camera.pulse_shape
    pulse_of_share = (1 - 1j * omega * scale * weight[:, None]) ** -camera.pulse_shape - 1
    # not `@`: on so small a matrix the threads of BLAS wait ten times longer than they work
    pulses = np.einsum("k,kw->w", measure, pulse_of_share)
    log_phi = np.outer(electrons, pulses) - (additive_counts * omega) ** 2 / 2
    # the sign makes numpy's inverse transform the density, which starts at GRID[0]
    density = np.fft.irfft(np.conj(np.exp(log_phi)) * np.exp(1j * omega * GRID[0]), GRID.size)
    return np.maximum(density, 1e-12)


def pixel_probabilities(electrons, camera, additive_counts):
    """Probability of each histogram class of a clipped pixel, from arguments as of `pixel_density`.

    Returns
    -------
    ndarray of shape (B, K)
        Class 0 holds what is clipped to 0, class k the STEP_COUNTS whole counts about `class_values`[k].
    """
    density = pixel_density(electrons, camera, additive_counts)
    clipped = GRID < 0
    return np.concatenate([density[:, clipped].sum(axis=1, keepdims=True), density[:, ~clipped]], axis=1)


def lifted_share(electrons, camera, additive_counts):
    """How much of the charge that neighbours share clipping lets through to each; shape (B,).

    A small common offset moves the pixels above 0, but a pulse also lifts some of those below, so it
    is the share of pixels above minus half a pulse. On simulated frames (gains of 20 to 100, 1 to 4.5
    electrons a pixel) its square is right to 2 %, that of the share above 0 up to 17 % too small.
    """
    above = 1 - np.cumsum(pixel_density(electrons, camera, additive_counts), axis=1)
    return np.array([np.interp(-camera.counts_per_e / 2, GRID + STEP_COUNTS / 2, row) for row in above])


def class_values():
    """Counts at the centre of each class of `pixel_probabilities`."""
    return np.concatenate([[0.0], GRID[GRID > 0]])


def histograms(sets, n_levels=8):
    """Histograms of all frames, sorted by the local intensity that the partner frame shows.

    Parameters
    ----------
    sets : list of ndarray of shape (2, M, N)
        Two exposures of each field of view [counts].

    Returns
    -------
    ndarray of shape (n_levels, K)
    """
    edges = GRID[GRID > 0] - STEP_COUNTS / 2
    local = np.concatenate([gaussian_filter(pair[1 - i], LOCAL_SIGMA_PX).ravel() for pair in sets for i in (0, 1)])
    values = np.concatenate([pair[i].ravel() for pair in sets for i in (0, 1)])
    levels = np.searchsorted(_level_edges(local, n_levels), local)
    classes = np.searchsorted(edges, values, side="right")
    return np.stack([np.bincount(classes[levels == k], minlength=class_values().size) for k in range(n_levels)])


def _level_edges(local, n_levels):
    """Inner edges of levels: equally wide from the darkest to the brightest 2 %, so that shadows count too."""
    low, high = np.percentile(local, (2, 98))
    return np.linspace(low, high, n_levels + 1)[1:-1]


def additive_counts(camera):
    """Standard deviation of all additive noise together [counts]."""
    return np.sqrt(camera.white_counts**2 + camera.segment_counts**2 + camera.fixed_pattern_counts**2)


LEAST_PIXELS = 500  # in a level of intensity, to be fitted


def fit_pulses(counts, camera):
    """Maximum-likelihood pulse shape and additive noise for given histograms and gain.

    Returns
    -------
    camera : Camera
        With the fitted pulse shape.
    additive_counts : float
    electrons : ndarray of shape (B,)
        Expected electrons in each level.
    """
    mean = counts @ class_values() / counts.sum(axis=1)

    def unpack(log_parameters):
        shape, additive, *electrons = np.exp(log_parameters)
        return replace(camera, pulse_shape=shape), additive, np.array(electrons)

    def loss(log_parameters):
        model, additive, electrons = unpack(log_parameters)
        return -np.sum(counts * np.log(pixel_probabilities(electrons, model, additive))) / counts.sum()

    electrons = np.maximum(mean / camera.counts_per_e, 0.25)
    start = np.log(np.r_[camera.pulse_shape, additive_counts(camera), electrons])
    fitted = minimize(loss, start, method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 400})
    return unpack(fitted.x)


def _neighbour_shares(blur_px):
    """Integral over landing places of (share on a pixel)(share on its next neighbour)."""
    x = np.linspace(-2, 3, 2001)

    def share(centre):
        return ndtr((centre + 0.5 - x) / blur_px) - ndtr((centre - 0.5 - x) / blur_px)

    step = x[1] - x[0]
    return np.sum(share(0) * share(1)) * step * np.sum(share(0) ** 2) * step


def segment_sigma(difference, unclipped, width_px):
    """Standard deviation of the segment offsets, from products of pixels of one segment [counts].

    Products of next neighbours are left out, since the charge cloud correlates those too.

    Parameters
    ----------
    difference : ndarray of shape (M, N)
        One exposure minus the other, over sqrt(2) [counts]; NaN where it shows something else.
    unclipped : float
        Share of pixels above 0: to first order clipping scales a small common offset by it.
    width_px : int
    """
    rows, cols = difference.shape
    segments = difference[:, : cols - cols % width_px].reshape(rows, -1, width_px)
    known = np.isfinite(segments)

    def products(x):
        """Sum over the pairs of pixels of a segment that are no neighbours, both ways."""
        return np.sum(x.sum(axis=2) ** 2 - np.sum(x**2, axis=2) - 2 * np.sum(x[..., 1:] * x[..., :-1], axis=2))

    pairs = products(known.astype(float))
    return np.sqrt(max(products(np.where(known, segments, 0.0)) / max(pairs, 1), 0)) / unclipped


def fit_once(sets, camera):
    """All parameters of the camera from repeated exposures; see `fit_camera`."""
    counts = histograms(sets)
    counts = counts[counts.sum(axis=1) >= LEAST_PIXELS]
    pixels = counts.sum(axis=1) / counts.sum()
    # clipping scales the covariance of a small common offset by the square of this
    unclipped = np.sqrt(pixels @ (1 - counts[:, 0] / counts.sum(axis=1)) ** 2)
    differences = [(pair[0] - pair[1]) / np.sqrt(2) for pair in sets]
    segment = np.mean([segment_sigma(d, unclipped, camera.segment_width_px) for d in differences])
    vertical = np.mean([np.mean(d[1:] * d[:-1]) for d in differences])
    for _ in range(2):  # blur takes variance from the pulses, whose variance sets the blur
        camera, additive, electrons = fit_pulses(counts, camera)
        seen_e = pixels @ (electrons * lifted_share(electrons, camera, additive) ** 2)
        shared = vertical / (camera.counts_per_e**2 * camera.excess_factor * seen_e)
        limits = (0.01, 0.6)
        inside = _neighbour_shares(limits[0]) < shared < _neighbour_shares(limits[1])
        blur = brentq(lambda b, target=shared: _neighbour_shares(b) - target, *limits) if inside else 0.0
        camera = replace(camera, blur_px=blur)
    pattern = _fixed_pattern_variance(sets, unclipped)
    white = np.sqrt(max(additive**2 - segment**2 - max(pattern, 0), 0))
    camera = replace(camera, white_counts=white, segment_counts=segment, fixed_pattern_counts=np.sqrt(max(pattern, 0)))
    return camera, additive


def _fixed_pattern_variance(sets, unclipped):
    """Covariance between fields of what the same pixel shows beyond its surroundings [counts^2]."""
    residuals = [pair.mean(axis=0) - gaussian_filter(pair.mean(axis=0), LOCAL_SIGMA_PX) for pair in sets]
    products = [np.mean(a * b) for i, a in enumerate(residuals) for b in residuals[:i]]
    return np.mean(products) / unclipped**2 if products else 0.0


def fit_camera(sets, *, counts_per_e, segment_width_px=ONEVIEW_BIN8.segment_width_px, n_blocks=8):
    """Camera parameters from two exposures of each of some fields of view.

    Parameters
    ----------
    sets : list of ndarray of shape (2, M, N)
        Raw counts, clipped at 0 as the camera writes them.
    counts_per_e : float
        Gain that the file states.
    segment_width_px : int
    n_blocks : int
        The frames are cut into so many bands of rows for the standard errors (delete-one jackknife).
        Over eleven simulated sets of five fields, eight bands gave errors as large as the scatter.

    Returns
    -------
    camera : Camera
    table : pandas.DataFrame
        parameter, value, standard_error, unit.
    gain_disagrees : bool
        Whether the gain in the table is off the file's by more than 20 % and by twice its error.

    Notes
    -----
    Levels are taken for uniform. The dark ones mix intensities, at the edges of particles, and vary up
    to a tenth more than the model; but they hold few pixels: over 55 simulated fields every parameter
    came out within 2 % (fixed pattern 4 %). Stripes 64 and 16 pixels wide made the excess factor 2 and
    4 % too large.

    Noise tells the product of gain and excess factor, hardly the two apart (on real frames a
    gain of 20 or 44 changes the log-likelihood by 10 in 4 million). So the gain in the table is
    what the noise implies if the pulse heights vary as the OneView's do, F = 1.65.
    """
    sets = [np.asarray(pair, dtype=np.float64) for pair in sets]
    start = replace(ONEVIEW_BIN8, counts_per_e=counts_per_e, segment_width_px=segment_width_px)

    def numbers(some_sets, start):
        camera, additive = fit_once(some_sets, start)
        return camera, {
            "additive noise": additive,
            "white noise": camera.white_counts,
            "segment offsets": camera.segment_counts,
            "fixed pattern": camera.fixed_pattern_counts,
            "excess factor": camera.excess_factor,
            "blur": camera.blur_px,
            "gain": counts_per_e * camera.excess_factor / ONEVIEW_BIN8.excess_factor,
        }

    camera, values = numbers(sets, start)
    bands = np.array_split(np.arange(sets[0].shape[1]), n_blocks)
    jackknife = pd.DataFrame([numbers([np.delete(pair, band, axis=1) for pair in sets], camera)[1] for band in bands])
    errors = jackknife.std(ddof=0) * np.sqrt(n_blocks - 1)
    units = {"excess factor": "", "blur": "px", "gain": "counts/e-"}
    table = pd.DataFrame(
        {
            "parameter": values.keys(),
            "value": values.values(),
            "standard_error": errors.to_numpy(),
            "unit": [units.get(name, "counts") for name in values],
        }
    )
    off = abs(values["gain"] - counts_per_e)
    return camera, table, bool(off > GAIN_TOLERANCE * counts_per_e and off > 2 * errors["gain"])


def _electrons_at(mean_counts, camera):
    """Expected electrons on pixels whose clipped counts have these means; (B,)."""
    electrons = np.linspace(0.05, 1.5 * np.max(mean_counts) / camera.counts_per_e, 200)
    model = pixel_probabilities(electrons, camera, additive_counts(camera))
    return np.interp(mean_counts, model @ class_values(), electrons)


def photon_transfer(sets, camera):
    """Mean, variance and share of zeros of pixels sorted by local intensity: frames and model.

    Returns
    -------
    pandas.DataFrame
        mean, variance, zeros of the frames; model_mean, model_variance, model_zeros at the dose
        whose clipped mean is the frames' [counts, counts^2, dimensionless].
    """
    counts = histograms(sets)
    counts = counts[counts.sum(axis=1) >= LEAST_PIXELS]
    shares = counts / counts.sum(axis=1, keepdims=True)
    fitting = _electrons_at(shares @ class_values(), camera)
    table = {}
    for prefix, p in (
        ("", shares),
        ("model_", pixel_probabilities(fitting, camera, additive_counts(camera))),
    ):
        mean = p @ class_values()
        table |= {
            f"{prefix}mean": mean,
            f"{prefix}variance": p @ class_values() ** 2 - mean**2,
            f"{prefix}zeros": p[:, 0],
        }
    return pd.DataFrame(table)


def row_covariance(sets, camera, n_lags=48):
    """Covariance of the noise along a row: frames and model [counts^2].

    The model is the triangle of offsets that are common to a segment, plus the shared charge of
    next neighbours, each scaled by what clipping leaves of it at the mean intensity.

    Returns
    -------
    pandas.DataFrame
        lag_px, covariance, model.
    """
    unclipped = 1 - np.mean([np.mean(pair == 0) for pair in sets])
    mean_e = _electrons_at(np.array([np.mean([pair.mean() for pair in sets])]), camera)
    lags = np.arange(1, min(n_lags, sets[0].shape[2] // 2))
    differences = [(pair[0] - pair[1]) / np.sqrt(2) for pair in sets]
    found = [np.mean([np.mean(d[:, lag:] * d[:, :-lag]) for d in differences]) for lag in lags]
    model = (unclipped * camera.segment_counts) ** 2 * np.maximum(1 - lags / camera.segment_width_px, 0)
    if camera.blur_px:
        seen_e = mean_e[0] * lifted_share(mean_e, camera, additive_counts(camera))[0] ** 2
        model[0] += camera.counts_per_e**2 * camera.excess_factor * seen_e * _neighbour_shares(camera.blur_px)
    return pd.DataFrame({"lag_px": lags, "covariance": found, "model": model})
