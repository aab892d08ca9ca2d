"""Particles of a frame, measured: found on its denoised image, fitted as spheres on the raw one or on that one.

Arrays in, a table out; knows no file and no network.
"""

import math
from functools import partial

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from temlib import sizing
from temlib.camera import detectability, for_sums, pixel_variance
from temlib.film import film_level
from temlib.grouping import MOST_TOGETHER, groups, owners, window_around
from temlib.particles import find_particles, gaps, leave_frame
from temlib.sphere_images import FILM, SPHERE, expected

BLUR_PX = 0.5  # of the edges of particles in a frame that was binned by 8
FINDER_PIXEL_NM = 3.0  # as which the finder takes any pixel: it knows 30 to 240 nm, so 10 to 80 pixels
SIZES_PX = 10, 80  # of particles that are found
ON_DENOISED = {"free": (*SPHERE, *FILM, sizing.BLUR), "blur_px": 1.0}  # fits: the blur to start from
EDGE_WIDTHS = 2.563  # from 10 to 90 % of an edge, in standard deviations of its blur
AT_LIMIT = 0.01  # of a limit of the blur, within which a fit that ended there tells none
MOST_CONTRAST = 0.95  # that a fit starts from
LEAST_CONTRAST = 0.03  # of a particle in a denoised image
NEEDED = 16.0  # of -2 ln of the likelihood, for a particle of a group; its four parameters explain 4 of noise
LEAST_MISSED = 0.1  # of the film, by which a denoised image is darker than what is fitted where a particle was missed
LEAST_REST = 0.03  # of the squares of what particles take from a denoised image, which asks for more of them
NESTED = 0.5  # of the larger diameter: particles with nearer centres may be one
LARGER_PX = 20, 40  # least diameters that the finder is asked for once more where it saw several particles together
PIECES = 4  # that a particle is taken for at least, if larger ones explain a heap
SURE = 100.0  # square of a particle's absorption in standard errors above which there is no need to try without it
DETECTABLE = 5.0  # least measured d' that is significant: below it, noise makes some particles in a hundred fields
CLEAR, LIGHT_PX = 0.995, 20.0  # transmission of film; how far away it tells of the light, standard deviation
HOT_FILM, HOT_NOISE = 1.5, 8.0  # films and standard deviations above which a pixel is none of the specimen
COLUMNS = ["row_px", "col_px", "diameter_nm", "diameter_error_nm", "contrast", "background", "d_prime", "shown"]
COLUMNS += ["edge_width_nm", "misfit", "touching", "at_border", "significant"]


def measure(raw, denoised, *, pixel_size_nm, camera, clipped, exposures=1, each=map):
    """Diameters of the particles of one frame, fitted on what the camera recorded.

    Parameters
    ----------
    raw : ndarray of shape (M, N)
        As recorded [e-/px].
    denoised : ndarray of shape (M, N)
        The same frame; what is fitted, and from where, is taken from it, and nothing else.
    pixel_size_nm : float
        Edge of one pixel on the specimen [nm].
    camera : Camera
    clipped : bool
        Whether the camera cut at zero.
    exposures : int
        Of which `raw` is the mean.
    each : callable
        `map`, or that of a pool of processes: groups of particles are fitted one by one.

    Returns
    -------
    pandas.DataFrame
        A row a particle, the surest first: its centre, diameter_nm with its standard error, contrast (1 -
        transmission in the centre), background (the film there [e-/px]), d_prime (see `camera.detectability`), shown
        (the share of its contrast that the denoised image shows: 1 if both agree, less for a bump of the noise),
        edge_width_nm (from 10 to 90 % of what blurs the edge; known only where it is fitted, 0 or infinite where it is
        sharper or softer than a fit can tell), the misfit of its
        group (see `sizing.Fit`); whether it is touching another one, reaches beyond the frame (at_border), and is
        significant: `seen` of DETECTABLE or more, and not of a standard error as large as itself.
    """
    options = {"camera": camera, "clipped": clipped, "exposures": exposures, "blur_px": BLUR_PX}
    return _each_group(raw, denoised, pixel_size_nm, each, camera=camera, exposures=exposures, options=options)


