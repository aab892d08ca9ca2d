"""Which lines to draw through a field of view.

A line passes through a particle that stands alone, or through the centres of two that have only each
other as neighbours. Knows where particles are, and no image.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

MARGIN_NM = 60.0  # of line on either side of the particles, as background
EDGE_PX = 2.0  # beyond 1.2 radii: smeared edge and Fresnel fringe are no background
ANGLES_DEG = (0, 90, 45, 135)  # tried for a single particle, along the rows first


@dataclass(frozen=True, eq=False)
class Line:
    """A straight line through one particle or two, sampled as `line_profile` does."""

    members: tuple  # rows of the table of particles, the smaller particle first
    start_px: np.ndarray  # (2,) row and column
    stop_px: np.ndarray  # (2,)
    centres_nm: np.ndarray  # (1,) or (2,) along the line
    diameters_nm: np.ndarray  # (1,) or (2,) expected
    outside: np.ndarray  # (L,) bool, away from every particle

    @property
    def kind(self):
        return "isolated" if len(self.members) == 1 else "pair"

    @property
    def points_px(self):
        """Rows and columns of its points, (L, 2)."""
        return np.linspace(self.start_px, self.stop_px, len(self.outside))


def lines_through(particles, shape, *, pixel_size_nm, isolated_gap_nm, width_px=1):
    """A line for every isolated particle and every adjacent pair.

    Parameters
    ----------
    particles : pandas.DataFrame
        row_px, col_px and diameter_nm of all particles in the field.
    shape : tuple of int
        Of the image.
    pixel_size_nm : float
    isolated_gap_nm : float
        A particle is isolated when the edges of all others are farther from its own than this, and
        two are an adjacent pair when only each other's edge is nearer. Of two that overlap, neither
        may reach the other's centre.
    width_px : int
        Of the lines; they keep half of it away from the border.

    Returns
    -------
    list of Line
        Of a single particle along the rows, a column or a diagonal: whichever meets most background.
    """
    place = particles[["row_px", "col_px"]].to_numpy(float)
    radius = particles["diameter_nm"].to_numpy(float) / 2
    if not len(place):
        return []
    distance = cdist(place, place) * pixel_size_nm
    gap = distance - radius[:, None] - radius[None, :]
    np.fill_diagonal(gap, np.inf)
    near = gap <= isolated_gap_nm
    border = np.minimum(place, np.array(shape) - 1 - place).min(axis=1)
    whole = border * pixel_size_nm > radius

    def draw(members, direction):
        return _line(members, direction, place, radius, shape, pixel_size_nm, width_px)

    lines = []
    for i in np.flatnonzero(whole & ~near.any(axis=1)):
        turned = [draw((i,), (np.sin(a), np.cos(a))) for a in np.deg2rad(ANGLES_DEG)]
        lines.append(max(turned, key=lambda line: line.outside.sum()))
    for i, j in np.argwhere(np.triu(near)):
        alone = near[i].sum() == 1 and near[j].sum() == 1
        if alone and whole[i] and whole[j] and distance[i, j] > max(radius[i], radius[j]):
            i, j = sorted((i, j), key=lambda k: radius[k])
            lines.append(draw((i, j), (place[j] - place[i]) * pixel_size_nm / distance[i, j]))
    return lines


def _line(members, direction, place, radius, shape, pixel_size_nm, width_px):
    members = tuple(int(k) for k in members)
    direction = np.asarray(direction)
    first, last = members[0], members[-1]
    start = place[first] - direction * _reach(place[first], -direction, radius[first], shape, pixel_size_nm, width_px)
    stop = place[last] + direction * _reach(place[last], direction, radius[last], shape, pixel_size_nm, width_px)
    length_px = float(np.hypot(*(stop - start)))
    points = np.linspace(start, stop, int(np.ceil(length_px)) + 1)
    return Line(
        members,
        start,
        stop,
        centres_nm=np.array([np.hypot(*(place[k] - start)) for k in members]) * pixel_size_nm,
        diameters_nm=2 * radius[list(members)],
        outside=np.all(cdist(points, place) > 1.2 * radius / pixel_size_nm + EDGE_PX, axis=1),
    )


def _reach(place, direction, radius, shape, pixel_size_nm, width_px):
    """How far a line goes beyond a centre: radius and margin, or to the border [px]."""
    room = [(radius + MARGIN_NM) / pixel_size_nm]
    for position, step, size in zip(place, direction, shape, strict=True):
        if abs(step) > 1e-9:
            border = size - 1 - width_px / 2 if step > 0 else width_px / 2
            room.append(max((border - position) / step, 0))
    return min(room)


def nearest_line(lines, diameters_nm, separation_nm=0.0):
    """The line whose particles are nearest in size and distance to those wanted.

    Parameters
    ----------
    lines : list of (str, Line)
        Fields and lines to choose from.
    diameters_nm : sequence of float
        Of one particle, or of two with the smaller one first.
    separation_nm : float
        Distance of the two centres; of one particle 0.

    Returns
    -------
    (str, Line) or None
        None where no line has as many particles.
    """
    wanted = [*diameters_nm, separation_nm]
    fitting = [entry for entry in lines if len(entry[1].members) == len(diameters_nm)]
    return min(
        fitting,
        key=lambda entry: np.abs([*entry[1].diameters_nm, np.ptp(entry[1].centres_nm)] - np.array(wanted)).sum(),
        default=None,
    )
