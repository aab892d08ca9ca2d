"""A second simulated specimen, written apart from the first, to judge networks that the first trained.

Bodies are signed distances that are projected numerically, they stick together by diffusion-limited
aggregation on a film, and the image is that of a wave which the defocus propagates, carbon noise
included. Knows nothing of cameras, files, or the other phantom. Lengths in nm; (row, column) order.
"""

import numpy as np
import pandas as pd
from scipy.fft import fft2, fftfreq, ifft2, next_fast_len
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from temlib.preprocess import bin_area

WAVELENGTH_NM = 2.508e-3  # 200 kV
PHASE_PER_V_NM = 7.29e-3  # interaction constant at 200 kV [rad / (V nm)], Reimer and Kohl (2008), chapter 3
CARBON_V, CARBON_L_NM, CARBON_ATOMS_PER_NM3 = 9.0, 745.0, 100.0  # L at 20 mrad; 2.0 g/cm3
LARGEST_STEP_NM = 1.5  # of the grid on which the wave is propagated
MARGIN_NM = 60.0  # the propagation is periodic: what leaks in from the other side stays in here
N_LAYERS = 33  # odd, so that one layer is the equator
SIZES_NM = 30.0, 200.0
EMPTY_SHARE, HOLEY_SHARE, OVERFOCUS_SHARE = 0.05, 0.25, 0.1
COLUMNS = ["row_px", "col_px", "diameter_nm", "shape", "transmission"]
# Attenuation lengths [nm], one range of which each particle takes; inner potential [V]; habits. The
# lengths follow the contrasts that the paper states (shared notes, camera.md): silicate 0.6, SiC and
# alumina 0.9 at 100 nm, FeNi below 0.5 from 50 nm on, Ni strong or weak; the potentials are rounded
MATERIALS = {
    "Ni": (((33, 50), (110, 180)), 22, ("cuboctahedron", "twin", "superquadric", "hollow")),
    "FeNi": (((45, 80),), 22, ("superquadric", "grain", "core-shell")),
    "SiC": (((700, 1050),), 15, ("grain", "cuboctahedron", "rod", "twin")),
    "silicate": (((170, 230),), 11, ("grain", "superquadric", "hollow")),
    "alumina": (((650, 1050),), 16, ("superquadric", "grain", "rod", "cuboctahedron")),
}
CRYSTALS = ("cuboctahedron", "twin", "rod", "superquadric")  # those that may show bend contours


def gauge(grid, radius_nm, normals, doublings):
    """Body with the faces n.x = radius, their edges rounded by a norm of order 2 ** doublings.

    F = (sum |n.x|^p)^(1/p) is 1 on the surface and grows in proportion along a ray (Minkowski
    functional), so r (1 - 1/F) is the distance to the surface along it. Three orthogonal normals
    give a superquadric, seven a cuboctahedron.
    """
    total = 0.0
    for normal in normals:
        power = _dot(normal / radius_nm, grid)
        for _ in range(doublings):
            power = power * power
        total = total + power
    for _ in range(doublings):
        total = np.sqrt(total)
    return _length(grid) * (1 - 1 / np.maximum(total, 1e-3))


def grain(grid, radius_nm, axes, heights):
    """Irregular body r = radius (1 + sum a_l P_l(axis.direction)): spherical harmonics about random axes."""
    length = _length(grid)
    surface = 1.0
    for degree, (axis, height) in enumerate(zip(axes, heights, strict=True), start=2):
        cosine = _dot(axis, grid) / np.maximum(length, 1e-3)
        before, legendre = 1.0, cosine
        for n in range(1, degree):  # Bonnet's recursion
            before, legendre = legendre, ((2 * n + 1) * cosine * legendre - n * before) / (n + 1)
        surface = surface + height * legendre
    return length - radius_nm * surface


def _dot(vector, grid):
    row, col, height = (np.float32(v) * g for v, g in zip(vector, grid, strict=True))
    return (row + col) + height


def _length(grid):
    row, col, height = (g * g for g in grid)
    return np.sqrt((row + col) + height)


def projected_thickness(distance_nm, step_nm):
    """Path through a body along the last axis, whose layers are `step_nm` apart; (M, N, L) to (M, N), nm.

    Between two layers the signed distance is taken as linear: of a cell that the surface cuts the
    share counts that lies inside, so the error is of second order in the step.
    """
    inside, size = np.maximum(-distance_nm, 0), np.abs(distance_nm)
    share = (inside[..., 1:] + inside[..., :-1]) / (size[..., 1:] + size[..., :-1] + np.float32(1e-6))
    return step_nm * share.sum(axis=-1)


