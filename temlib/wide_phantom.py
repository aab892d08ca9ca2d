"""Specimens to learn from: wider in every direction than any one experiment.

What a shipped network may meet is drawn here once and at random: sizes of 4 to 150 pixels,
spheres, capsules, core-shell particles and polyhedra, alone, in chains, heaps and monolayers,
textured or not, on carbon, at the edge of a hole or of a grid bar, more or less in focus.
Knows no camera; `phantom` draws the paper's specimens.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from temlib.phantom import facet_thickness, transmission
from temlib.preprocess import bin_area

OVERSAMPLING = 2
DIAMETER_PX = (4.0, 150.0)
PIXEL_SIZE_NM = (1.0, 6.0)
MOST_PARTICLES = 250
LAYOUTS = {"scattered": 0.3, "chains": 0.25, "heaps": 0.25, "monolayer": 0.14, "empty": 0.06}
USUAL_SHARE = 0.88  # of the fields whose particles are mostly round, and about as large and dark as the paper's
# Fresnel fringes: 14 nm from its particles, the film of the paper's frames is 5 % (val) or 1 % (train) brighter than
# far away (notebook 08). Networks that had learnt from weaker and narrower ones were 0.4 dB worse on these frames
FRINGE_NM, FRINGE_STRENGTH, FRINGE_SHARE = (8.0, 60.0), (0.0, 1.8), 0.9
HOLE_SHARE, BAR_SHARE = 0.08, 0.03  # of the fields that show the edge of a hole, or of a grid bar


def learning_field(seed, index, size_px):
    """One random field of view, a function of (seed, index).

    Parameters
    ----------
    seed, index : int
    size_px : int
        Edge of the square field [px].

    Returns
    -------
    ndarray of float32, shape (size_px, size_px)
        Transmission: expected intensity relative to the empty film, above 1 in holes and fringes.
    """
    rng = np.random.default_rng([seed, index])
    edge = size_px * OVERSAMPLING
    pixel_size_nm = _log_uniform(rng, *PIXEL_SIZE_NM)
    step_nm = pixel_size_nm / OVERSAMPLING
    depth = np.zeros((edge, edge), np.float32)
    usual = rng.random() < USUAL_SHARE
    # optical depth in the middle of a typical particle, and its diameter
    contrast = _log_uniform(rng, 0.1, 1.2) if usual else _log_uniform(rng, 0.04, 2.5)
    typical_px = _log_uniform(rng, 12, 45) if usual else _log_uniform(rng, 6, 100)
    spread = rng.uniform(0, 0.35)
    kinds = rng.dirichlet((5, 0.4, 0.4, 0.6) if usual else (0.5, 0.5, 0.5, 0.5))
    for row, col, diameter in _places(rng, size_px, typical_px):
        middle = contrast * diameter / typical_px * np.exp(rng.normal(0, spread))
        _stamp(depth, row * OVERSAMPLING, col * OVERSAMPLING, diameter * OVERSAMPLING, middle, kinds, rng)
    if rng.random() < (0.2 if usual else 0.4):  # grains, twins, bend contours
        grain = gaussian_filter(rng.standard_normal(depth.shape, dtype=np.float32), _log_uniform(rng, 1, 12))
        depth *= np.maximum(1 + rng.uniform(0.02, 0.2) * grain / grain.std(), 0)
    film = transmission(
        depth,
        step_nm=step_nm,
        fringe_nm=_log_uniform(rng, *FRINGE_NM),
        fringe_strength=rng.uniform(*FRINGE_STRENGTH) * (rng.random() < FRINGE_SHARE),
        texture=rng.uniform(0, 1.3),
        rng=rng,
    )
    if rng.random() < HOLE_SHARE:
        film *= 1 + rng.uniform(0.02, 0.3) * _region(rng, edge, curved=True)
    if rng.random() < BAR_SHARE:
        film *= 1 - rng.uniform(0.85, 1.0) * _region(rng, edge, curved=False)
    return bin_area(film, OVERSAMPLING)


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _places(rng, size_px, typical_px):
    """(row, col, diameter) of every particle [px]."""
    layout = rng.choice(list(LAYOUTS), p=list(LAYOUTS.values()))
    if layout == "empty":
        return []
    width = rng.uniform(0.02, 0.55)
    low, high = DIAMETER_PX
    covered = _log_uniform(rng, 0.02, 1.0)  # their areas together, over that of the field
    number = int(np.clip(covered * size_px**2 / (np.pi / 4 * typical_px**2), 1, MOST_PARTICLES))
    diameters = np.clip(typical_px * np.exp(rng.normal(0, width, number)), low, high)
    if layout == "monolayer":
        pitch = typical_px * rng.uniform(0.95, 1.5)
        row, col = np.mgrid[0 : size_px + pitch : pitch * np.sqrt(0.75), 0 : size_px + pitch : pitch]
        col[1::2] += pitch / 2
        chosen = rng.permutation(row.size)[:number]
        jitter = rng.normal(0, pitch * rng.uniform(0, 0.12), (2, len(chosen)))
        return list(zip(*(np.stack([row.ravel()[chosen], col.ravel()[chosen]]) + jitter), diameters, strict=False))
    step_away = {"scattered": 1.0, "chains": rng.uniform(0.03, 0.2), "heaps": rng.uniform(0.03, 0.2)}[layout]
    bend = 0.4 if layout == "chains" else 3.0
    nearness = rng.uniform(0.5, 1.15)  # centres of neighbours, in sums of radii; 1 touches
    places, place, direction = [], None, 0.0
    for i, diameter in enumerate(diameters):
        if place is None or rng.random() < step_away or not np.all(np.abs(place / size_px - 0.5) < 0.55):
            place, direction = rng.uniform(-0.05, 1.05, 2) * size_px, rng.uniform(0, 2 * np.pi)
        else:
            direction += rng.normal(0, bend)
            reach = (diameters[i - 1] + diameter) / 2 * nearness * rng.uniform(0.9, 1.1)
            place = place + reach * np.array([np.sin(direction), np.cos(direction)])
        places.append((*place, diameter))
    return places


def _stamp(depth, row, col, diameter, middle, kinds, rng):
    """Add one particle's optical depth; `middle` is what a sphere of its diameter has in its centre."""
    kind = rng.choice(["sphere", "capsule", "core_shell", "polyhedron"], p=kinds)
    radius = diameter / 2
    stretch = rng.uniform(0.2, 3) if kind == "capsule" else 0.0
    reach = radius * (1.6 if kind == "polyhedron" else 1 + stretch)
    rows, cols = (slice(max(int(at - reach), 0), max(int(at + reach) + 2, 0)) for at in (row, col))
    window = depth[rows, cols]
    if window.size == 0:
        return
    y = (np.arange(window.shape[0]) + rows.start - row)[:, None] / radius
    x = (np.arange(window.shape[1]) + cols.start - col)[None, :] / radius
    if kind == "polyhedron":
        window += middle / 2 * _polyhedron(y, x, rng)
        return
    angle = rng.uniform(0, np.pi)
    along = np.clip(y * np.sin(angle) + x * np.cos(angle), -stretch, stretch)
    distance_2 = (y - along * np.sin(angle)) ** 2 + (x - along * np.cos(angle)) ** 2
    window += middle * np.sqrt(np.maximum(1 - distance_2, 0))
    if kind == "core_shell":  # a core that absorbs more than its shell, or is hollow
        core = rng.uniform(0.3, 0.9)
        window += middle * rng.uniform(-0.9, 2) * np.sqrt(np.maximum(core**2 - distance_2, 0))