def measure_denoised(denoised, *, pixel_size_nm, camera=None, each=map):
    """The same where the raw frame is not at hand, fitted on what a network, a filter or a long exposure shows.

    Parameters
    ----------
    denoised : ndarray of shape (M, N)
        In electrons per pixel where there is a camera.
    pixel_size_nm, each
        As for `measure`.
    camera : Camera, optional
        Which recorded the raw frame.

    Returns
    -------
    pandas.DataFrame
        As of `measure`; the standard errors are the least that the raw frame allows (see `sizing.bound`), since what
        is wrong with a denoised image does not show in it. They and d' are NaN without a camera, and what is
        significant is not known.
    """
    return _each_group(denoised, denoised, pixel_size_nm, each, camera=camera, exposures=1, options=ON_DENOISED)


def _each_group(image, denoised, pixel_size_nm, each, **how):
    """The table of all particles that a denoised image shows, each group fitted in a window of whole segments."""
    film = film_level(np.asarray(denoised, np.float32)).item()
    spheres = _without_pieces(_found(denoised, film), denoised, film)
    width = how["camera"].segment_width_px if how["camera"] else 1
    parts = [spheres[group] for group in groups(spheres)]
    corners = [window_around(part, np.shape(image), width) for part in parts]
    owner, hot = owners(parts, np.shape(image)), _hot(image, film, how["camera"], how["exposures"])
    image = np.where(hot, denoised, image)
    windows = [
        [np.asarray(one[rows, cols], float) for one in (image, denoised)]
        + [~np.isin(owner[rows, cols], (0, number)) | hot[rows, cols]]
        for number, (rows, cols) in enumerate(corners, 1)
    ]
    starts = [part - [rows.start, cols.start, 0, 0] for part, (rows, cols) in zip(parts, corners, strict=True)]
    tables = [pd.DataFrame(columns=COLUMNS)]
    fitted = partial(_fitted, film=film, **how)
    for table, (rows, cols) in zip(each(fitted, windows, starts), corners, strict=True):
        table[["row_px", "col_px"]] += [rows.start, cols.start]
        tables.append(table)
    table = pd.concat(tables[1:] or tables)
    inside = ((table[["row_px", "col_px"]] > -0.5) & (table[["row_px", "col_px"]] < np.array(image.shape) - 0.5)).all(
        axis=1
    )
    table = table[inside & (table["contrast"] > 0)].sort_values("d_prime", ascending=False, ignore_index=True)
    table[["diameter_nm", "diameter_error_nm", "edge_width_nm"]] *= pixel_size_nm  # in pixels so far
    places = table[["row_px", "col_px", "diameter_nm"]].to_numpy(float)
    apart_nm = gaps(places, places, pixel_size_nm) + np.diag(np.full(len(table), np.inf))
    table["touching"] = apart_nm.min(axis=1, initial=np.inf) < 0
    table["at_border"] = leave_frame(table, image.shape, pixel_size_nm)
    significant = (seen(table) >= DETECTABLE) & (table["diameter_error_nm"] < table["diameter_nm"])
    table["significant"] = significant.astype("boolean").where(table["d_prime"].notna())
    return table[COLUMNS]


def seen(table):
    """Of measured particles, the d' as far as the denoised image shows them: noise makes dark spots, too."""
    return table["d_prime"] * table["shown"].clip(upper=1)


def _hot(image, film, camera, exposures):
    """Pixels that show no specimen, but an X-ray hit, a broken pixel, or no number."""
    noise = math.sqrt(pixel_variance(film, camera) / exposures) / camera.counts_per_e if camera else 0.0
    return ~(image <= HOT_FILM * film + HOT_NOISE * noise)


def _found(image, background, least_px=SIZES_PX[0]):
    """What is dark in an image, as the spheres that a fit starts from, (K, 4)."""
    scale = {"pixel_size_nm": FINDER_PIXEL_NM, "min_diameter_nm": least_px * FINDER_PIXEL_NM}
    found = find_particles(image, background=background, **scale)
    diameter_px = found["diameter_nm"] / FINDER_PIXEL_NM
    absorption = -np.log1p(-found["contrast"].clip(upper=MOST_CONTRAST)) / diameter_px
    return np.column_stack([found["row_px"], found["col_px"], diameter_px, absorption])