def shadow(distance_nm, step_nm):
    """Centre (row, column) [px] of a projected body (M, N, L), and the diameter of the circle of its area [nm].

    Pixels at the rim, of edge `step_nm`, count in part.
    """
    covered = np.clip(0.5 - distance_nm.min(axis=-1) / step_nm, 0, 1).astype(np.float64)
    centre = [covered.sum(axis=1 - axis) @ np.arange(covered.shape[axis]) / covered.sum() for axis in (0, 1)]
    return np.array(centre), 2 * np.sqrt(covered.sum() * step_nm**2 / np.pi)


def random_body(shape, grid, radius_nm, rng):
    """Signed distance of a random body, and (weight, signed distance) of the parts that make its mass."""
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    if shape == "grain":
        heights = rng.normal(0, 0.35, 4) / np.arange(2, 6) ** 1.2
        heights *= min(1, 0.4 / np.abs(heights).sum())
        axes = rng.normal(size=(4, 3))
        outer = grain(grid, radius_nm, axes / np.linalg.norm(axes, axis=1, keepdims=True), heights)
    elif shape in ("cuboctahedron", "twin"):
        corners = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]) / np.sqrt(3)
        faces = np.vstack([np.eye(3), corners / rng.uniform(0.85, 1.1)]) * 1.12
        outer = gauge(grid, radius_nm, faces @ turn, int(rng.integers(3, 5)))
    elif shape == "rod":
        flat = Rotation.from_rotvec([0, 0, rng.uniform(0, np.pi)]).as_matrix()
        outer = gauge(grid, radius_nm, np.diag([1, *rng.uniform(1.6, 4.5) * np.ones(2)]) / 1.25 @ flat, 2)
    else:
        axes = np.eye(3) * rng.uniform(0.9, 1.2, (3, 1))
        outer = gauge(grid, radius_nm, axes @ turn, 1 if rng.random() < 0.75 else 2)
    parts = [(1.0, outer)]
    if shape == "hollow":
        parts.append((-rng.uniform(0.6, 1.0), outer + radius_nm * np.float32(rng.uniform(0.25, 0.55))))
    elif shape == "core-shell":
        parts = [(0.5, outer), (0.6, outer + radius_nm * np.float32(rng.uniform(0.1, 0.3)))]
    elif shape == "twin":
        cut = _dot(turn[0], grid) - radius_nm * np.float32(rng.uniform(-0.3, 0.3))
        parts.append((rng.uniform(-0.35, 0.5), np.maximum(outer, cut)))
    return outer, parts


def contact_nm(radius_nm, radii_nm):
    """Distance in projection of spheres that lie on one plane and touch, 2 sqrt(r R): less than r + R."""
    return 2 * np.sqrt(radius_nm * radii_nm)


def aggregate(radii_nm, rng):
    """Diffusion-limited aggregation (Witten and Sander 1981) on a film: radii (n,) to centres (n, 2), nm.

    A particle far out walks at random, each time as far as surely nothing is in its way (walk on
    spheres), until it touches one that is there.
    """
    centres = np.zeros((len(radii_nm), 2))
    for i in range(1, len(radii_nm)):
        reach = contact_nm(radii_nm[i], radii_nm[:i])
        far = np.hypot(*centres[:i].T).max() + 2 * reach.max()
        place = _on_circle(far, rng)
        while True:
            gap = (np.hypot(*(place - centres[:i]).T) - reach).min()
            if gap < 0.03 * radii_nm[i]:
                break
            place = _on_circle(far, rng) if gap > 2 * far else place + _on_circle(gap, rng)
        centres[i] = place
    return centres


def _on_circle(radius, rng):
    angle = rng.uniform(0, 2 * np.pi)
    return radius * np.array([np.sin(angle), np.cos(angle)])


