"""Which particles are fitted together, and where.

Spheres are (K, 4): row, column and diameter [px], absorption [1/px].
"""

import math

import numpy as np
from scipy.sparse.csgraph import connected_components

from temlib.particles import gaps

MARGIN_PX = 10  # of film around a group of particles, which is fitted with it
NEAR_PX = 4.0  # particles whose rims are nearer are fitted together
MOST_TOGETHER, CLOSER_PX = 10, 2.0  # particles that are fitted together; of more, the gaps are narrowed by so much


def owners(parts, shape):
    """Which group a pixel belongs to, from 1; 0 for film. (M, N)."""
    row, col = np.ogrid[: shape[0], : shape[1]]
    rim, owner = np.full(shape, np.inf), np.zeros(shape, int)
    for number, part in enumerate(parts, 1):
        for centre_row, centre_col, diameter_px, _ in part:
            from_rim = np.hypot(row - centre_row, col - centre_col) - diameter_px / 2
            nearer = from_rim < np.minimum(rim, NEAR_PX)
            rim[nearer], owner[nearer] = from_rim[nearer], number
    return owner


def window_around(spheres, shape, segment_px):
    """Rows and columns of whole segments around some spheres, with film beside them, inside the frame: two slices."""
    low = (spheres[:, :2] - spheres[:, 2:3] / 2).min(axis=0) - MARGIN_PX
    high = (spheres[:, :2] + spheres[:, 2:3] / 2).max(axis=0) + MARGIN_PX + 1
    left, right = math.floor(low[1] / segment_px) * segment_px, math.ceil(high[1] / segment_px) * segment_px
    ends = np.clip([[math.floor(low[0]), math.ceil(high[0])], [left, right]], 0, np.array(shape)[:, None])
    return tuple(slice(*map(int, pair)) for pair in ends)


def groups(spheres, near_px=NEAR_PX, most_together=MOST_TOGETHER):
    """Which particles are fitted together, as their rims nearly touch: a list of arrays of positions.

    Of a heap of more than `most_together`, those that overlap most.
    """
    if len(spheres) == 0:
        return []
    if near_px <= -spheres[:, 2].max():  # no gap is more negative
        return np.array_split(np.arange(len(spheres)), math.ceil(len(spheres) / most_together))
    number, group = connected_components(gaps(spheres[:, :3], spheres[:, :3]) < near_px)
    parts = [np.flatnonzero(group == i) for i in range(number)]
    return [
        part[inner]
        for part in parts
        for inner in (
            [np.arange(len(part))]
            if len(part) <= most_together
            else groups(spheres[part], near_px - CLOSER_PX, most_together)
        )
    ]