def _without_pieces(spheres, denoised, film):
    """The spheres, with larger ones for each heap of many that these explain: a dark spot in one hides its rim."""
    kept = [spheres[:0]]
    for heap in groups(spheres, most_together=len(spheres)):
        kept.append(spheres[heap])
        if len(heap) <= MOST_TOGETHER:
            continue
        rows, cols = window_around(spheres[heap], np.shape(denoised), 1)
        others = owners([spheres[heap], np.delete(spheres, heap, axis=0)], np.shape(denoised))[rows, cols] == 2
        window = np.asarray(denoised[rows, cols], float)
        taken = np.where(others, 0, film - window)
        for least_px in LARGER_PX:
            larger = _found(film - taken, film, least_px)
            if 0 < len(larger) <= len(heap) / PIECES:
                fit = sizing.fit(window, larger, [film, 0, 0], ignored=others, **ON_DENOISED)
                if fit.deviance <= LEAST_REST * np.sum(taken**2):
                    kept[-1] = fit.spheres + np.array([rows.start, cols.start, 0, 0])
                    break
    return np.vstack(kept)


def _fitted(windows, spheres, *, film, camera, exposures, options):
    """Rows of one group; lengths in pixels of the window, given as it is fitted, denoised, and what shows others."""
    window, denoised, others = windows
    options = options | {"ignored": others}
    fit = _simplest(sizing.fit(window, spheres, [film, 0, 0], **options), window, denoised, options)
    for least_px in LARGER_PX:
        fit = _with_larger(fit, window, denoised, options, least_px)
    blurred = sizing.BLUR in options.get("free", ())
    errors = fit.errors[:, 2] * math.sqrt(max(fit.misfit, 1)) if camera else np.full(len(fit.spheres), np.nan)
    if blurred and camera:
        least = sizing.bound(fit.spheres, fit.film, window.shape, camera, blur_px=BLUR_PX)[:, 2]
        errors = np.where(np.isfinite(errors), least, np.inf)
    d_primes, shown = _against_denoised(fit, denoised, others, camera, exposures)
    return pd.DataFrame(
        {
            "row_px": fit.spheres[:, 0],
            "col_px": fit.spheres[:, 1],
            "diameter_nm": fit.spheres[:, 2],
            "diameter_error_nm": errors,
            "contrast": _contrast(fit.spheres),
            "background": fit.film[0],
            "d_prime": d_primes,
            "shown": shown,
            "edge_width_nm": EDGE_WIDTHS * _told_blur_px(fit) if blurred else np.nan,
            "misfit": fit.misfit,
        }
    )


def _told_blur_px(fit):
    """The blur of a fit; 0 or infinite where it ended at a limit, or next to it."""
    sharpest, softest = np.array(sizing.BLURS_PX) * [1 + AT_LIMIT, 1 - AT_LIMIT]
    return 0.0 if fit.blur_px <= sharpest else np.inf if fit.blur_px >= softest else fit.blur_px


def _contrast(spheres):
    return -np.expm1(-spheres[:, 3] * spheres[:, 2])


def _needed(fuller, simpler, window, options):
    """Whether the spheres that only one of two fits has are worth it, by the likelihood.

    A denoised image has no noise to compare with: they are if too much is left that the others do not explain.
    """
    if "camera" in options:
        return simpler.deviance - fuller.deviance > NEEDED * (len(fuller.spheres) - len(simpler.spheres))
    taken = np.where(options["ignored"], 0, simpler.film[0] - window)
    return simpler.deviance > max(fuller.deviance, LEAST_REST * np.sum(taken**2))


def _with_nested_as_one(fit, window, options):
    """The fit with one sphere for those that lie within one another: a finder sees several in one with facets."""
    centres, diameters = fit.spheres[:, :2], fit.spheres[:, 2]
    near = cdist(centres, centres) < NESTED * np.maximum.outer(diameters, diameters)
    row, col = np.indices(window.shape)
    covered = [np.hypot(row - r, col - c) < d / 2 for r, c, d, _ in fit.spheres]
    number, nest = connected_components(near)
    for inside in (nest == i for i in range(number)):
        if inside.sum() < 2:
            continue
        union = np.any([covered[k] for k in np.flatnonzero(inside)], axis=0)
        diameter = max(2 * math.sqrt(union.sum() / math.pi), diameters[inside].max())
        contrast = min(_contrast(fit.spheres[inside]).max(), MOST_CONTRAST)
        one = [*centres[inside].mean(axis=0), diameter, -math.log1p(-contrast) / diameter]
        simpler = sizing.fit(window, np.vstack([fit.spheres[~inside], one]), fit.film, **options)
        if not _needed(fit, simpler, window, options):
            return _with_nested_as_one(simpler, window, options)
    return fit


