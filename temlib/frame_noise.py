"""How noisy a camera is, from the noise of its frames alone: its segments, and a camera of as much noise.

For frames of any camera. Arrays in, numbers out; needs no torch.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from temlib.camera import ONEVIEW_BIN8, Camera, cut_mean, kernel_table
from temlib.camera_fit import segment_sigma
from temlib.errors import TemlibError
from temlib.film import film_level
from temlib.preprocess import PARTICLE_CONTRAST

GAIN = ONEVIEW_BIN8.counts_per_e  # of the scale on which `camera_fit` works
LEAST_SEGMENT_PX, SEGMENT_STEP_PX = 16, 8  # of the widths that are tried; a training can draw none below 16
MOST_COLUMNS = 2048  # in which segments are sought: wider ones leave room for any crop
NEAR_PX = 4  # columns so near may share charge
SURE = 5.0  # standard errors by which segments must share an offset, or neighbours charge
CLIPPED_SHARE = 1e-3  # of pixels at the lowest value, 0
LEAST_EXCESS = 1.02  # below it, the fit has given up on pulse heights
POISSON = 0.8, 1.25  # variance over mean of counted electrons, where carbon and denoising have their share
LEAST_FILM = 1000  # pixels, whose noise is told to a few per cent
OUTLIER = 5.0  # times the median noise
# One that counts whole electrons, and nothing else
COUNTING = Camera(
    counts_per_e=1.0,
    pulse_shape=np.inf,
    white_counts=0.0,
    segment_counts=0.0,
    segment_width_px=LEAST_SEGMENT_PX,
    fixed_pattern_counts=0.0,
    blur_px=0.0,
)


def camera_of_frame(raw, denoised):
    """The camera that took one frame, as far as what denoising takes off it tells.

    Pulse heights vary as the OneView's do; the noise is that of the film, and so are the segments.

    Parameters
    ----------
    raw, denoised : ndarray of shape (M, N) [e-/px]

    Returns
    -------
    camera : Camera or None
        None where it has less noise than the electrons.
    clipped : bool
        Whether it cut at zero.

    Raises
    ------
    TemlibError
        If the film is nowhere seen, or not above zero.
    """
    if counts_electrons(raw, denoised):
        return COUNTING, False
    film, noise = _noise_of_film(raw, denoised)
    mean, zeros = raw[film].mean(), np.mean(raw[film] == 0)
    clipped = bool(raw.min() == 0 and zeros > CLIPPED_SHARE)
    segment_px = segment_width([np.stack([raw, raw - noise])])
    return roughly([np.where(film, noise, np.nan)], mean, zeros if clipped else None, segment_px), clipped


def counts_electrons(raw, denoised):
    """Whether the numbers of a frame, whatever its unit, are those of whole electrons: as noisy as Poisson's."""
    if not np.array_equal(raw, np.rint(raw)):
        return False
    film, noise = _noise_of_film(raw, denoised)
    least, most = POISSON
    return bool(least < np.mean(noise[film] ** 2) / raw[film].mean() < most)


def gain_of_frame(raw, denoised):
    """Of the frame's unit in an electron, if its noise is that of electrons with the OneView's pulse heights.

    But for the offsets of segments, which electrons do not make.
    """
    film, noise = _noise_of_film(raw, denoised)
    segment_px = segment_width([np.stack([raw, raw - noise])])
    segment = segment_sigma(np.where(film, noise, np.nan), 1.0, segment_px) if segment_px > 1 else 0.0
    return float((np.mean(noise[film] ** 2) - segment**2) / raw[film].mean() / ONEVIEW_BIN8.excess_factor)


def _noise_of_film(raw, denoised):
    """Where the film is, and the frame less what is denoised there; 0 elsewhere. (M, N) each."""
    film = denoised >= (1 - PARTICLE_CONTRAST) * film_level(np.asarray(denoised, np.float32))
    if (pixels := np.count_nonzero(film)) < LEAST_FILM:
        raise TemlibError(
            f"Its empty film shows on {pixels} pixels: a bright-field frame with {LEAST_FILM} of them is needed. Take "
            "a larger field."
        )
    if (mean := raw[film].mean()) <= 0:
        raise TemlibError(f"Its film has {mean:.3g} on average: it must be above zero. Check the calibration.")
    return film, np.where(film, raw - denoised * (raw[film].mean() / denoised[film].mean()), 0.0)


