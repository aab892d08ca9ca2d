"""How bright the film of a frame is: what networks divide frames by, and what brings their images back.

NumPy arrays and torch tensors alike, so that a GPU and a training can do the same; needs no torch.
"""

from functools import lru_cache

import numpy as np

from temlib.camera import cut_mean, special_of
from temlib.preprocess import PARTICLE_CONTRAST

FILM_BLOCK_PX, FILM_QUANTILE = 8, 0.7  # of blocks of 8 x 8 pixels, those that show the film are the brighter
BRIGHT_QUANTILE = 0.98  # half of what this one shows is the least that the film can have
FAINTEST_FILM = 0.1  # how far below its level a block of film may be where the denoised film is noisy
BRIGHTEST_BLOCK = 3.0  # times the film's level: a brighter one holds a hot pixel
# Share of the zeros: none, and so many that the mean is but a quarter of the spread. A camera that cuts has some pixels
# below FEW of the level, at least one for CONTINUOUS zeros; one that counts electrons has none unless zeros are rare
ZEROS, FEW, CONTINUOUS = (1e-7, 0.4), 0.15, 60
SCALES = 0.5, 2.0
LEAST_SAMPLE = 256  # pixels, of which the share of zeros is taken


def film_level(image):
    """What a shipped network divides a frame by: about the intensity of its film.

    A high percentile of the means of small blocks: particles, a grid bar and saturated pixels
    do not move it as they move the mean. Where something dark covers nearly all, half of the
    brightest blocks' means.

    Parameters
    ----------
    image : ndarray or torch.Tensor of shape (..., M, N)
        Any real numbers, any unit.

    Returns
    -------
    ndarray or torch.Tensor of float32, shape (..., 1, 1)
        In the unit of `image`; 1 where it would not be positive.
    """
    level = _levels(_block_means(image))[0][..., None]
    return level + (1 - level) * (level <= 0)


def film_scale(image, denoised):
    """By what a denoised image is to be multiplied, so that its film is as bright as that of the frame it is from.

    Both are averaged over the blocks that show film in the denoised image. What clipping at zero adds to the mean of
    the frame is taken off, as of a normal distribution of which as many pixels are 0; the zeros of a camera that
    counts whole electrons are no clipping.

    Parameters
    ----------
    image, denoised : ndarray or torch.Tensor of shape (..., M, N)
        Of one unit.

    Returns
    -------
    ndarray or torch.Tensor of float32, shape (..., 1, 1)
        From 1/2 to 2: what is farther off is no scale.
    """
    means, of_denoised = _block_means(image), _block_means(denoised)
    (level, _), (film, bright) = _levels(means), _levels(of_denoised)
    as_far = 2 * film - bright  # where noise is left, the film reaches as far below its level as above it
    is_film = of_denoised >= as_far.clip(film * (1 - FAINTEST_FILM), film * (1 - PARTICLE_CONTRAST))
    number = is_film.sum(-1)[..., None].clip(min=1)
    seen = (means.clip(max=BRIGHTEST_BLOCK * level) * is_film).sum(-1)[..., None] / number  # but for hot pixels
    shown = (of_denoised * is_film).sum(-1)[..., None] / number
    whole, rows, cols = _whole_blocks(image)
    pixels = whole[..., ::rows, :].reshape(*means.shape, cols)  # the first row of each block
    zero, few = (
        (these & is_film[..., None]).sum((-2, -1))[..., None] / (number * cols)
        for these in (pixels == 0, (pixels > 0) & (pixels < FEW * level[..., None]))
    )
    is_cut = (few > zero / CONTINUOUS) & (number * cols >= LEAST_SAMPLE)
    ratio = -special_of(image).ndtri((zero * is_cut).clip(*ZEROS))  # of the mean and the spread that were cut
    wanted = seen * ratio / cut_mean(ratio)
    known = (wanted > 0) & (shown > 0)
    return ((wanted * known + ~known) / (shown * known + ~known)).clip(*SCALES)[..., None]


def _whole_blocks(image):
    """The part of an image (..., M, N) that is whole small blocks, and the rows and columns of a block."""
    rows, cols = (min(FILM_BLOCK_PX, size) for size in image.shape[-2:])
    return image[..., : image.shape[-2] // rows * rows, : image.shape[-1] // cols * cols], rows, cols


def _block_means(image):
    """Means of small blocks, (..., n)."""
    whole, rows, cols = _whole_blocks(image)
    # rows first: that sum runs over whole lines of memory
    sums = whole.reshape(*image.shape[:-2], -1, rows, whole.shape[-1]).sum(-2)
    sums = sums.reshape(*image.shape[:-2], -1, cols)
    # NumPy's own sum over so short an axis takes four times as long
    sums = np.einsum("...i->...", sums) if isinstance(sums, np.ndarray) else sums.sum(-1)
    return sums / (rows * cols)


def _levels(means):
    """What `film_level` takes from means of blocks (..., n), and the BRIGHT_QUANTILE of these; float32 (..., 1)."""
    ordered = np.sort(means).astype(np.float32) if isinstance(means, np.ndarray) else means.sort().values.float()
    usual, bright = (
        ordered[..., round(quantile * (means.shape[-1] - 1)), None] for quantile in (FILM_QUANTILE, BRIGHT_QUANTILE)
    )
    return usual.clip(min=bright / 2), bright


@lru_cache(maxsize=2)
def light_terms(shape):
    """Powers of row and column, from -1 to 1, up to the second, which make up a smooth light; float32 (6, M, N)."""
    row, col = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    return np.stack([np.ones_like(row), row, col, row**2, row * col, col**2])
