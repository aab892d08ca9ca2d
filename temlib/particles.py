"""Find particles in a bright-field image, and say which of them are really there.

Arrays and tables in, tables out. An image is transmission: the empty background is known and
particles are darker. Diameters here are good for counting; `sizing` and `line_profiles`
measure.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.feature import canny, peak_local_max
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import regionprops
from skimage.segmentation import watershed

COLUMNS = ["row_px", "col_px", "diameter_nm", "contrast"]
MAX_DIAMETER_NM = 240.0  # of a circle that is looked for; the paper's particles reach 200 nm
BEAM_SIGMA_NM = 100.0  # what is smoother is illumination or haze, and is no particle
RIM_SEEN = 0.27  # share of a circle's rim that must be an edge of the image ...
RIM_CHANCE_PX = 0.6  # ... and over its radius, what is added, since a short rim meets edges by chance
NOISE_FACTOR = 4.5
ROD_REACH = 0.7  # half the length of a rod, in diameters of the circle of its area
VOTE_SIGMA_PX = 1.0  # how well the edges of one rim must agree on the centre


def find_particles(image, *, pixel_size_nm, background=1.0, noise=None, min_diameter_nm=30.0, min_contrast=0.03):
    """Dark particles on a bright background: round ones by their rim, others by their area.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Transmission, or any intensity proportional to it.
    pixel_size_nm : float
        Edge of one pixel on the specimen [nm].
    background : float
        Intensity of the empty film.
    noise : float, optional
        Standard deviation of the smoothed background, relative to it; by default measured on
        the pixels that are brighter than the background.
    min_diameter_nm : float
        Smaller ones are not reported.
    min_contrast : float
        What the darkest place of a particle must lack of the background, as a fraction of it;
        never less than 4.5 times the noise.

    Returns
    -------
    pandas.DataFrame
        row_px, col_px (centre), diameter_nm and contrast (1 - transmission in the darkest
        place), darkest first.

    Notes
    -----
    Overlapping particles are darkest where they overlap, so neither the depth nor the outline
    of a heap tells how many there are; their rims do. What no circle explains is parted at
    the necks of its outline (watershed of the distance transform).
    """
    min_radius_px = min_diameter_nm / pixel_size_nm / 2
    depth = gaussian_filter(1 - np.asarray(image, np.float64) / background, 0.2 * min_radius_px)
    depth -= _slow_background(depth, BEAM_SIGMA_NM / pixel_size_nm)
    if noise is None:
        brighter = depth[depth < 0]
        noise = np.sqrt(np.mean(brighter**2)) if brighter.size else 0.0
    threshold = max(min_contrast, NOISE_FACTOR * noise)
    mask = apply_hysteresis_threshold(depth, threshold / 2, threshold)

    found = []
    row, col = np.indices(depth.shape)
    rest = mask.copy()
    for centre_row, centre_col, radius in _circles(depth, mask, threshold, min_radius_px, pixel_size_nm):
        from_centre = np.hypot(row - centre_row, col - centre_col)
        found.append((centre_row, centre_col, 2 * radius, depth[from_centre < radius].max()))
        rest &= from_centre > radius + min_radius_px / 2
    distance = distance_transform_edt(rest)
    seeds = peak_local_max(
        distance, min_distance=max(1, round(min_radius_px)), threshold_abs=min_radius_px, exclude_border=False
    )
    markers = np.zeros(depth.shape, int)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    for region in regionprops(watershed(-distance, markers, mask=rest), intensity_image=depth):
        found.append((*region.centroid, region.equivalent_diameter_area, region.intensity_max))
    particles = pd.DataFrame(found, columns=COLUMNS)
    particles["diameter_nm"] *= pixel_size_nm
    real = (particles["contrast"] >= threshold) & (particles["diameter_nm"] >= min_diameter_nm)
    return particles[real].sort_values("contrast", ascending=False, ignore_index=True)


def _slow_background(depth, sigma_px):
    """Smooth part of the empty film's depth; (M, N).

    Particles are kept out by the asymmetry that they make: nothing is brighter than the film,
    so pixels are dropped that are darker than thrice the spread of the brighter ones.
    """
    slow = np.zeros_like(depth)
    for _ in range(3):
        left = depth - slow
        spread = np.sqrt(np.mean(left[left < 0] ** 2)) if (left < 0).any() else 0.0
        empty = (left <= 3 * spread).astype(float)
        weight = gaussian_filter(empty, sigma_px)
        slow = gaussian_filter(empty * depth, sigma_px) / np.maximum(weight, 0.01)
    return slow


def _circles(depth, mask, threshold, min_radius_px, pixel_size_nm):
    """(row, col, radius) of round particles [px], the best seen first.

    Every edge pixel votes, for each radius, for the centre that its gradient points to (the
    circular Hough transform with known direction, which that of scikit-image does not take).
    """
    sigma = 0.2 * min_radius_px
    edges = canny(depth, sigma, low_threshold=threshold / 8, high_threshold=threshold / 4)
    gradient = np.stack([gaussian_filter(depth, sigma, order=order) for order in ((1, 0), (0, 1))])
    place = np.argwhere(edges)
    direction = (gradient[:, edges] / np.hypot(*gradient)[edges]).T
    radii = np.arange(min_radius_px, MAX_DIAMETER_NM / pixel_size_nm / 2)
    best, best_radius = np.full(depth.shape, -np.inf), np.zeros(depth.shape)
    for radius in radii:
        centre = np.rint(place + radius * direction).astype(int)
        inside = np.all((centre >= 0) & (centre < depth.shape), axis=1)
        votes = np.zeros(depth.shape)
        np.add.at(votes, tuple(centre[inside].T), 1.0)
        seen = (gaussian_filter(votes, VOTE_SIGMA_PX) * VOTE_SIGMA_PX**2 - RIM_CHANCE_PX) / radius
        better = seen > best
        best[better], best_radius[better] = seen[better], radius
    chosen = []
    for row, col in peak_local_max(
        np.where(mask, best, -np.inf), min_distance=2, threshold_abs=RIM_SEEN, exclude_border=False
    ):
        radius = best_radius[row, col]
        if all(np.hypot(row - r, col - c) > 0.8 * max(radius, other) for r, c, other in chosen):
            chosen.append((row, col, radius))
    return chosen


def gaps(ones, others, pixel_size=1.0):
    """From rim to rim.

    Parameters
    ----------
    ones, others : array of shape (K, 3) and (L, 3)
        Centres [px], and diameters in any unit.
    pixel_size : float
        Edge of a pixel in that unit.

    Returns
    -------
    ndarray of shape (K, L)
        In the unit of the diameters, negative where two overlap.
    """
    ones, others = (np.asarray(table, float) for table in (ones, others))
    return pixel_size * cdist(ones[:, :2], others[:, :2]) - np.add.outer(ones[:, 2], others[:, 2]) / 2


def leave_frame(particles, shape, pixel_size_nm):
    """Which particles reach beyond the middle of a border pixel of an image (M, N)."""
    reach = particles[["diameter_nm"]].to_numpy() / 2 / pixel_size_nm
    places = particles[["row_px", "col_px"]].to_numpy()
    return ((places < reach) | (places > np.array(shape) - 1 - reach)).any(axis=1)


def match_particles(found, truth, *, pixel_size_nm, max_distance=0.5):
    """Which found particle is which true one (Hungarian method, least total distance).

    Parameters
    ----------
    found, truth : pandas.DataFrame
        With row_px, col_px and diameter_nm.
    pixel_size_nm : float
        Edge of one pixel on the specimen [nm].
    max_distance : float
        Farthest that the centres of a pair may lie apart, in true diameters.

    Returns
    -------
    pairs : ndarray of int, shape (P, 2)
        Positions in (`found`, `truth`).
    invented : ndarray of int
        Positions in `found` of unmatched ones that are no piece of a matched one: farther than 0.7
        true diameters, which is where a rod ends, from the centre of each.
    lost : ndarray of int
        Positions in `truth` of unmatched ones whose centre lies in no found particle. Others
        that are unmatched are merged or split, neither invented nor lost.
    """
    if found.empty or truth.empty:
        return np.empty((0, 2), int), np.arange(len(found)), np.arange(len(truth))
    distance = pixel_size_nm * cdist(found[["row_px", "col_px"]], truth[["row_px", "col_px"]])
    relative = distance / truth["diameter_nm"].to_numpy()
    # beyond the limit all pairs cost the same, more than any chain of good ones could save
    cost = np.where(relative <= max_distance, relative, max_distance * (min(relative.shape) + 1))
    rows, cols = linear_sum_assignment(cost)
    good = relative[rows, cols] <= max_distance
    pairs = np.column_stack([rows[good], cols[good]])
    alone = ~np.isin(np.arange(len(found)), pairs[:, 0]) & ~(relative[:, pairs[:, 1]] <= ROD_REACH).any(axis=1)
    within_found = distance <= found["diameter_nm"].to_numpy()[:, None] / 2
    missing = ~np.isin(np.arange(len(truth)), pairs[:, 1]) & ~within_found.any(axis=0)
    return pairs, np.flatnonzero(alone), np.flatnonzero(missing)


def box_around(particles, *, pixel_size_nm, shape, margin=0.2):
    """Square box that holds whole particles.

    Parameters
    ----------
    particles : pandas.DataFrame
        With row_px, col_px and diameter_nm; at least one row.
    pixel_size_nm : float
        Edge of one pixel on the specimen [nm].
    shape : tuple of int
        (M, N) of the image that it must stay in.
    margin : float
        Added on every side, relative to the extent of the particles.

    Returns
    -------
    top_px, left_px, edge_px : int
    """
    places = particles[["row_px", "col_px"]].to_numpy()
    reach = particles["diameter_nm"].to_numpy()[:, None] / 2 / pixel_size_nm
    low, high = (places - reach).min(axis=0), (places + reach).max(axis=0)
    edge = min(int(np.ceil((high - low).max() * (1 + 2 * margin))), *shape)
    return *_inside((low + high) / 2 - edge / 2, edge, shape), edge


def box_with(particles, number, *, edge_px, shape, avoid=None):
    """Square box, centred on a particle, whose number of particles is nearest to `number`.

    Parameters
    ----------
    particles : pandas.DataFrame
        With row_px and col_px.
    number, edge_px : int
    shape : tuple of int
        (M, N) of the image that it must stay in.
    avoid : tuple of int, optional
        Another box, which it does not overlap if there is any other place.

    Returns
    -------
    top_px, left_px, edge_px : int
        In the middle of the image where there is no particle.
    """
    centres = [*particles[["row_px", "col_px"]].to_numpy(), np.array(shape) / 2]
    boxes = [(*_inside(centre - edge_px / 2, edge_px, shape), edge_px) for centre in centres]
    boxes = boxes[:-1] or boxes
    if avoid is not None:
        boxes = [box for box in boxes if not _overlap(box, avoid)] or boxes
    return min(boxes, key=lambda box: abs(len(in_box(particles, box)) - number))


def _overlap(one, other):
    return all(a < b + other[2] and b < a + one[2] for a, b in zip(one[:2], other[:2], strict=True))


def _inside(corner, edge, shape):
    return tuple(int(np.clip(round(c), 0, n - edge)) for c, n in zip(corner, shape, strict=True))


def in_box(particles, box):
    """The rows of `particles` whose centres lie in a box (top_px, left_px, edge_px)."""
    top, left, edge = box
    in_rows = particles["row_px"].between(top - 0.5, top + edge - 0.5, inclusive="left")
    in_cols = particles["col_px"].between(left - 0.5, left + edge - 0.5, inclusive="left")
    return particles[in_rows & in_cols]


def emptiest_box(transmission, edge_px):
    """The square box (top_px, left_px, edge_px) that differs least from the empty film."""
    difference = uniform_filter(np.abs(1 - np.asarray(transmission, np.float64)), edge_px)
    half = edge_px // 2
    rows, cols = (slice(half, n - edge_px + half + 1) for n in difference.shape)
    valid = difference[rows, cols]
    return *(int(i) for i in np.unravel_index(valid.argmin(), valid.shape)), edge_px