def roughly(noise, mean, zeros, segment_px):
    """A camera of as much noise, and as blurred, as frames [e-/px]; None where it would be less than the electrons'.

    The noise is taken for that of one normal distribution, cut at 0 where the camera clips, the blur for the
    widest that `fresh_noise` draws if it is wider; and pulse heights vary at least as the OneView's do.

    Parameters
    ----------
    noise : sequence of ndarray of shape (M, N)
        Of single frames; NaN where they show something else.
    mean : float
        Of the frames.
    zeros : float or None
        Share of their pixels that were cut at 0; None where none are.
    segment_px : int
    """
    shown, variance = 1.0, np.mean([np.nanvar(d) for d in noise])
    covariance = np.mean([np.nanmean(d[1:] * d[:-1]) for d in noise])
    if zeros is not None:
        ratio = -ndtri(zeros)  # of mean and spread before the cut
        shown = ndtr(ratio)
        spread = mean / cut_mean(ratio)
        covariance *= spread**2 / variance
        mean, variance = ratio * spread, spread**2
    segment = segment_sigma(noise[0], shown, segment_px) if segment_px > 1 else 0.0
    blurs, lost = kernel_table()
    kept = (1 - 2 * lost) ** 2 + 2 * lost**2  # along one axis, of the variance
    correlated = 2 * lost * (1 - 2 * lost) * kept
    rising = np.s_[: np.argmax(correlated) + 1]  # with a wider cloud, all of the charge's noise is less
    excess = max(ONEVIEW_BIN8.excess_factor, covariance / correlated.max() / mean)
    blur = float(np.interp(covariance / excess / mean, correlated[rising], blurs[rising]))
    of_electrons = mean * np.interp(blur, blurs, kept) ** 2
    if variance - segment**2 < of_electrons:
        return None
    excess = min(excess, (variance - segment**2) / of_electrons)
    return replace(
        ONEVIEW_BIN8,
        pulse_shape=1 / max(excess - 1, LEAST_EXCESS - 1),
        white_counts=GAIN * np.sqrt(max(variance - segment**2 - excess * of_electrons, 0)),
        segment_counts=GAIN * segment,
        segment_width_px=max(segment_px, LEAST_SEGMENT_PX),
        fixed_pattern_counts=0.0,
        blur_px=blur,
    )


def difference(first, second):
    """One exposure minus the other at equal dose; the specimen is gone."""
    mean = (first.mean() + second.mean()) / 2
    return first * (mean / first.mean()) - second * (mean / second.mean())


def segment_width(pairs):
    """Columns of the segments whose pixels share an offset in each row; 1 where none do.

    Pixels of a segment vary together from row to row, those of two segments do not. Of the widths that are
    tried, multiples of SEGMENT_STEP_PX from LEAST_SEGMENT_PX on and the whole row, it is the one whose segments
    fit the covariance of the columns best, by least squares. (Of a pair that moved along the rows, one frame
    begins with its column 0, so the width is still found.)

    Parameters
    ----------
    pairs : sequence of ndarray of shape (2, M, N)
        See `least_moved`.
    """
    cols = min(pairs[0].shape[2], MOST_COLUMNS)
    noise = []
    for pair in pairs:
        rows = np.diff(difference(*pair)[:, :cols], axis=0)[::2]  # what rows have in common is no offset
        usual = OUTLIER * np.median(np.abs(rows)) / 0.6745  # that of a normal distribution, X-ray hits apart
        rows = np.clip(rows, -usual, usual)
        noise.append(rows / max(rows.std(), np.finfo(float).tiny))
    noise = np.concatenate(noise)
    far = np.abs(np.subtract.outer(np.arange(cols), np.arange(cols))) > NEAR_PX
    covariance = noise.T @ noise * far / len(noise)

    def fit(width):
        """Of segments of equal offsets to the covariance, in its standard errors where there are none."""
        segments = [np.s_[start : start + width, start : start + width] for start in range(0, cols, width)]
        products = sum(np.count_nonzero(far[s]) for s in segments)
        return sum(covariance[s].sum() for s in segments) * np.sqrt(len(noise) / 2 / products)

    best = max([*range(LEAST_SEGMENT_PX, cols, SEGMENT_STEP_PX), cols], key=fit)
    if fit(best) < SURE:
        return 1
    return best if best < cols else pairs[0].shape[2]
