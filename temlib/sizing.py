"""Whole-particle fits: how large spheres are, how surely, and how surely they could be known.

Spheres of the mass-thickness law on a film whose light is a plane, seen through the camera's noise: pixels of one
segment share an offset, and what is below zero may be cut. All particles of a group are fitted together. Arrays in,
numbers out: knows no file, no network and no detection.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtr

from temlib.camera import (
    LEAST_VARIANCE_E2,
    cut_mean,
    fisher_information,
    for_sums,
    log_determinant,
    pixel_variance,
    whitened,
)
from temlib.sphere_images import FILM, SPHERE, Subpixels, expected, light_of

BLUR = "blur_px"
# Of derivatives [px]; of all others RELATIVE_STEP. The rim of a sphere is a square root, whose information on its
# radius grows without end as the step becomes small, and no estimate can use what is true within so small a step only
STEPS = {"row_px": 0.5, "col_px": 0.5, "diameter_px": 1.0, BLUR: 0.1}
RELATIVE_STEP, SMALLEST_STEP = 1e-3, 1e-6
BLURS_PX = 0.1, 8.0  # of a fit
FARTHEST = 0.5  # that the centre of a sphere moves in a fit, in diameters that it starts with
LARGEST = 1.7  # factor by which its diameter changes
SMALL_E = 0.01  # step of the derivative of what a pixel reads [e-/px]
MOST_STEPS, MOST_WEIGHTS = 40, 5  # of a fit, and how often its pixels are weighed anew
LEAST_STRENGTH = 1e-9  # of a combination of parameters, all scaled to 1 alone, of which the image says anything
ENOUGH = 0.1, 3e-3  # of chi^2, that a step gains a parameter, and that it gains when pixels are weighed anew


@dataclass(frozen=True)
class Fit:
    """Spheres fitted together.

    Attributes
    ----------
    spheres : ndarray of shape (K, 4)
        SPHERE of each.
    film : ndarray of shape (3,)
        FILM.
    blur_px : float
        Standard deviation of the Gaussian that the spheres are seen through.
    errors : ndarray of shape (K, 4)
        Standard errors of `spheres`; 0 of what was not free, infinite where the image says nothing of it, or where the
        fit ended at a limit.
    misfit : float
        Mean square of the residuals in standard deviations; about 1 if the model describes the image. Without a
        camera it is 1, as the noise is taken from the residuals.
    deviance : float
        -2 ln of the likelihood but for a constant, segments taken into account; so that fits can be compared whose
        models differ, and with them the noise that they expect. Without a camera, the sum of squares.
    """

    spheres: np.ndarray
    film: np.ndarray
    blur_px: float
    errors: np.ndarray
    misfit: float
    deviance: float


def bound(spheres, film, shape, camera, *, free=SPHERE + FILM, blur_px=0.0):
    """Standard deviations that no unbiased estimate from one frame can undercut (Cramer and Rao).

    Parameters
    ----------
    spheres, film, shape, blur_px
        As for `expected`; intensities in electrons per pixel.
    camera : Camera
    free : sequence of str
        Of SPHERE, FILM and BLUR: what is not known beforehand, in all spheres alike.

    Returns
    -------
    ndarray of shape (K, 4)
        For each of SPHERE; 0 for what is known.

    Notes
    -----
    See `camera.fisher_information`, which for clipped pixels, too, leaves out a little at the lowest doses. The rim is
    seen in steps of half a pixel (STEPS): finer ones would lower the bound by up to a tenth.
    """
    packed = _Packed(spheres, film, blur_px, free)
    return packed.deviations(packed.information(shape, camera))


def gap_bound(pair, others, film, shape, camera):
    """As `bound`, of the gap from rim to rim between two spheres, all of SPHERE and FILM unknown.

    Parameters
    ----------
    pair, others : array of shape (2, 4) and (K, 4)
        SPHERE of each.
    film, shape, camera
        As for `bound`.

    Returns
    -------
    float
        Standard deviation [px].
    """
    packed = _Packed(np.vstack([pair, others]), film, 0.0, SPHERE + FILM)
    apart = np.subtract(*np.asarray(pair)[:, :2])
    along = apart / np.hypot(*apart)
    gap = np.concatenate([along, [-0.5, 0], -along, [-0.5, 0], np.zeros(len(packed.values()) - 8)])
    return float(packed.spread(packed.information(shape, camera), gap[None])[0])


def fit(
    image, spheres, film, *, camera=None, clipped=False, exposures=1, free=SPHERE + FILM, blur_px=0.0, ignored=None
):
    """Fit spheres and film to an image by least squares, with weights that follow from what was fitted before.

    Of the camera's likelihood means and variances are taken, those of clipped pixels and of segments, and not its
    whole shape: that would tell 0.5 % more at 5 e-/px, 2 % at 1.5, and break where a pulse is not as assumed.

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
    exposures : int
        Of which the image is the mean.
    free : sequence of str
        Of SPHERE, FILM and BLUR: what is fitted; the rest stays as given.
    blur_px : float
        To start from if it is free.
    ignored : ndarray of bool, shape (M, N), optional
        Pixels that show something else.

    Returns
    -------
    Fit
        The centre of a sphere is at most half of its first diameter away from where it started, and its diameter at
        most LARGEST times larger or smaller.
    """
    packed = _Packed(spheres, film, blur_px, free)
    how = (for_sums(camera) if camera else None, clipped, exposures)
    segment_px = camera.segment_width_px if camera else 1
    weight = np.ones(image.shape) if ignored is None else ~ignored * 1.0

    def read(values):
        """What the pixels read on average, and their own and shared noise."""
        return _read(packed.expected(image.shape, values), *how)

    def left(values, *noise):
        """Residuals in standard deviations."""
        return whitened((read(values)[0] - image) * weight, *noise, segment_px).ravel()

    def slopes(values, *noise):
        """Their derivatives by the free ones."""
        electrons, by_values = packed.image(image.shape, values)
        if clipped:
            up, down = (_read(electrons + side * SMALL_E, *how)[0] for side in (1, -1))
            by_values *= (up - down) / (2 * SMALL_E)
        return whitened(by_values * weight, *noise, segment_px).reshape(len(by_values), -1).T

    values = packed.within(packed.values())
    enough, enough_anew = (gain * len(values) for gain in ENOUGH)  # without a camera they are weighed once
    how_to_search = {
        "jac": slopes,
        "bounds": (packed.least, packed.most),
        "method": "dogbox",
        "ftol": (enough if camera else enough_anew) / image.size,  # as chi^2 is about the number of pixels
        "x_scale": packed.steps,
        "max_nfev": MOST_STEPS,
    }
    for _ in range(MOST_WEIGHTS):
        _, own, shared = read(values)
        noise = np.where(weight, own, 1.0), shared * weight
        found = least_squares(left, values, args=noise, **how_to_search)
        moved = found.jac @ (found.x - values)
        values = found.x
        if not camera or moved @ moved < enough_anew:
            break
    packed.put(values)
    information, total, degrees = found.jac.T @ found.jac, 2 * found.cost, weight.sum() - len(values)
    if not camera:
        information /= max(total / degrees, np.finfo(float).tiny)
        return Fit(*packed.unpacked(), packed.deviations(information, found.active_mask), 1.0, total)
    mean, own, shared = _read(packed.expected(image.shape), camera, clipped, exposures)
    misfit = np.sum(weight * (image - mean) ** 2 / (own + shared**2)) / degrees
    deviance = total + log_determinant(*noise, segment_px)
    return Fit(*packed.unpacked(), packed.deviations(information, found.active_mask), float(misfit), deviance)


class _Packed:
    """Spheres, film and blur as one vector, of which some entries are free."""

    def __init__(self, spheres, film, blur_px, free):
        self.all = np.concatenate([np.ravel(spheres), film, [blur_px]]).astype(float)
        names = [*SPHERE * len(spheres), *FILM, BLUR]
        self.free = np.isin(names, free)
        sizes = np.maximum(np.where(np.isin(names, FILM), film[0], self.all) * RELATIVE_STEP, SMALLEST_STEP)
        self.all_steps = np.array([STEPS.get(name, size) for name, size in zip(names, sizes, strict=True)])
        self.steps = self.all_steps[self.free]
        self.least, self.most = np.array([self._limits(name, n) for n, name in enumerate(names)])[self.free].T

    def _limits(self, name, number):
        """Least and most of a parameter in a fit, so that a sphere stays what it started as."""
        start = self.all[number]
        if name in ("row_px", "col_px"):
            reach = FARTHEST * self.all[number // 4 * 4 + 2]
            return start - reach, start + reach
        if name == "diameter_px":
            return start / LARGEST, start * LARGEST
        return {"absorption_per_px": (0.0, np.inf), BLUR: BLURS_PX}.get(name, (-np.inf, np.inf))

    def within(self, values):
        return np.clip(values, self.least, self.most)

    def values(self):
        return self.all[self.free]

    def put(self, values):
        self.all[self.free] = values

    def unpacked(self, values=None):
        """Spheres (K, 4), film (3,) and blur, with other values for the free ones if given."""
        everything = self.all.copy()
        if values is not None:
            everything[self.free] = values
        return everything[:-4].reshape(-1, 4), everything[-4:-1], everything[-1]

    def expected(self, shape, values=None):
        """The expected image, (M, N)."""
        spheres, film, blur_px = self.unpacked(values)
        return expected(spheres, film, shape, blur_px=blur_px)

    def image(self, shape, values=None):
        """The expected image, (M, N), and its derivatives by the free ones, (P, M, N): central differences."""
        spheres, film, blur_px = self.unpacked(values)
        grid, light = Subpixels(shape, blur_px), light_of(shape)
        fine = grid.transmission(spheres)
        found = np.zeros((len(self.all), *grid.shape))
        for number in np.flatnonzero(self.free[:-4]):
            sphere, step = spheres[number // 4], self.all_steps[number] * (np.arange(4) == number % 4)
            pixels, place = grid.around(sphere, sphere[2] / 2 + 2 + 4 * blur_px)
            change = grid.depth(sphere + step, place) - grid.depth(sphere - step, place)
            found[number][pixels] = -grid.means(fine[place] * change) / (2 * step.sum())
        found = found[:, grid.margin : grid.shape[0] - grid.margin, grid.margin : grid.shape[1] - grid.margin]
        found *= np.tensordot(film, light, 1)
        found[-4:-1] = light * grid.seen(fine)
        if self.free[-1]:
            step = min(self.all_steps[-1], blur_px)
            wide, narrow = (grid.seen(fine, side * step) for side in (1, -1))
            found[-1] = np.tensordot(film, light, 1) * (wide - narrow) / (2 * step)
        return np.tensordot(film, found[-4:-1], 1), found[self.free]

    def information(self, shape, camera):
        """Fisher information on the free ones, of one exposure."""
        electrons, slopes = self.image(shape)
        return fisher_information(slopes, electrons, for_sums(camera))

    def deviations(self, information, at_limit=False):
        """Standard deviations (K, 4) from the information on the free ones; infinite where there is none.

        And where they ended at a limit, if it is told which did.
        """
        each = self.spread(information, np.eye(len(information)))
        everything = np.zeros(len(self.all))
        everything[self.free] = np.where(at_limit, np.inf, each)
        return everything[:-4].reshape(-1, 4)

    def spread(self, information, combinations):
        """Standard deviations of linear combinations (Q, P) of the free ones; infinite where the image is silent."""
        scaled = information * np.outer(self.steps, self.steps)
        size = np.sqrt(np.diag(scaled))
        known = size > 0
        size = np.where(known, size, 1.0)
        strength, direction = np.linalg.eigh(scaled / np.outer(size, size) + np.diag(~known * 1.0))
        sure = strength > LEAST_STRENGTH
        parts = (combinations * self.steps / size @ direction) ** 2
        variance = np.sum(parts[:, sure] / strength[sure], axis=1)
        silent = np.sum(parts[:, ~sure], axis=1) > LEAST_STRENGTH * parts.sum(axis=1)
        return np.where(silent | combinations[:, ~known].any(axis=1), np.inf, np.sqrt(variance))


def _read(mean_e, camera, clipped, exposures):
    """What pixels that expect `mean_e` read on average, their own variance, and what they share of an offset.

    The latter two of the mean of several exposures; 1 and 0 without a camera.
    """
    if camera is None:
        return mean_e, np.ones(mean_e.shape), np.zeros(mean_e.shape)
    shared = np.full(mean_e.shape, camera.segment_counts / camera.counts_per_e)
    own = np.maximum(pixel_variance(np.maximum(mean_e, 0), camera) / camera.counts_per_e**2, LEAST_VARIANCE_E2)
    if not clipped:
        return mean_e, own / exposures, shared / math.sqrt(exposures)
    spread = np.sqrt(own + shared**2)
    mean, above = spread * cut_mean(mean_e / spread), ndtr(mean_e / spread)
    variance = mean_e * mean + spread**2 * above - mean**2
    shared = shared * above
    return mean, (variance - shared**2) / exposures, shared / math.sqrt(exposures)
