"""What spheres on a film look like: absorption by their thickness, averaged over each pixel, through a blur.

Arrays in, arrays out: knows no camera and no fit.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter

SPHERE = ("row_px", "col_px", "diameter_px", "absorption_per_px")
FILM = ("film", "film_by_row", "film_by_col")
SUBSAMPLES = 3  # along the edge of a pixel: a noiseless sphere of 10 px comes back to 0.1 %


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
    grid = Subpixels(shape, blur_px)
    return np.tensordot(film, light_of(shape), 1) * grid.seen(grid.transmission(spheres))


def light_of(shape):
    """What each of FILM adds to the light, (3, M, N)."""
    row, col = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    return np.stack([np.ones(shape), row, col])


class Subpixels:
    """The subpixels of an image, and of a margin around it from which the blur brings something in."""

    def __init__(self, shape, blur_px):
        self.blur_px, self.margin = blur_px, math.ceil(4 * blur_px)
        self.shape = [n + 2 * self.margin for n in shape]
        inside = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
        self.axes = [np.add.outer(np.arange(n) - self.margin, inside).ravel().astype(np.float32) for n in self.shape]

    def around(self, sphere, reach_px):
        """Where the pixels, and where the subpixels, lie that are near a sphere: two tuples of slices."""
        places = sphere[:2] + self.margin
        first, last = np.floor(places - reach_px), np.ceil(places + reach_px) + 1
        ends = [np.clip([a, b], 0, n).astype(int) for a, b, n in zip(first, last, self.shape, strict=True)]
        return tuple(slice(*e) for e in ends), tuple(slice(*(SUBSAMPLES * e)) for e in ends)

    def depth(self, sphere, place):
        """Absorption x thickness of a sphere in the subpixels of a place."""
        row, col, diameter, absorption = map(float, sphere)
        rows, cols = (axis[part] - at for axis, part, at in zip(self.axes, place, (row, col), strict=True))
        return absorption * _thickness(np.sqrt(np.add.outer(rows**2, cols**2)), diameter / 2)

    def transmission(self, spheres):
        """exp(- sum of the depths) of all subpixels."""
        depth = np.zeros([axis.size for axis in self.axes], np.float32)
        for sphere in np.reshape(spheres, (-1, 4)):
            _, place = self.around(sphere, sphere[2] / 2 + 1)
            depth[place] += self.depth(sphere, place)
        return np.exp(-depth)

    def seen(self, fine, wider_px=0.0):
        """Means over the pixels of the image, through the blur, or a wider one."""
        return self.means(fine, wider_px)[tuple(slice(self.margin, n - self.margin) for n in self.shape)]

    def means(self, fine, wider_px=0.0):
        """The same over the pixels of some whole pixels' subpixels."""
        rows, cols = (n // SUBSAMPLES for n in fine.shape)
        means = np.einsum("iajb->ij", fine.reshape(rows, SUBSAMPLES, cols, SUBSAMPLES)) / SUBSAMPLES**2
        blur_px = self.blur_px + wider_px
        return gaussian_filter(means, blur_px, mode="nearest") if blur_px > 0 else means


def _thickness(distance, radius):
    """Of a sphere, mean over a subpixel along the radius: without the kink at the rim, which traps fits."""
    inner, outer = (np.clip((distance + side / 2 / SUBSAMPLES) / radius, -1, 1) for side in (-1, 1))
    areas = [u * np.sqrt(1 - u**2) + np.arcsin(u) for u in (inner, outer)]
    return radius**2 * (areas[1] - areas[0]) * SUBSAMPLES
