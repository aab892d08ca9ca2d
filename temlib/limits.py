"""What one exposure can tell of particles that are there: how surely they are seen, and how well a diameter is known.

Tables in, tables out.
"""

import numpy as np

from temlib import sizing, sphere_images
from temlib.camera import ONEVIEW_BIN8, detectability, for_sums
from temlib.grouping import window_around
from temlib.measure import BLUR_PX
from temlib.particles import gaps, leave_frame

NEAR_NM = 30.0  # a nearer rim belongs to what is taken for unknown
PAIR_NM = 40.0  # a wider gap is not told a bound


def with_limits(truth, shape, *, dose_e_per_px, pixel_size_nm, camera=ONEVIEW_BIN8):
    """The true particles with what one exposure can tell of them.

    Parameters
    ----------
    truth : pandas.DataFrame
        row_px, col_px, diameter_nm and transmission, the one in the centre.
    shape : tuple of int
        (M, N) of the field.
    dose_e_per_px, pixel_size_nm : float
    camera : Camera

    Returns
    -------
    pandas.DataFrame
        With gap_nm to the nearest rim (inf if there is none), at_border, d_prime (`camera.detectability` beside near
        neighbours, in whole segments, as `measure` tells it of what it finds), and bound_nm and centre_bound_nm, the
        least standard deviations of an unbiased diameter, and of a centre along one axis, with all of
        `sphere_images.SPHERE` and `FILM` unknown, beside these, edges sharp, and gap_bound_nm, that of gap_nm (NaN if
        it is wider than PAIR_NM). Whatever the shape, all are of a sphere.
    """
    places = truth[["row_px", "col_px", "diameter_nm"]].to_numpy()
    apart_nm = gaps(places, places, pixel_size_nm) + np.diag(np.full(len(truth), np.inf))
    diameter_px = truth["diameter_nm"].to_numpy() / pixel_size_nm
    spheres = np.column_stack([places[:, :2], diameter_px, -np.log(truth["transmission"]) / diameter_px])
    film = [dose_e_per_px, 0, 0]

    def seen(numbers):
        """These spheres in the window around them, and its shape."""
        rows, cols = window_around(spheres[numbers], shape, camera.segment_width_px)
        return spheres[numbers] - [rows.start, cols.start, 0, 0], (rows.stop - rows.start, cols.stop - cols.start)

    bounds_nm, gap_bounds_nm, d_primes = [], [], []
    for k, row in enumerate(apart_nm):
        around, window = seen([k, *np.flatnonzero(row < NEAR_NM)])
        bounds_nm.append(sizing.bound(around, film, window, camera)[0, :3] * pixel_size_nm)
        there, gone = (sphere_images.expected(of, film, window, blur_px=BLUR_PX) for of in (around, around[1:]))
        d_primes.append(detectability(gone - there, there, for_sums(camera)))
        if row.min() > PAIR_NM:
            gap_bounds_nm.append(np.nan)
            continue
        pair = [k, row.argmin()]
        beside = np.setdiff1d(np.flatnonzero((apart_nm[pair] < NEAR_NM).any(axis=0)), pair)
        around, window = seen([*pair, *beside])
        gap_bounds_nm.append(sizing.gap_bound(around[:2], around[2:], film, window, camera) * pixel_size_nm)
    row_nm, col_nm, diameter_nm = np.reshape(bounds_nm, (-1, 3)).T
    return truth.assign(
        gap_nm=apart_nm.min(axis=1, initial=np.inf),
        gap_bound_nm=np.array(gap_bounds_nm, float),
        at_border=leave_frame(truth, shape, pixel_size_nm),
        d_prime=d_primes,
        bound_nm=diameter_nm,
        centre_bound_nm=np.sqrt((row_nm**2 + col_nm**2) / 2),
    )
