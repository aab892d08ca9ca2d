"""The camera that took some exposures: fitted on them, as the networks' training wants it.

Puts `camera_fit` to frames of any camera: of unknown gain, with or without clipping, with segments
of any width or none. Arrays in, numbers out.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from temlib.camera import ONEVIEW_BIN8, Camera, kernel_table, pixel_variance
from temlib.camera_fit import GRID, LOCAL_SIGMA_PX, fit_once, photon_transfer, segment_sigma
from temlib.errors import TemlibError
from temlib.filters import unclip
from temlib.frame_noise import (
    CLIPPED_SHARE,
    GAIN,
    LEAST_EXCESS,
    OUTLIER,
    SEGMENT_STEP_PX,
    SURE,
    difference,
    roughly,
    segment_width,
)
from temlib.fresh_noise import draw_cameras
from temlib.preprocess import background_level
from temlib.repeats import overlap

MOST_FITTED = 4  # pairs; each of 512 x 512 px tells the noise to a percent or two
LEAST_FITTED = 20_000  # pixels
FILM_SIGMA_PX = 4.0  # of the smoothing before the commonest intensity, the film's, is looked for
MISFIT = 1.25  # factor of the variance by which a model may be off
DOSE_SPREAD = 0.1  # of the logarithm of the dose


@dataclass(frozen=True)
class OwnCamera:
    """What a training must know of a camera.

    Attributes
    ----------
    unit_per_e : float
        Of the frames' unit, in an electron.
    doses_e : ndarray
        Of the film in each frame [e-/px].
    camera : Camera or None
        In GAIN counts an electron; None where no camera has so little noise.
    variance : tuple of float
        Of a pixel that expects 0 and 1 electrons, before clipping [e-^2]; without a fitted camera the frames' own,
        whatever a pixel expects.
    segment_px : int
        Columns that share an offset, counted from column 0; 1 where none do. See `segment_width`.
    clipped, counting : bool
    note : str
        What could not be had, or nothing.
    """

    unit_per_e: float
    doses_e: np.ndarray
    camera: Camera | None
    variance: tuple
    segment_px: int
    clipped: bool
    counting: bool
    note: str = ""

    def draw(self, n, rng):
        """Dose and camera of n samples, as `fresh_noise.draw_cameras` gives them."""
        cameras = draw_cameras(n, rng)
        cameras["dose_e_per_px"] = rng.choice(self.doses_e, n) * np.exp(rng.normal(0, DOSE_SPREAD, n))
        if self.counting:
            return cameras | _constant(
                n, pulse_shape=np.inf, white_e=0.0, segment_e=0.0, fixed_e=0.0, blur_px=0.0, clipped=True, counting=True
            )
        if self.camera is None:
            return cameras
        return cameras | _constant(
            n,
            pulse_shape=self.camera.pulse_shape,
            white_e=self.camera.white_counts / GAIN,
            segment_e=self.camera.segment_counts / GAIN,
            fixed_e=self.camera.fixed_pattern_counts / GAIN,
            segment_px=self.segment_px if self.segment_px > 1 else 0,
            blur_px=self.camera.blur_px,
            clipped=self.clipped,
            counting=False,
        )

    def sentence(self):
        """What was found, for the user."""
        dose = f"film of {np.median(self.doses_e):.3g} e-/px"
        if self.counting:
            return f"camera: counts electrons, {dose}"
        sought = f"multiples of {SEGMENT_STEP_PX} px and whole rows were tried"
        segments = f"segments of {self.segment_px} px ({sought})" if self.segment_px > 1 else f"no segments ({sought})"
        note = f"; {self.note}" if self.note else ""
        if self.camera is None:
            return f"camera: {segments}{note}"
        offsets = f"offsets of {self.camera.segment_counts / GAIN:.2f} e- in " if self.segment_px > 1 else ""
        return (
            f"camera: {dose}, white noise of {self.camera.white_counts / GAIN:.2f} e-, {offsets}{segments}, "
            f"excess factor {self.camera.excess_factor:.2f}, blur {self.camera.blur_px:.2f} px, "
            f"{'clipped at 0' if self.clipped else 'not clipped'}{note}"
        )

    def as_dict(self):
        """For the card."""
        fitted = self.camera and asdict(replace(self.camera, segment_width_px=self.segment_px))
        return {
            "unit_per_e": float(self.unit_per_e),
            "film_e_per_px": [round(float(dose), 3) for dose in np.unique(self.doses_e)],
            "segment_px": self.segment_px,
            "clipped": self.clipped,
            "counting": self.counting,
            "fitted": fitted and {name: float(value) for name, value in fitted.items()},
            "said": self.sentence(),
        }


def _constant(n, **values):
    return {name: np.full(n, value) for name, value in values.items()}


def fit_own_camera(fields):
    """The camera of repeated exposures.

    Parameters
    ----------
    fields : sequence of repeats.Field
        Of one unit.

    Returns
    -------
    OwnCamera
        With a note where the model cannot describe the frames, or they do not tell its pulse heights or its blur:
        then the camera is one of as much noise, or, where none has so little, the samples of a training come from
        the cameras of the shipped network's training.

    Raises
    ------
    TemlibError
        If the film of a frame is not above zero.
    """
    unit = fields[0].unit
    pairs = least_moved(fields)
    segment_px = segment_width(pairs)
    if segment_px == pairs[0].shape[2]:  # whole rows, of which these pairs that moved may show a part
        segment_px = max(f.frames.shape[2] for f in fields)
    levels = np.array([background_level(frame, FILM_SIGMA_PX) for f in fields for frame in f.frames])
    if levels.min() <= 0:
        raise TemlibError(
            f"The film of some frames has an intensity of {levels.min():.3g}: frames whose zero is no electrons are "
            "needed. Take off less for the dark level."
        )
    variance = float(np.mean([difference(*pair).var() / 2 for pair in pairs]))
    mean = float(np.mean([pair.mean() for pair in pairs]))
    lowest = min(float(f.frames.min()) for f in fields)
    clipped = lowest == 0 and np.mean([np.mean(f.frames == 0) for f in fields]) > CLIPPED_SHARE
    known = {"segment_px": segment_px, "clipped": bool(clipped), "counting": False}
    if all(np.array_equal(p, np.rint(p)) for p in pairs) and 1 / MISFIT < variance / mean < MISFIT:
        return OwnCamera(1.0, levels, None, (0.0, 1.0), **known | {"counting": True, "clipped": False})
    # of counts, the gain is what the noise implies if pulse heights vary as the OneView's do
    unit_per_e = 1.0 if unit == "e-" else variance / mean / ONEVIEW_BIN8.excess_factor
    for _ in range(1 if unit == "e-" else 3):
        scaled = [pair * (GAIN / unit_per_e) for pair in pairs]
        camera = replace(ONEVIEW_BIN8, segment_width_px=segment_px if segment_px > 1 else 16)
        camera = _fitted(scaled, camera) or (None if clipped else _by_moments(scaled, camera))
        if camera is None:
            break
        if unit != "e-":
            unit_per_e *= camera.excess_factor / ONEVIEW_BIN8.excess_factor
    note = ""
    if camera is None:
        why = "the camera model does not describe the noise of these frames"
        note, sets = f"roughly, as {why}", [pair / unit_per_e for pair in pairs]
        noise = [difference(*pair) / np.sqrt(2) for pair in sets]
        mean, zeros = (np.mean([f(pair) for pair in sets]) for f in (np.mean, lambda pair: np.mean(pair == 0)))
        camera = roughly(noise, mean, zeros if clipped else None, segment_px)
    if camera is None:
        doses, note = levels / unit_per_e, f"{why}, so simulated ones are of many cameras"
        return OwnCamera(unit_per_e, doses, None, (variance / unit_per_e**2,) * 2, **known, note=note)
    if segment_px == 1:
        camera = replace(camera, segment_counts=0.0)
    doses = levels / unit_per_e
    return OwnCamera(
        unit_per_e,
        unclip(doses, camera) if clipped else doses,
        camera,
        tuple((pixel_variance(e, camera) + camera.segment_counts**2) / GAIN**2 for e in (0, 1)),
        **known,
        note=note,
    )


def _fitted(sets, camera):
    """`camera_fit.fit_once` on what clipping would leave; None where it cannot describe the frames."""
    sets = [np.maximum(pair, 0) for pair in sets]
    too_bright = np.mean([np.mean(pair > GRID[-1]) for pair in sets]) > CLIPPED_SHARE
    if too_bright or sum(pair.size for pair in sets) < LEAST_FITTED:
        return None
    try:
        camera, _ = fit_once(sets, camera)
        table = photon_transfer(sets, camera)
    except (ValueError, np.linalg.LinAlgError):
        return None
    rows = np.mean([np.corrcoef(d[1:].ravel(), d[:-1].ravel())[0, 1] for d in (difference(*pair) for pair in sets)])
    shared = rows > SURE / np.sqrt(sum(pair[0].size for pair in sets))
    if camera.excess_factor < LEAST_EXCESS or (camera.blur_px == 0 and shared):
        return None
    ratio = float(np.median(table["variance"] / table["model_variance"]))
    return camera if np.isfinite(ratio) and 1 / MISFIT < ratio < MISFIT else None


def _by_moments(sets, camera):
    """Variance and covariance down the columns against local intensity, for frames that were not clipped.

    Both grow with the electrons, by shares that the charge cloud sets: their ratio tells the cloud's width,
    and the growth the excess factor, for clouds as `fresh_noise` draws them. None where the intensity varies
    too little to see the growth, or the cloud is wider, or the growth smaller, than of any such camera.
    """
    local = np.concatenate([gaussian_filter(pair.mean(axis=0), LOCAL_SIGMA_PX)[1:].ravel() for pair in sets]) / GAIN
    noise = [difference(*pair) / np.sqrt(2) / GAIN for pair in sets]
    here, above = (np.concatenate([d[rows].ravel() for d in noise]) for rows in (np.s_[1:], np.s_[:-1]))
    usual = np.hypot(here, above) < OUTLIER * np.median(np.hypot(here, above))  # without X-ray hits
    local, here, above = local[usual], here[usual], above[usual]
    growth, at_zero = np.polyfit(local, here**2, 1)
    if growth < SURE * np.std(here**2) / local.std() / np.sqrt(local.size):
        return None
    blurs, lost = kernel_table()
    kept = (1 - 2 * lost) ** 2 + 2 * lost**2  # along one axis, of the variance
    neighbours = 2 * lost * (1 - 2 * lost) / kept
    blur = float(np.interp(np.mean(here * above) / local.mean() / growth, neighbours, blurs))
    excess = growth / np.interp(blur, blurs, kept) ** 2
    if excess < LEAST_EXCESS or blur == blurs[-1]:
        return None
    segment = np.mean([segment_sigma(d, 1.0, camera.segment_width_px) for d in noise])
    white = np.sqrt(max(at_zero - segment**2, 0))
    return replace(
        camera,
        pulse_shape=1 / (excess - 1),
        white_counts=GAIN * white,
        segment_counts=GAIN * segment,
        fixed_pattern_counts=0.0,
        blur_px=blur,
    )


def least_moved(fields):
    """Pairs of frames, registered, that moved least along the rows: a shift takes segments along.

    Returns
    -------
    list of ndarray of shape (2, M, N)
        In the frames' unit and of one size.
    """
    found = sorted(
        (
            (abs(shift[1]), order, fieldno, i, j, shift)
            for fieldno, f in enumerate(fields)
            for order, (i, j, shift) in enumerate(f.pairs)
        ),
        key=lambda pair: pair[:3],
    )[:MOST_FITTED]
    pairs = [np.stack(overlap(fields[k].frames[i], fields[k].frames[j], shift)) for _, _, k, i, j, shift in found]
    rows, cols = (min(pair.shape[axis] for pair in pairs) for axis in (1, 2))
    return [pair[:, :rows, :cols].astype(np.float64) for pair in pairs]
