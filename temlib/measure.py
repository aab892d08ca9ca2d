"""Particles of a frame, measured: found on its denoised image, fitted as spheres on the raw one.

Arrays in, a table out; knows no file and no network.
"""

import math

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from temlib import sizing
from temlib.camera import detectability
from temlib.film import film_level
from temlib.particles import find_particles

BLUR_PX = 0.5  # of the edges of particles in a frame that was binned by 8
MARGIN_PX = 10  # of film around a group of particles, which is fitted with it
NEAR_PX = 4.0  # particles whose rims are nearer are fitted together
MOST_CONTRAST = 0.95  # that a fit starts from
NEEDED = 25.0  # by how much chi^2 must grow without a particle of a group; its four parameters explain 4 of noise
DETECTABLE = 3.0  # least d' of a particle that can be told from noise
COLUMNS = ["row_px", "col_px", "diameter_nm", "diameter_error_nm", "contrast", "background", "d_prime", "misfit"]
COLUMNS += ["touching", "at_border", "significant"]


def measure(raw, denoised, *, pixel_size_nm, camera, clipped):
    """Diameters of the particles of one frame.

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

    Returns
    -------
    pandas.DataFrame
        A row a particle, the surest first: its centre, diameter_nm with its standard error, contrast (1 -
        transmission in the centre), background (the film there [e-/px]), d_prime (see `camera.detectability`), the
        misfit of its group (see `sizing.Fit`); whether it is touching another one, reaches beyond the frame
        (at_border), and is significant: d' of 3 or more.
    """
    film_e = film_level(np.asarray(denoised, np.float32)).item()
    found = find_particles(denoised, pixel_size_nm=pixel_size_nm, background=film_e)
    diameter_px = found["diameter_nm"] / pixel_size_nm
    absorption = -np.log1p(-found["contrast"].clip(upper=MOST_CONTRAST)) / diameter_px
    spheres = np.column_stack([found["row_px"], found["col_px"], diameter_px, absorption])
    tables = [_measured(raw, spheres[group], film_e, pixel_size_nm, camera, clipped) for group in groups(spheres)]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=COLUMNS)
    return table.sort_values("d_prime", ascending=False, ignore_index=True)


def groups(spheres):
    """Which particles are fitted together, as their rims nearly touch: a list of arrays of positions."""
    if len(spheres) == 0:
        return []
    number, group = connected_components(_gaps(spheres) < NEAR_PX)
    return [np.flatnonzero(group == i) for i in range(number)]


def _gaps(spheres):
    """From rim to rim [px], (K, K)."""
    return cdist(spheres[:, :2], spheres[:, :2]) - np.add.outer(spheres[:, 2], spheres[:, 2]) / 2


def _measured(raw, spheres, film_e, pixel_size_nm, camera, clipped):
    """Rows of one group, fitted in a window of whole segments around it."""
    low = (spheres[:, :2] - spheres[:, 2:3] / 2).min(axis=0) - MARGIN_PX
    high = (spheres[:, :2] + spheres[:, 2:3] / 2).max(axis=0) + MARGIN_PX + 1
    width = camera.segment_width_px
    top, bottom = max(math.floor(low[0]), 0), min(math.ceil(high[0]), raw.shape[0])
    left = max(math.floor(low[1] / width), 0) * width
    right = min(math.ceil(high[1] / width) * width, raw.shape[1])
    window, options = raw[top:bottom, left:right], {"camera": camera, "clipped": clipped, "blur_px": BLUR_PX}
    spheres, film = spheres - [top, left, 0, 0], [film_e, 0, 0]
    fit = sizing.fit(window, spheres, film, **options)
    while (simpler := _without_needless(fit, window, options)) is not None:
        fit = simpler
    d_primes = _d_primes(fit, window.shape, camera)
    touching = (_gaps(fit.spheres) + np.diag(np.full(len(fit.spheres), np.inf))).min(axis=1) < 0
    places = fit.spheres[:, :2] + [top, left]
    reach = fit.spheres[:, 2:3] / 2
    at_border = ((places < reach) | (places > np.array(raw.shape) - 1 - reach)).any(axis=1)
    return pd.DataFrame(
        {
            "row_px": places[:, 0],
            "col_px": places[:, 1],
            "diameter_nm": fit.spheres[:, 2] * pixel_size_nm,
            "diameter_error_nm": fit.errors[:, 2] * pixel_size_nm,
            "contrast": -np.expm1(-fit.spheres[:, 3] * fit.spheres[:, 2]),
            "background": fit.film[0],
            "d_prime": d_primes,
            "misfit": fit.misfit,
            "touching": touching,
            "at_border": at_border,
            "significant": np.array(d_primes) >= DETECTABLE,
        }
    )


def _without_needless(fit, window, options):
    """The fit without one of its spheres if the others explain the window nearly as well; None if they do not."""
    faintest_first = np.argsort(_d_primes(fit, window.shape, options["camera"]))
    for k in faintest_first if len(fit.spheres) > 1 else ():
        simpler = sizing.fit(window, np.delete(fit.spheres, k, axis=0), fit.film, **options)
        if simpler.chi2 - fit.chi2 < NEEDED:
            return simpler
    return None


def _d_primes(fit, shape, camera):
    """d' of each sphere of a fit: against the image in which only it is missing."""
    with_all = sizing.expected(fit.spheres, fit.film, shape, blur_px=BLUR_PX)
    found = []
    for k in range(len(fit.spheres)):
        others = np.delete(fit.spheres, k, axis=0)
        without = sizing.expected(others, fit.film, shape, blur_px=BLUR_PX)
        found.append(detectability(without - with_all, with_all, camera))
    return found
