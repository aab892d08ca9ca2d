"""Whole-particle fits: how large spheres are, how surely, and how surely they could be known.

Spheres of the mass-thickness law on a film whose light is a plane, seen through the camera's noise: pixels of one
segment share an offset, and what is below zero may be cut. All particles of a group are fitted together. Arrays in,
numbers out: knows no file, no network and no detection.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from scipy.special import ndtr

from temlib.camera import cut_mean, fisher_information, pixel_variance, whitened

SPHERE = ("row_px", "col_px", "diameter_px", "absorption_per_px")
FILM = ("film", "film_by_row", "film_by_col")
SUBSAMPLES = 3  # along the edge of a pixel: a noiseless sphere of 10 px comes back to 0.1 %
# Of derivatives [px]; of all others RELATIVE_STEP. The rim of a sphere is a square root, whose information on its
# radius grows without end as the step becomes small, and no estimate can use what is true within so small a step only
STEPS = {"row_px": 0.5, "col_px": 0.5, "diameter_px": 1.0}
RELATIVE_STEP, SMALLEST_STEP = 1e-3, 1e-6
LEAST = {"diameter_px": 1.0, "absorption_per_px": 0.0}  # of a fit
LEAST_STEP = 1e-5  # at which a fit ends, of the parameters in STEPS, of which film has a thousand: 0.005 px
SMALL_E = 0.01  # step of the derivative of what a pixel reads [e-/px]
ROUNDS = 3  # of fits, each with the variances that the one before implies


@dataclass(frozen=True)
class Fit:
    """Spheres fitted together.

    Attributes
    ----------
    spheres : ndarray of shape (K, 4)
        SPHERE of each.
    film : ndarray of shape (3,)
        FILM.
    errors : ndarray of shape (K, 4)
        Standard errors of `spheres`; 0 of what was not free, infinite where the image says nothing of it.
    misfit : float
        Mean square of the residuals in standard deviations; about 1 if the model describes the image. Without a
        camera it is 1, as the noise is taken from the residuals.
    chi2 : float
        Sum of the squares that was made least: pixels in standard deviations, offsets of segments taken into account.
    """

    spheres: np.ndarray
    film: np.ndarray
    errors: np.ndarray
    misfit: float
    chi2: float


def expected(spheres, film, shape, *, blur_px=0.0):
    """Expected intensity of spheres on a film.

    Parameters
    ----------
    spheres : array of shape (K, 4)
        SPHERE of each: centre and diameter [px], and the absorption along its thickness [1/px], the inverse of the
        mean free path of its material.
    film : array of shape (3,)
        FILM: intensity in the middle of the image, and its change over the image's rows and over its columns.
    shape : tuple of int
        (M, N) of the image.
    blur_px : float
        Standard deviation of a Gaussian point spread.

    Returns
    -------
    ndarray of shape (M, N), in the unit of `film`
        Mean over each pixel of film x exp(- sum of absorption x thickness).
    """
    grid = _Subpixels(shape, blur_px)
    return np.tensordot(film, _light(shape), 1) * grid.seen(grid.transmission(spheres))


def _light(shape):
    """What each of FILM adds to the light, (3, M, N)."""
    row, col = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    return np.stack([np.ones(shape), row, col])


class _Subpixels:
    """The subpixels of an image, and of a margin around it from which the blur brings something in."""

    def __init__(self, shape, blur_px):
        self.blur_px, self.margin = blur_px, math.ceil(4 * blur_px)
        self.shape = [n + 2 * self.margin for n in shape]
        inside = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
        self.axes = [np.add.outer(np.arange(n) - self.margin, inside).ravel() for n in self.shape]

    def around(self, sphere, reach_px):
        """Where the pixels, and where the subpixels, lie that are near a sphere: two tuples of slices."""
        places = sphere[:2] + self.margin
        first, last = np.floor(places - reach_px), np.ceil(places + reach_px) + 1
        ends = [np.clip([a, b], 0, n).astype(int) for a, b, n in zip(first, last, self.shape, strict=True)]
        return tuple(slice(*e) for e in ends), tuple(slice(*(SUBSAMPLES * e)) for e in ends)

    def depth(self, sphere, place):
        """Absorption x thickness of a sphere in the subpixels of a place."""
        rows, cols = (axis[part] - at for axis, part, at in zip(self.axes, place, sphere[:2], strict=True))
        return sphere[3] * _thickness(np.sqrt(np.add.outer(rows**2, cols**2)), sphere[2] / 2)

    def transmission(self, spheres):
        """exp(- sum of the depths) of all subpixels."""
        depth = np.zeros([axis.size for axis in self.axes])
        for sphere in np.reshape(spheres, (-1, 4)):
            _, place = self.around(sphere, sphere[2] / 2 + 1)
            depth[place] += self.depth(sphere, place)
        return np.exp(-depth)

    def seen(self, fine):
        """Blurred means over the pixels of the image."""
        return self.means(fine)[tuple(slice(self.margin, n - self.margin) for n in self.shape)]

    def means(self, fine):
        """Blurred means over the pixels of some whole pixels' subpixels."""
        if self.blur_px > 0:
            fine = gaussian_filter(fine, self.blur_px * SUBSAMPLES, mode="nearest")
        rows, cols = (n // SUBSAMPLES for n in fine.shape)
        return fine.reshape(rows, SUBSAMPLES, cols, SUBSAMPLES).mean(axis=(1, 3))


def _thickness(distance, radius):
    """Of a sphere, mean over a subpixel along the radius: without the kink at the rim, which traps fits."""
    inner, outer = (np.clip((distance + side / 2 / SUBSAMPLES) / radius, -1, 1) for side in (-1, 1))
    areas = [u * np.sqrt(1 - u**2) + np.arcsin(u) for u in (inner, outer)]
    return radius**2 * (areas[1] - areas[0]) * SUBSAMPLES


def bound(spheres, film, shape, camera, *, free=SPHERE + FILM, blur_px=0.0):
    """Standard deviations that no unbiased estimate from one frame can undercut (Cramer and Rao).

    Parameters
    ----------
    spheres, film, shape, blur_px
        As for `expected`; intensities in electrons per pixel.
    camera : Camera
    free : sequence of str
        Of SPHERE and FILM: what is not known beforehand, in all spheres alike.

    Returns
    -------
    ndarray of shape (K, 4)
        For each of SPHERE; 0 for what is known.

    Notes
    -----
    See `camera.fisher_information`; what a camera cuts at zero is taken as recorded, so for dark places the bound is
    a little too low.
    """
    packed = _Packed(spheres, film, free)
    electrons = expected(spheres, film, shape, blur_px=blur_px)
    return packed.deviations(fisher_information(packed.derivatives(shape, blur_px), electrons, _of_large(camera)))


def fit(image, spheres, film, *, camera=None, clipped=False, free=SPHERE + FILM, blur_px=0.0):
    """Fit spheres and film to an image by least squares.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Whose column 0 begins a segment of the camera; electrons per pixel where there is a camera.
    spheres, film : array of shape (K, 4) and (3,)
        To start from, see `expected`.
    camera : Camera, optional
        Weighs the pixels and tells the errors, segments included; without it all weigh the same, and the residuals
        tell the noise, as if each pixel had its own.
    clipped : bool
        Whether the camera cut at zero: then means are fitted to what such pixels read on average.
    free : sequence of str
        Of SPHERE and FILM: what is fitted; the rest stays as given.
    blur_px : float

    Returns
    -------
    Fit
    """
    packed = _Packed(spheres, film, free)
    noise, segment = (np.ones(image.shape), np.zeros(image.shape)), camera.segment_width_px if camera else 1
    for _ in range(ROUNDS if camera else 1):
        if camera:
            electrons = expected(*packed.unpacked(), image.shape, blur_px=blur_px)
            _, *noise = _read(electrons, _of_large(camera), clipped)

        def read(values):
            mean = expected(*packed.unpacked(values), image.shape, blur_px=blur_px)
            return _read(mean, _of_large(camera), clipped)[0] if camera else mean

        def residuals(values, noise=tuple(noise)):
            return whitened(image - read(values), *noise, segment).ravel()

        def jacobian(values, noise=tuple(noise)):
            derivatives = packed.derivatives(image.shape, blur_px, values)
            if camera:
                mean = expected(*packed.unpacked(values), image.shape, blur_px=blur_px)
                up, down = (_read(mean + side * SMALL_E, _of_large(camera), clipped)[0] for side in (1, -1))
                derivatives *= (up - down) / (2 * SMALL_E)
            return -whitened(derivatives, *noise, segment).reshape(len(derivatives), -1).T

        options = {"x_scale": packed.steps, "xtol": LEAST_STEP, "bounds": (packed.least, np.inf)}
        found = least_squares(residuals, np.maximum(packed.values(), packed.least), jac=jacobian, **options)
        packed.put(found.x)
    information = found.jac.T @ found.jac
    degrees = image.size - len(found.x)
    if not camera:
        variance = max(2 * found.cost / degrees, np.finfo(float).tiny)
        return Fit(*packed.unpacked(), packed.deviations(information / variance), 1.0, 2 * found.cost)
    mean, own, shared = _read(expected(*packed.unpacked(), image.shape, blur_px=blur_px), camera, clipped)
    misfit = np.sum((image - mean) ** 2 / (own + shared**2)) / degrees
    return Fit(*packed.unpacked(), packed.deviations(information), float(misfit), 2 * found.cost)


class _Packed:
    """Spheres and film as one vector, of which some entries are free."""

    def __init__(self, spheres, film, free):
        self.all = np.concatenate([np.ravel(spheres), film]).astype(float)
        names = [*SPHERE * (len(self.all) // 4), *FILM]
        self.free = np.isin(names, free)
        sizes = np.maximum(np.where(np.isin(names, FILM), film[0], self.all) * RELATIVE_STEP, SMALLEST_STEP)
        self.all_steps = np.array([STEPS.get(name, size) for name, size in zip(names, sizes, strict=True)])
        self.steps = self.all_steps[self.free]
        self.least = np.array([LEAST.get(name, -np.inf) for name in names])[self.free]

    def values(self):
        return self.all[self.free]

    def put(self, values):
        self.all[self.free] = values

    def unpacked(self, values=None):
        """Spheres (K, 4) and film (3,), with other values for the free ones if given."""
        everything = self.all.copy()
        if values is not None:
            everything[self.free] = values
        return everything[:-3].reshape(-1, 4), everything[-3:]

    def derivatives(self, shape, blur_px, values=None):
        """Derivatives of the expected image by the free ones, (P, M, N): central differences, near each sphere."""
        spheres, film = self.unpacked(values)
        grid, light = _Subpixels(shape, blur_px), _light(shape)
        fine = grid.transmission(spheres)
        found = np.zeros((len(self.all), *grid.shape))
        for number in np.flatnonzero(self.free[:-3]):
            sphere, step = spheres[number // 4], self.all_steps[number] * (np.arange(4) == number % 4)
            pixels, place = grid.around(sphere, sphere[2] / 2 + 2 + 4 * blur_px)
            change = grid.depth(sphere + step, place) - grid.depth(sphere - step, place)
            found[number][pixels] = -grid.means(fine[place] * change) / (2 * step.sum())
        found = found[:, grid.margin : grid.shape[0] - grid.margin, grid.margin : grid.shape[1] - grid.margin]
        found *= np.tensordot(film, light, 1)
        found[-3:] = light * grid.seen(fine)
        return found[self.free]

    def deviations(self, information):
        """Standard deviations (K, 4) from the information on the free ones; infinite where there is none."""
        scaled = information * np.outer(self.steps, self.steps)
        variance = np.diag(np.linalg.pinv(scaled, hermitian=True))
        everything = np.zeros(len(self.all))
        everything[self.free] = np.where(np.diag(scaled) > 0, np.sqrt(np.maximum(variance, 0)) * self.steps, np.inf)
        return everything[:-3].reshape(-1, 4)


def _of_large(camera):
    """A camera whose pixels are as noisy as its sums over many: what a charge cloud takes from one, others have."""
    return replace(camera, blur_px=0.0)


def _read(mean_e, camera, clipped):
    """What pixels that expect `mean_e` read on average, their own variance, and what they share of an offset."""
    shared = np.full(mean_e.shape, camera.segment_counts / camera.counts_per_e)
    own = pixel_variance(np.maximum(mean_e, 0), camera) / camera.counts_per_e**2
    if not clipped:
        return mean_e, own, shared
    spread = np.sqrt(own + shared**2)
    mean, above = spread * cut_mean(mean_e / spread), ndtr(mean_e / spread)
    variance = mean_e * mean + spread**2 * above - mean**2
    shared = shared * above
    return mean, variance - shared**2, shared