def _polyhedron(y, x, rng):
    """Thickness, in radii, of a convex body with 8 to 20 faces in random directions; none farther out than 1.6."""
    normals = rng.normal(size=(rng.integers(8, 21), 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) * rng.uniform(0.8, 1.1, (len(normals), 1))
    normals[:, 2] += np.copysign(1e-3, normals[:, 2])
    ends = np.array([[0, 0, 1], [0, 0, -1]]) / 1.5  # where few faces leave it open
    return facet_thickness(np.concatenate([normals, ends]), 1.0, y, x) * (x**2 + y**2 < 1.6**2)


def _region(rng, edge, *, curved):
    """1 on one side of a rounded or straight border, 0 on the other; (edge, edge)."""
    y, x = np.mgrid[0:edge, 0:edge].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    offset = rng.uniform(-0.45, 0.45) * edge
    along = (y - edge / 2) * np.sin(angle) + (x - edge / 2) * np.cos(angle) - offset
    if curved:
        radius = rng.uniform(0.3, 3) * edge
        middle = edge / 2 + (offset + radius) * np.array([np.sin(angle), np.cos(angle)])
        along = radius - np.hypot(y - middle[0], x - middle[1])
    rough = gaussian_filter(rng.standard_normal((edge, edge), dtype=np.float32), 12)
    along += rng.uniform(0, 3) * rough / rough.std()
    return 1 / (1 + np.exp(-np.clip(along / rng.uniform(0.5, 3), -30, 30)))