def arrangement(extent_nm, hole_nm, step_nm, rng):
    """Radii (n,) and centres (n, 2) [nm] of the particles of a field of this edge, on the film."""
    median, spread = rng.uniform(40, 115), rng.uniform(0.08, 0.4)
    area = rng.choice([0.03, 0.1, 0.25]) * rng.uniform(0.6, 1.4) * extent_nm**2
    chained = rng.choice([0.0, 0.5, 1.0])
    radii, centres = np.empty(0), np.empty((0, 2))
    for _ in range(200):
        if len(radii) >= 150 or np.pi * np.sum(radii**2) >= area:
            break
        n = 1 + int(rng.geometric(0.08)) if rng.random() < chained else 1
        group = np.clip(median * np.exp(rng.normal(0, spread, n)), *SIZES_NM) / 2
        fits = np.cumsum(np.pi * group**2) <= area - np.pi * np.sum(radii**2)
        group = group[: max(1, fits.sum())]
        places = rng.uniform(0.6, 1) * aggregate(group, rng) + rng.uniform(0, extent_nm, 2)
        # a chain starts on the film, may bridge a hole, and may be fused; other chains are apart
        row, col = np.clip(places[0] / step_nm, 0, np.array(hole_nm.shape) - 1).astype(int)
        if hole_nm[row, col] > 0 and (cdist(places, centres) >= contact_nm(group[:, None], radii)).all():
            radii, centres = np.append(radii, group), np.vstack([centres, places])
    return radii, centres


