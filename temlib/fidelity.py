"""What an output on real frames is worth where no truth is known: correlation, flat film, stripes, borders, inventions.

Every score compares with a *raw* exposure that the output was not made from, or with an HDE frame, or looks at film
that a reference shows to be empty; no two outputs are compared, since they may share a prior. Arrays in, numbers
out: knows no network, no file.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.fft import fft2, fftfreq
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.signal.windows import tukey
from skimage.draw import disk

from temlib import filters
from temlib.camera import ONEVIEW_BIN8
from temlib.film import film_level, light_terms
from temlib.particles import BEAM_SIGMA_NM, find_particles
from temlib.preprocess import background_level
from temlib.real_score import CUT_PX, PANEL_SHAPE, best_fit, block_mean, residual_variance

AWAY_NM = 30.0  # of a particle, in which a blur or the drift between two frames is no fault of the film
GRAIN_PX = 3.0  # rougher than this, in pixels of the LDE frame, is what the eye takes for uneven film
BORDER_PX = 8  # width of the band along a border that is compared with the band inside it
BLOB_CONTRAST, BLOB_NM = 0.03, 30.0  # the faintest and smallest that counts as an invented particle
PARTICLE = 0.85  # of the film's level, below which a denoised pixel is one of a particle
LEAST_FAR = 0.05  # share of the frame that must be far from any particle
BESIDE_NM = (0, 3, 6, 9, 12, 15, 20, 25, 30, 40, 50, 60)  # edges of the distances from a particle
FAR_NM = 90.0  # farther from any particle the film shows nothing but light
BAND_NM = 200.0, 30.0  # periods over which a correlation is averaged: the sizes of the paper's particles
# Smoothing [px] and darkest film of the two references: a panel, and the mean of two exposures of 4.5 e-/px,
# of whose film 5 px leave 4 %
OF_PANEL = {"smooth_px": 1.0, "darkest": 0.93}
OF_EXPOSURES = {"smooth_px": 5.0, "darkest": 0.85}


def film_mask(reference, *, pixel_size_nm, smooth_px, darkest):
    """Where the film is empty: farther than 30 nm from anything dark.

    Parameters
    ----------
    reference : ndarray of shape (M, N)
        Any unit: an HDE image, or the mean of all raw exposures, but not an output that is judged by it.
    pixel_size_nm : float
    smooth_px : float
        Width of the smoothing that takes its noise away.
    darkest : float
        Share of the film's level below which a smoothed pixel is a particle.

    Returns
    -------
    ndarray of bool, shape (M, N)
    """
    smooth = gaussian_filter(np.asarray(reference, np.float64), smooth_px)
    dark = smooth < darkest * background_level(reference, smooth_px)
    if not dark.any():
        return np.ones(smooth.shape, bool)
    return distance_transform_edt(~dark) * pixel_size_nm > AWAY_NM


def film_masks(exposures, hde_panel, *, pixel_size_nm):
    """Empty film of one field, on the grid of its frames and on that of the panels.

    Parameters
    ----------
    exposures : ndarray of shape (n, M, N)
        Raw.
    hde_panel : ndarray of `real_score.PANEL_SHAPE`, or None
        Shows also faint particles; without it the mean of the exposures says what is film, and what is
        too faint for that mean counts as film.
    pixel_size_nm : float
        Of the exposures.

    Returns
    -------
    full : ndarray of bool, shape (M, N)
    panel : ndarray of bool of `real_score.PANEL_SHAPE`
    """
    shape = exposures.shape[1:]
    if hde_panel is None:
        full = film_mask(np.mean(exposures, axis=0), pixel_size_nm=pixel_size_nm, **OF_EXPOSURES)
        return full, block_mean(full) > 0.99
    panel = film_mask(hde_panel, pixel_size_nm=panel_pixel_nm(shape, pixel_size_nm), **OF_PANEL)
    row, col = (np.arange(n) * blocks // n for n, blocks in zip(shape, panel.shape, strict=True))
    return panel[np.ix_(row, col)], panel


def panel_pixel_nm(shape, pixel_size_nm):
    """Edge of a panel's pixel, the mean of its two edges, for frames of this shape [nm]."""
    return pixel_size_nm * np.mean([n / blocks for n, blocks in zip(shape, PANEL_SHAPE, strict=True)])