def _with_missed(fit, window, denoised, options):
    """The fit with more spheres where the denoised image is darker than its own explain: a heap hides rims."""
    explained = expected(fit.spheres, [1, 0, 0], window.shape, blur_px=fit.blur_px)
    residual = np.where(options["ignored"], 0, _transmission(denoised, fit, options["ignored"]) - explained)
    missed = _found(1 + residual, 1.0)
    missed = missed[_contrast(missed) >= LEAST_MISSED]
    if len(missed) == 0:
        return fit
    fuller = sizing.fit(window, np.vstack([fit.spheres, missed]), fit.film, **options)
    return fuller if _needed(fuller, fit, window, options) else fit


def _simplest(fit, window, denoised, options):
    """The fit with what it misses, and without what is not needed."""
    fit = _with_nested_as_one(fit, window, options)
    fit = _with_missed(fit, window, denoised, options)
    while (simpler := _without_needless(fit, window, options)) is not None:
        fit = simpler
    return fit


def _with_larger(fit, window, denoised, options, least_px):
    """The fit of fewer, larger spheres if they do: a dark spot in one hides its rim from the finder."""
    if len(fit.spheres) < 2:
        return fit
    transmission = _transmission(denoised, fit, options["ignored"])
    larger = _found(np.where(options["ignored"], 1.0, transmission), 1.0, least_px)
    if not 0 < len(larger) < len(fit.spheres):
        return fit
    other = _simplest(sizing.fit(window, larger, fit.film, **options), window, denoised, options)
    fewer = len(other.spheres) < len(fit.spheres)
    return other if fewer and not _needed(fit, other, window, options) else fit


def _without_needless(fit, window, options):
    """The fit without one of its spheres if the others explain the window nearly as well; None if they do not.

    A denoised image has no noise to compare with: there a sphere is needless that takes next to no light.
    """
    contrast = _contrast(fit.spheres)
    if "camera" not in options:
        faintest = contrast.argmin() if len(contrast) else 0
        if not len(contrast) or contrast[faintest] >= LEAST_CONTRAST:
            return None
        return sizing.fit(window, np.delete(fit.spheres, faintest, axis=0), fit.film, **options)
    sure = (fit.spheres[:, 3] / fit.errors[:, 3]) ** 2 > SURE
    for k in np.argsort(contrast * fit.spheres[:, 2]) if len(contrast) > 1 else ():
        if not sure[k]:
            simpler = sizing.fit(window, np.delete(fit.spheres, k, axis=0), fit.film, **options)
            if not _needed(fit, simpler, window, options):
                return simpler
    return None


def _against_denoised(fit, denoised, others, camera, exposures):
    """Of each sphere, against the image in which only it is missing: d', and the share that the denoised one shows."""
    with_all = expected(fit.spheres, fit.film, denoised.shape, blur_px=BLUR_PX)
    denoised = expected([], fit.film, denoised.shape) * _transmission(denoised, fit, others)
    d_primes, shown = [], []
    for k in range(len(fit.spheres)):
        without = expected(np.delete(fit.spheres, k, axis=0), fit.film, denoised.shape, blur_px=BLUR_PX)
        signal = np.where(others, 0, without - with_all)
        shown.append(np.sum(signal * (without - denoised)) / max(np.sum(signal**2), np.finfo(float).tiny))
        d_primes.append(math.sqrt(exposures) * detectability(signal, with_all, for_sums(camera)) if camera else np.nan)
    return d_primes, shown


def _transmission(denoised, fit, others):
    """What a denoised image shows, relative to its own film nearby: it may be in even light, and the frame is not."""
    clear = (expected(fit.spheres, [1, 0, 0], denoised.shape, blur_px=BLUR_PX) > CLEAR) & ~others
    if not clear.any():
        return denoised / fit.film[0]
    near, film = (gaussian_filter(np.where(clear, of, 0.0), LIGHT_PX) for of in (1.0, denoised))
    seen_near = near > np.finfo(np.float32).eps
    return denoised / np.where(seen_near, film / np.where(seen_near, near, 1), denoised[clear].mean())
