"""The camera: from transmission and dose to counts, and what such counts can tell.

A pixel-coupled camera as measured on real 3.3 ms frames: every electron deposits a charge
drawn from a gamma distribution, spread over a small Gaussian; readout adds white noise, one
offset per (row, segment of columns), and a fixed pattern; the result is rounded and clipped
to 16 bits. Arrays in, arrays out; files are none of its business.
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import scipy.special
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

FULL_SCALE_COUNTS = 65535
LEAST_VARIANCE_E2 = 0.01  # of a pixel: a camera that counts electrons has none where nothing is expected


@dataclass(frozen=True)
class Camera:
    """Parameters of one camera in one readout mode.

    Attributes
    ----------
    counts_per_e : float
        Mean pulse height of one electron [counts].
    pulse_shape : float
        Shape k of the gamma distribution of pulse heights; the excess noise factor is 1 + 1/k.
    white_counts : float
        Standard deviation of the white additive noise [counts].
    segment_counts : float
        Standard deviation of the offset shared by one row of one segment of columns [counts].
    segment_width_px : int
        Columns of a segment, counted from column 0.
    fixed_pattern_counts : float
        Standard deviation of the pattern that every frame repeats [counts].
    blur_px : float
        Standard deviation of the charge cloud of one electron [pixel].
    """

    counts_per_e: float
    pulse_shape: float
    white_counts: float
    segment_counts: float
    segment_width_px: int
    fixed_pattern_counts: float
    blur_px: float

    @property
    def excess_factor(self):
        """Variance of the summed pulse heights over that of the electron number, 1 + 1/k."""
        return 1 + 1 / self.pulse_shape


# Measured on six real LDE frames of the paper's data: OneView IS, binning 8, 200 kV
ONEVIEW_BIN8 = Camera(
    counts_per_e=44.0,
    pulse_shape=1.54,
    white_counts=133.0,
    segment_counts=37.5,
    segment_width_px=32,
    fixed_pattern_counts=8.0,
    blur_px=0.15,
)


def expose(transmission, *, dose_e_per_px, camera, rng, fixed_pattern=0.0):
    """One low-dose frame of a specimen, electron by electron.

    Parameters
    ----------
    transmission : ndarray of shape (M, N)
        Expected intensity relative to the empty background, illumination included.
    dose_e_per_px : float
        Mean number of electrons on a pixel of transmission 1.
    camera : Camera
    rng : numpy.random.Generator
    fixed_pattern : ndarray of shape (M, N) or 0
        What every frame of this camera repeats [counts] (see `fixed_pattern`).

    Returns
    -------
    counts : ndarray of uint16, shape (M, N)
    """
    shape = transmission.shape
    electrons = rng.poisson(dose_e_per_px * transmission)
    counts = _deposit(electrons, camera, rng)
    counts += rng.normal(0, camera.white_counts, shape)
    counts += segment_offsets(shape, camera, rng)
    counts += fixed_pattern
    return to_counts(counts)


def to_counts(values):
    """Round and clip to what a 16-bit readout can hold: `uint16` of the same shape."""
    return np.clip(np.rint(values), 0, FULL_SCALE_COUNTS).astype(np.uint16)


def _deposit(electrons, camera, rng):
    """Charge on each pixel when every electron spreads over its neighbours; (M, N), counts."""
    rows, cols = electrons.shape
    pixel = np.repeat(np.arange(electrons.size), electrons.ravel())
    charge = rng.gamma(camera.pulse_shape, camera.counts_per_e / camera.pulse_shape, pixel.size)
    if camera.blur_px == 0:
        return np.bincount(pixel, charge, electrons.size).reshape(rows, cols)
    row, col = np.divmod(pixel, cols)
    share = []
    for _ in range(2):
        place = rng.uniform(-0.5, 0.5, pixel.size)  # where on the pixel the electron lands
        below = ndtr((-0.5 - place) / camera.blur_px)
        above = ndtr((place - 0.5) / camera.blur_px)
        share.append({-1: below, 0: 1 - below - above, 1: above})
    total = np.zeros(electrons.size)
    for step_row, part_row in share[0].items():
        to_row = np.clip(row + step_row, 0, rows - 1)
        for step_col, part_col in share[1].items():
            to_col = np.clip(col + step_col, 0, cols - 1)
            total += np.bincount(to_row * cols + to_col, charge * part_row * part_col, electrons.size)
    return total.reshape(rows, cols)


def segment_offsets(shape, camera, rng):
    """One independent offset per row and segment of columns; (M, N), counts."""
    rows, cols = shape
    n_segments = -(-cols // camera.segment_width_px)
    offsets = rng.normal(0, camera.segment_counts, (rows, n_segments))
    return np.repeat(offsets, camera.segment_width_px, axis=1)[:, :cols]


def fixed_pattern(shape, camera, rng):
    """The pattern that all frames of one camera share; (M, N), counts."""
    return rng.normal(0, camera.fixed_pattern_counts, shape)


def expose_long(transmission, *, dose_e_per_px, camera, binning, rng):
    """Expected counts and shot noise of one long exposure at native pixels, not yet rounded.

    At a thousand electrons a pixel the sum of pulse heights is Gaussian; the readout noise,
    taken once in 5 s, is far below it. The charge cloud is `binning` times as many of these
    smaller pixels wide.

    Returns
    -------
    counts : ndarray of shape (M, N)
    """
    electrons = dose_e_per_px * transmission
    noise = np.sqrt(camera.excess_factor * electrons) * rng.standard_normal(transmission.shape, dtype=np.float32)
    return camera.counts_per_e * gaussian_filter(electrons + noise, camera.blur_px * binning)


def pixel_variance(electrons, camera):
    """Variance of an unclipped pixel without its segment offset [counts^2].

    Charge that an electron loses to its neighbours leaves the sum of all pixels as it is, but
    takes variance from each: by the factor that `charge_shares` gives.
    """
    weight, measure = charge_shares(camera.blur_px)
    shot = camera.counts_per_e**2 * camera.excess_factor * np.sum(measure * weight**2)
    return shot * np.asarray(electrons) + camera.white_counts**2 + camera.fixed_pattern_counts**2


def charge_shares(blur_px, n=41):
    """Shares of its charge that electrons leave on one pixel, and how often each occurs.

    Returns
    -------
    weight : ndarray of shape (K,)
        Share of the charge, 0 to 1.
    measure : ndarray of shape (K,)
        Area of the landing places that give this share [pixel^2]; sum(weight * measure) = 1.
    """
    if blur_px == 0:
        return np.array([1.0]), np.array([1.0])
    reach = 0.5 + 4 * blur_px
    edges = np.linspace(-reach, reach, n + 1)
    place = (edges[1:] + edges[:-1]) / 2
    share = ndtr((0.5 - place) / blur_px) - ndtr((-0.5 - place) / blur_px)
    weight = np.outer(share, share).ravel()
    measure = np.full(weight.size, (edges[1] - edges[0]) ** 2)
    measure /= np.sum(weight * measure)
    # few classes are enough for a characteristic function, and a hundred times faster
    n_classes = 24
    group = np.minimum((weight * n_classes).astype(int), n_classes - 1)
    total = np.bincount(group, measure, n_classes)
    mean = np.bincount(group, measure * weight, n_classes) / np.maximum(total, 1e-12)
    return mean[total > 0], total[total > 0]


@cache
def kernel_table():
    """Blur [px] and the share that the kernel (l, 1 - 2 l, l) must move to each side.

    A cloud that lands anywhere on its pixel correlates neighbours less than its mean does, so the share is
    the one with which neighbours are as correlated as by the clouds themselves.
    """
    blur = np.linspace(0, 0.6, 61)
    landing = (np.arange(4000)[:, None] + 0.5) / 4000 * 9 - 4
    width = np.maximum(blur, 1e-6)
    own, next_one = (ndtr((at + 0.5 - landing) / width) - ndtr((at - 0.5 - landing) / width) for at in (0, 1))
    wanted = np.sum(own * next_one, axis=0) / np.sum(own**2, axis=0)
    share = np.linspace(0, 1 / 3, 400)
    given = 2 * share * (1 - 2 * share) / ((1 - 2 * share) ** 2 + 2 * share**2)
    return blur, np.interp(wanted, given, share)


def fisher_information(derivatives, electrons, camera):
    """Information that one frame holds on the parameters of its expected image.

    Gaussian noise with independent pixels and one common offset per (row, segment). What the size and the skewness
    of the noise tell of the mean is left out: in the likelihood of clipped pixels of the ONEVIEW_BIN8 camera 7 % more
    information at 0.5 e-/px, 3 % at 1.5, 0.3 % at 5; half of that of a standard deviation.

    Parameters
    ----------
    derivatives : ndarray of shape (P, M, N)
        Derivative of the expected image [e-/px] by each of P parameters.
    electrons : ndarray of shape (M, N)
        Expected image [e-/px].
    camera : Camera

    Returns
    -------
    information : ndarray of shape (P, P)
        Its inverse is the Cramer-Rao bound on the covariance of the parameters.
    """
    variance = np.maximum(pixel_variance(electrons, camera) / camera.counts_per_e**2, LEAST_VARIANCE_E2)
    shared = np.full(variance.shape, camera.segment_counts / camera.counts_per_e)
    rows = whitened(derivatives, variance, shared, camera.segment_width_px)
    return np.einsum("pij,qij->pq", rows, rows)


def whitened(values, variance, shared, segment_width_px):
    """Values in standard deviations, without what those of one segment share: the sum of their squares is chi^2.

    For the covariance diag(v) + u u^T of a segment, a factor W of its inverse, W^T W, is, by Sherman and Morrison,
    v^(-1/2) (1 - b u u^T / v) with b = (1 - 1 / sqrt(1 + t)) / t and t = sum of u^2 / v.

    Parameters
    ----------
    values : ndarray of shape (..., M, N)
        Whose column 0 begins a segment.
    variance : ndarray of shape (M, N)
        v, of each pixel by itself [square of the unit of `values`].
    shared : ndarray of shape (M, N)
        u, standard deviation of what each pixel has of its segment's offset [unit of `values`].
    segment_width_px : int

    Returns
    -------
    ndarray of shape (..., M, N)
    """
    if np.any(shared):
        starts = np.arange(0, variance.shape[1], segment_width_px)
        widths = np.diff([*starts, variance.shape[1]])
        weight = np.add.reduceat(shared**2 / variance, starts, axis=-1)
        share = (1 - 1 / np.sqrt(1 + weight)) / np.maximum(weight, np.finfo(float).tiny)
        offset = np.add.reduceat(values * (shared / variance), starts, axis=-1) * share
        values = values - shared * np.repeat(offset, widths, axis=-1)
    return values / np.sqrt(variance)


def log_determinant(variance, shared, segment_width_px):
    """Of the covariance that `whitened` takes: with chi^2 it makes -2 ln of a likelihood, but for a constant."""
    starts = np.arange(0, variance.shape[1], segment_width_px)
    weight = np.add.reduceat(shared**2 / variance, starts, axis=-1)
    return float(np.sum(np.log(variance)) + np.sum(np.log1p(weight)))


def for_sums(camera):
    """A camera whose pixels are as noisy as its sums over many: what a charge cloud takes from one, others have."""
    return replace(camera, blur_px=0.0)


def cut_mean(ratio):
    """Mean of what a normal distribution of this mean and of deviation 1 leaves when it is cut at 0.

    For any deviation s it is s x cut_mean(mean / s). Takes and gives an ndarray or a torch.Tensor of any shape.
    """
    return ratio * special_of(ratio).ndtr(ratio) + math.e ** (ratio * ratio / -2) / math.sqrt(2 * math.pi)


def special_of(values):
    """`scipy.special`, or of a tensor `torch.special`, in which functions have the same names."""
    return sys.modules["torch"].special if type(values).__module__ == "torch" else scipy.special


def detectability(signal_e, electrons, camera):
    """d' of an ideal observer who knows what to look for, and where.

    Parameters
    ----------
    signal_e : ndarray of shape (M, N)
        By how much the expected image changes if the particle is there [e-/px].
    electrons : ndarray of shape (M, N)
        Expected image with the particle [e-/px].
    camera : Camera

    Returns
    -------
    float
        sqrt(s^T C^-1 s) for a signal s and the noise covariance C: the distance of the two
        hypotheses in standard deviations. Below 3 a particle cannot be told from noise.
    """
    return float(np.sqrt(fisher_information(signal_e[None], electrons, camera)[0, 0]))