def relative_film(image, film, *, pixel_size_nm):
    """Image relative to the beam, the mean of the film within about 100 nm; 1 outside of the film. (M, N)."""
    sigma = BEAM_SIGMA_NM / pixel_size_nm
    return np.where(film, image / np.maximum(_mean_over(image, film, sigma), 1e-9), 1.0)


def _mean_over(image, film, sigma):
    """Gaussian mean of the pixels of the film only."""
    weight = gaussian_filter(film.astype(np.float64), sigma)
    return gaussian_filter(np.where(film, image, 0.0), sigma) / np.maximum(weight, 1e-6)


def ring_correlation(image, other, *, pixel_size_nm, ring_width=6):
    """Fourier ring correlation of two images with independent noise (Saxton and Baumeister, 1982).

    Parameters
    ----------
    image, other : ndarray of shape (M, N)
        A denoised frame and the *raw* other exposure of its field.
    pixel_size_nm : float or (float, float)
        Edge of a pixel, or its two edges.
    ring_width : int
        Of a ring, in cycles over the longer edge of the image.

    Returns
    -------
    pandas.DataFrame
        frequency_per_nm (middle of the ring), frc, n (independent Fourier coefficients: half of the ring).

    Notes
    -----
    Multiplying a ring by any factor changes nothing, so a linear filter scores as the raw frame does: only what
    tells signal from noise within a ring does better. With a raw frame of spectral signal-to-noise ratio s
    the correlation of two raw frames is s / (1 + s), and no output can have more than its root with one.
    """
    window = np.outer(*(tukey(n, 0.2) for n in image.shape))
    spectra = [fft2(window * (np.asarray(one, np.float64) - np.mean(one))) for one in (image, other)]
    edges = np.broadcast_to(pixel_size_nm, 2)
    frequency = np.hypot(*np.meshgrid(*(fftfreq(n, d) for n, d in zip(image.shape, edges, strict=True)), indexing="ij"))
    step = ring_width / max(n * d for n, d in zip(image.shape, edges, strict=True))
    ring = (frequency / step).astype(int).ravel()
    n_rings = int(0.5 / max(edges) / step)
    power = [np.bincount(ring, np.abs(one.ravel()) ** 2, n_rings) for one in spectra]
    common = np.bincount(ring, (spectra[0] * spectra[1].conj()).real.ravel(), n_rings)
    frc = common / np.sqrt(np.maximum(power[0] * power[1], np.finfo(float).tiny))
    table = {"frequency_per_nm": (np.arange(len(frc)) + 0.5) * step, "frc": frc, "n": np.bincount(ring) / 2}
    return pd.DataFrame(table)[:n_rings]


def roughness(image, film, *, pixel_size_nm, grain_px=GRAIN_PX):
    """Standard deviation of the film relative to the beam, smoothed by `grain_px`: 0.01 is one per cent."""
    flat = relative_film(image, film, pixel_size_nm=pixel_size_nm)
    return float(np.std(_mean_over(flat, film, grain_px)[film]))