def hole_distance(shape, step_nm, rng):
    """Distance to the rim of the nearest hole of a holey film [nm], positive on the film; (M, N)."""
    distance = np.full(shape, np.inf, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        row, col = (step_nm * np.float32(np.arange(n) - rng.uniform(-0.2, 1.2) * n) for n in shape)
        angle, edge = np.arctan2(row[:, None], col), rng.uniform(0.15, 0.5) * min(shape) * step_nm
        for wave in range(2, 6):
            edge = edge * (1 + np.float32(0.06 / wave) * np.cos(wave * angle + rng.uniform(0, 6.28)))
        distance = np.minimum(distance, np.hypot(row[:, None], col) - edge)
    return distance


def carbon_phase(film_nm, step_nm, rng):
    """Phase noise of an amorphous film [rad]; thickness (M, N) to (M, N).

    White, for the grid is coarser than atoms: a column of step^2 x thickness holds Poisson-many, each
    of C_E V / density over step^2, so the deviation is C_E V sqrt(thickness / density) / step (14 mrad
    for 10 nm at 1.5 nm). The lens makes of it the granularity that a micrograph shows.
    """
    rms = PHASE_PER_V_NM * CARBON_V * np.sqrt(film_nm / CARBON_ATOMS_PER_NM3) / step_nm
    return rms * rng.standard_normal(film_nm.shape, dtype=np.float32)


def propagate(depth, phase_rad, step_nm, *, defocus_nm, angle_rad=0.0):
    """Image of a thin specimen out of focus, |F^-1[F[exp(-depth/2 + i phase)] exp(i pi lambda df q^2)]|^2.

    Under focus (positive) a column of atoms is dark: a weak phase gives 1 - 2 phase sin(pi lambda df
    q^2) in Fourier space (Kirkland, Advanced Computing in Electron Microscopy, chapter 3); spherical
    aberration is nothing at these frequencies. `angle_rad` is the deviation of the illumination's
    angles, which shift the image by defocus x angle and so blur it. Arrays (M, N), periodic.
    """
    wave = np.exp(-0.5 * depth + 1j * phase_rad).astype(np.complex64)
    row, col = (np.exp(1j * np.pi * WAVELENGTH_NM * defocus_nm * fftfreq(n, step_nm) ** 2) for n in wave.shape)
    wave = ifft2(fft2(wave) * np.outer(row, col).astype(np.complex64))
    return gaussian_filter(wave.real**2 + wave.imag**2, abs(defocus_nm) * angle_rad / step_nm, mode="wrap")


def second_field(seed, index, *, size_px, pixel_size_nm, material):
    """Transmission of one simulated field of view, and what is in it: same numbers, same bytes.

    Parameters
    ----------
    seed, index, size_px : int
    pixel_size_nm : float
    material : key of `MATERIALS`

    Returns
    -------
    transmission : ndarray of float32, shape (size_px, size_px)
        Intensity relative to the empty film; above 1 in holes and fringes.
    truth : pandas.DataFrame
        The particles whose centres are in the field: row_px, col_px and diameter_nm (centre of their
        shadow, and of the circle of its area, also where it leaves the field or is overlapped),
        shape, transmission (of this particle alone, at its centre, in focus).
    """
    rng = np.random.default_rng([seed, index, list(MATERIALS).index(material), 2])
    fine = int(np.ceil(pixel_size_nm / LARGEST_STEP_NM))
    step = pixel_size_nm / fine
    n = next_fast_len(fine * size_px + 2 * int(MARGIN_NM / step))
    before = (n - fine * size_px) // 2
    empty_nm = rng.uniform(5, 20)
    film, distance = np.full((n, n), empty_nm, np.float32), np.ones((n, n))
    if rng.random() < HOLEY_SHARE:
        distance = hole_distance((n, n), step, rng)
        film *= (distance > 0) * (1 + rng.uniform(0.5, 2.5) * np.exp(-((distance / rng.uniform(15, 40)) ** 2)))
    noise = carbon_phase(film, step, rng)
    depth = (film - empty_nm + noise / (PHASE_PER_V_NM * CARBON_V)) / CARBON_L_NM
    phase = PHASE_PER_V_NM * CARBON_V * film
    rows = []
    if rng.random() >= EMPTY_SHARE:
        mottle = rng.standard_normal((n, n), dtype=np.float32)
        mottle = gaussian_filter(mottle, rng.uniform(3, 12) / step, mode="wrap")
        mottle *= rng.uniform(0, 0.12) / mottle.std()
        shapes = rng.permutation(MATERIALS[material][2])[: rng.integers(1, 4)]
        for radius, centre in zip(*arrangement(n * step, distance, step, rng), strict=True):
            habit = str(rng.choice(shapes))
            rows.append(_add_particle(depth, phase, mottle, radius, centre / step, step, material, habit, rng))
    defocus = np.exp(rng.uniform(np.log(100), np.log(1500))) * (-1 if rng.random() < OVERFOCUS_SHARE else 1)
    # the phase of a steep edge turns faster than the grid can hold: smoothed to the fringe's width
    width_nm = max(step, np.sqrt(WAVELENGTH_NM * abs(defocus)) / 2)
    phase = noise + gaussian_filter(phase, width_nm / step, mode="wrap")
    image = propagate(depth, phase, step, defocus_nm=defocus, angle_rad=rng.uniform(2e-5, 2e-4))
    inside = slice(before, before + fine * size_px)
    transmission = bin_area(image[inside, inside], fine)
    truth = pd.DataFrame(rows, columns=COLUMNS).astype({"row_px": float, "col_px": float})
    # a pixel's number is that of its centre, on the fine grid and on the coarse one
    truth[["row_px", "col_px"]] = (truth[["row_px", "col_px"]] - before + 0.5) / fine - 0.5
    seen = truth.row_px.between(-0.5, size_px - 0.5) & truth.col_px.between(-0.5, size_px - 0.5)
    return transmission.astype(np.float32), truth[seen].reset_index(drop=True)


def _add_particle(depth, phase, mottle, radius, centre, step, material, shape, rng):
    """Add one particle to depth and phase, in place; its row of the truth, centre in pixels of this grid."""
    lengths, potential, _ = MATERIALS[material]
    length = rng.uniform(*lengths[rng.integers(len(lengths))])
    half = 1.5 * radius  # no body is larger
    axes = [np.arange(np.floor(c - half / step), np.ceil(c + half / step) + 1) for c in centre]
    layers = np.linspace(-half, half, N_LAYERS, dtype=np.float32)
    row, col = (((axis - c) * step).astype(np.float32) for axis, c in zip(axes, centre, strict=True))
    outer, parts = random_body(shape, (row[:, None, None], col[None, :, None], layers), np.float32(radius), rng)
    thickness = sum(weight * projected_thickness(f, layers[1] - layers[0]) for weight, f in parts)
    mass = thickness / length
    if shape in CRYSTALS and rng.random() < 0.6:
        # bend contour: a dark or bright band, straight or curved, where a lattice plane diffracts
        angle, bow, place = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.4), rng.uniform(-0.6, 0.6)
        along, across = ((np.cos(a) * row[:, None] + np.sin(a) * col) / radius for a in (angle, angle + np.pi / 2))
        band = np.exp(-(((along - place + bow * across**2) / rng.uniform(0.06, 0.2)) ** 2))
        mass *= 1 + rng.uniform(-0.3, 0.7) * band
    # only now cut at the border of the grid, so that the shadow is the whole body's
    kept = [(axis >= 0) & (axis < len(depth)) for axis in axes]
    window = np.ix_(*(axis[k].astype(int) for axis, k in zip(axes, kept, strict=True)))
    cut = np.ix_(*kept)
    mass[cut] *= 1 + mottle[window]
    depth[window] += mass[cut]
    phase[window] += PHASE_PER_V_NM * potential * thickness[cut]
    middle, diameter = shadow(outer, step)
    at_centre = np.exp(-mass[tuple(np.rint(middle).astype(int))])
    return middle[0] + axes[0][0], middle[1] + axes[1][0], diameter, shape, float(at_centre)