def stripes(image, film, *, pixel_size_nm, segment_px):
    """Offsets that rows of one segment of columns share, relative to the film.

    Parameters
    ----------
    image : ndarray of shape (M, N)
    film : ndarray of bool, shape (M, N)
        Only segments of a row that are all film count.
    pixel_size_nm : float
    segment_px : int
        Columns of a segment, counted from column 0.

    Returns
    -------
    float
        Their standard deviation; negative where bins that straddle two segments vary more than the segments.

    Notes
    -----
    Whatever varies along a row varies as much over bins that begin in the middle of a segment. An offset
    of the segment alone is half as large in the variance there, as each bin is the mean of two independent
    ones: twice the difference is its variance.
    """
    flat = relative_film(image, film, pixel_size_nm=pixel_size_nm)
    aligned, straddling = (_bin_variance(flat[:, at:], film[:, at:], segment_px) for at in (0, segment_px // 2))
    variance = 2 * (aligned - straddling)
    return float(np.copysign(np.sqrt(abs(variance)), variance))


def _bin_variance(flat, film, width):
    cols = flat.shape[1] // width * width
    means, whole = (a[:, :cols].reshape(len(flat), -1, width).mean(axis=2) for a in (flat, film))
    return np.mean((means[whole == 1] - 1) ** 2)


def border_step(image, film, *, pixel_size_nm, band_px=BORDER_PX):
    """By how much the film along the four borders differs from the film beside it, as a share of it.

    Mean over the outermost `band_px` pixels minus that over the next; NaN where there is no film.
    """
    flat = relative_film(image, film, pixel_size_nm=pixel_size_nm)
    rows, cols = np.indices(film.shape)
    inwards = np.minimum(np.minimum(rows, film.shape[0] - 1 - rows), np.minimum(cols, film.shape[1] - 1 - cols))
    outer, inner = film & (inwards < band_px), film & (inwards >= band_px) & (inwards < 2 * band_px)
    return float(flat[outer].mean() - flat[inner].mean()) if outer.any() and inner.any() else np.nan


def blobs(image, film, other, *, pixel_size_nm):
    """Dark and bright blobs of 3 % and 30 nm on the empty film, and how far another exposure confirms them.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        An output, in the unit of `other`.
    film : ndarray of bool, shape (M, N)
    other : ndarray of shape (M, N)
        The raw other exposure.
    pixel_size_nm : float

    Returns
    -------
    dict
        dark_blobs, bright_blobs, and blob_support: contrast of the other exposure over all these blobs as a
        share of the output's. What noise made has 0, what is there 1; NaN without blobs.
    """
    flat, seen = (relative_film(one, film, pixel_size_nm=pixel_size_nm) for one in (image, other))
    limits = {"pixel_size_nm": pixel_size_nm, "min_contrast": BLOB_CONTRAST, "min_diameter_nm": BLOB_NM}
    number, own, confirmed = {}, 0.0, 0.0
    for kind, sign in (("dark", 1), ("bright", -1)):
        found = find_particles(1 - sign * (1 - flat), noise=0.0, **limits)
        number[f"{kind}_blobs"] = len(found)
        for blob in found.itertuples():
            within = disk((blob.row_px, blob.col_px), blob.diameter_nm / pixel_size_nm / 2, shape=film.shape)
            own += sign * np.sum(1 - flat[within])
            confirmed += sign * np.sum(1 - seen[within])
    return number | {"blob_support": confirmed / own if own else np.nan}


def band_mean(correlation):
    """Mean of a `ring_correlation` over the periods of `BAND_NM`.

    A threshold that the curve crosses would rest on its few noisy rings there.
    """
    low, high = (1 / period for period in BAND_NM)
    return correlation.loc[correlation["frequency_per_nm"].between(low, high), "frc"].mean()


def beside_particles(image, denoised, *, pixel_size_nm):
    """How bright the film is beside particles, relative to far away from them: what Fresnel fringes do.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Any unit. The light on it is fitted where no particle is near.
    denoised : ndarray of shape (M, N)
        Another exposure of the field, which says where its particles are: from `image` itself, their outlines would
        follow its noise.
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        distance_nm (middle), intensity (mean relative to the far film) and standard_error, of pixels as if each had
        noise of its own; without rows where there is no particle, or hardly any film far from one.
    """
    film = denoised > PARTICLE * film_level(np.asarray(denoised))
    distance_nm = distance_transform_edt(film) * pixel_size_nm
    far = distance_nm > FAR_NM
    if film.all() or far.mean() < LEAST_FAR:
        return pd.DataFrame(columns=["distance_nm", "intensity", "standard_error"])
    terms = light_terms(image.shape).astype(np.float64)
    light = np.tensordot(np.linalg.lstsq(terms[:, far].T, image[far], rcond=None)[0], terms, 1)
    rows = []
    for near, away in pairwise(BESIDE_NM):
        seen = (image / light)[(distance_nm > near) & (distance_nm <= away)]
        error = seen.std() / np.sqrt(seen.size)
        rows.append({"distance_nm": (near + away) / 2, "intensity": seen.mean(), "standard_error": error})
    return pd.DataFrame(rows)


def best_filtered(method, frame, other):
    """A frame through a filter with the width that serves this very frame best.

    Parameters
    ----------
    method : str
        See `filters.filter_frame`.
    frame, other : ndarray of shape (M, N)
        Two raw exposures of a field [e-/px]; the second one judges.

    Returns
    -------
    image : ndarray of shape (M, N) [e-/px]
        What the camera clips at zero is undone.
    width : float
        With which the least residual variance is left.
    """
    level, judge = background_level(frame, 4.0), block_mean(other)
    tried = {}
    for width in (filters.WIDTHS | filters.PATCH_WIDTHS)[method]:
        image = filters.unclip(level) * filters.filter_frame(method, frame, level, width)
        tried[residual_variance(block_mean(image), judge)] = image, width
    return tried[min(tried)]


def scores(image, other, films, hde_panel=None, *, pixel_size_nm, segment_px=ONEVIEW_BIN8.segment_width_px):
    """All scores of one output.

    Parameters
    ----------
    image : ndarray of the shape of `other`, or of `real_score.PANEL_SHAPE`
        An output, in any unit. Of one that is known as a panel only, what takes single pixels is NaN.
    other : ndarray of shape (M, N)
        The raw other exposure [e-/px].
    films : tuple of ndarray
        See `film_masks`.
    hde_panel : ndarray of `real_score.PANEL_SHAPE`, optional
        On a scale from 0 to 1.
    pixel_size_nm : float
        Of `other`.
    segment_px : int
        See `stripes`.

    Returns
    -------
    row : dict
        residual_variance_e2 and correlation (`band_mean`); psnr_panel_db, NaN without a panel; roughness and the
        numbers of `blobs`, on the grid of the panels, of a panel after the best affine fit to `other`; stripes and
        border_step.
    correlation : pandas.DataFrame
        See `ring_correlation`.
    """
    nm = panel_pixel_nm(other.shape, pixel_size_nm)
    inside = np.s_[CUT_PX:-CUT_PX, CUT_PX:-CUT_PX]
    raw, film = block_mean(other)[inside], films[1][inside]
    is_panel = image.shape == PANEL_SHAPE
    fitted = best_fit(image if is_panel else block_mean(image), block_mean(other))
    row = {"residual_variance_e2": np.mean((raw - fitted) ** 2), "psnr_panel_db": np.nan}
    if hde_panel is not None:
        row["psnr_panel_db"] = -10 * np.log10(residual_variance(image if is_panel else block_mean(image), hde_panel))
    if is_panel:
        correlation = ring_correlation(fitted, raw, pixel_size_nm=nm)
        flat = fitted
    else:  # without the fit, which shrinks what is noisy
        correlation = ring_correlation(image, other, pixel_size_nm=pixel_size_nm)
        flat = block_mean(image)[inside]
    row["correlation"] = band_mean(correlation)
    row["roughness"] = roughness(flat, film, pixel_size_nm=nm, grain_px=GRAIN_PX * pixel_size_nm / nm)
    row |= blobs(flat, film, raw, pixel_size_nm=nm)
    scale = {"pixel_size_nm": pixel_size_nm}
    row["stripes"] = np.nan if is_panel else stripes(image, films[0], segment_px=segment_px, **scale)
    row["border_step"] = np.nan if is_panel else border_step(image, films[0], **scale)
    return row, correlation
