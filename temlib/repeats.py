"""From files to repeated exposures: which frames show the same field, where, and with noise of their own.

Two frames are a pair if what they show correlates and their noise does not. Knows files, shifts
and noise; nothing of cameras or networks.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate
from scipy.signal.windows import tukey

from temlib.errors import TemlibError
from temlib.film import FILM_BLOCK_PX
from temlib.inputs import stem_of
from temlib.movies import digest, open_movie, refuse_denoised
from temlib.preprocess import BEAM_SIGMA_PX, bin_area

MOST_PAIRS = 24  # of neighbours, evenly spaced over a movie
MOST_BYTES = 2**29  # of frames that are held
MOST_COMPARED_PX = 2048  # edge of what is compared of two frames
SEEN_SIGMA_PX = 2.0  # of the smoothing before frames are compared
# A peak of the correlation over the scatter of the rest: 20 and more for two exposures of one of the paper's fields,
# less than 5 for any two of different ones
SEEN = 7.0
MOVED = 5.0  # by how many of its standard deviations a displacement must correlate better than none
FARTHEST = 0.1  # share of the frame that a pair may have moved: what it has in common is trained and scored on
OTHER_DOSE = 2.0  # exposures differ by less, as factor of their mean
# Noise that two frames share: 0.001 in the paper's pairs, 1/2 and more in a running average of two and more
SHARED = 0.2
POISSON_SHARE = 0.25  # variance of electrons that are none, over their number; scintillators have more than 1

ALONE = "{} is left out: no frame beside it shows the same field with about the same dose"


@dataclass(frozen=True, eq=False)
class Field:
    """Exposures of one field of view.

    Attributes
    ----------
    name : str
    frames : ndarray of float32, shape (T, M, N)
        As recorded: not scaled, not clipped.
    pairs : list of (int, int, (int, int))
        (i, j, (rows, columns)): what frame i shows at (r, c), frame j shows at (r + rows, c + columns).
    unit : "e-" or "counts"
    sources : dict
        sha256 of each file, or in-situ folder, that the frames are from.
    """

    name: str
    frames: np.ndarray
    pairs: list
    unit: str
    sources: dict = field(default_factory=dict)


def read_fields(paths):
    """Exposures of the fields of view that files show.

    Parameters
    ----------
    paths : sequence of path
        As `inputs.find` gives them. Single frames that follow each other are exposures of one field if they
        show the same; in a movie each image and the next one are, of a long one MOST_PAIRS evenly spaced.

    Returns
    -------
    fields : list of Field
    refusals : list of str
        A sentence for each file of no use.
    notes : list of str
        A sentence for what was registered or left out.
    """
    fields, refusals, notes = [], [], []
    groups = []  # of single frames that show the same: [about, paths, frames]
    for path in paths:
        try:
            movie = open_movie(path)
            refuse_denoised(movie)
            if movie.shape[0] == 1:
                [image] = movie.read()
                _add_to_group(groups, movie, image, notes)
            else:
                found, told = as_field(path.name, *_sampled(movie, MOST_BYTES // len(paths)), movie.about.unit)
                notes += told
                fields.append(_with_sources(found, [movie]))
        except (TemlibError, OSError) as error:
            refusals.append(str(error))
    for movies, frames in groups:
        if len(frames) < 2:
            notes.append(ALONE.format(movies[0].path.name))
            continue
        neighbours = [(i, i + 1) for i in range(len(frames) - 1)]
        try:
            name = f"{stem_of(movies[0].path)} to {stem_of(movies[-1].path)}"
            found, told = as_field(name, np.stack(frames), neighbours, movies[0].about.unit)
        except TemlibError as error:
            refusals.append(str(error))
            continue
        notes += told
        fields.append(_with_sources(found, movies))
    return fields, refusals, notes


def as_field(name, frames, neighbours, unit):
    """A field from frames of it: pairs that are independent, registered by whole pixels.

    Parameters
    ----------
    name : str
    frames : ndarray of shape (T, M, N)
    neighbours : sequence of (int, int)
        Frames that may be pairs.
    unit : "e-" or "counts"

    Returns
    -------
    field : Field
    notes : list of str
        A sentence on what was registered, and one on what was left out.

    Raises
    ------
    TemlibError
        If there are fewer than two frames, or no pair of them is independent and shows the same.
    """
    if len(frames) < 2:
        raise TemlibError(
            f"{name} has {len(frames)} frame: two exposures of one field are the least from which noise can be "
            "told from specimen. Record it twice, or give a movie."
        )
    frames = np.asarray(frames, np.float32)
    pairs, shared, lost = [], [], 0
    found = [displacement(frames[i], frames[j]) for i, j in neighbours]
    # where most frames show nothing that can be recognised, none of them can be missed
    recognisable = np.median([seen for _, seen in found]) > SEEN
    for (i, j), (shift, seen) in zip(neighbours, found, strict=True):
        shift = shift if seen > SEEN else (0, 0)
        common = max(shared_noise(frames[i], frames[j]), shared_noise(*overlap(frames[i], frames[j], shift)))
        if common > SHARED:
            shared.append(common)
        elif recognisable and seen <= SEEN:
            lost += 1
        else:
            pairs.append((i, j, shift))
    if not pairs and shared:
        raise TemlibError(
            f"The frames of {name} are not independent, their noise is the same by {np.median(shared):.0%}: exposures "
            "with noise of their own are needed. Give raw frames, and no duplicates, running averages or frames with "
            "a pattern that stays."
        )
    if not pairs:
        raise TemlibError(
            f"No two frames of {name} show the same place: exposures that overlap are needed. Give frames between "
            "which the specimen moved less."
        )
    if unit == "e-":
        _refuse_too_smooth(name, frames, pairs)
    notes = []
    if moved := [shift for *_, shift in pairs if shift != (0, 0)]:
        farthest = max(moved, key=np.linalg.norm)
        notes.append(
            f"{name}: {len(moved)} of {len(pairs)} pairs moved, by up to {farthest[0]} rows and {farthest[1]} columns, "
            "and are registered by whole pixels"
        )
    if left := [f"{n} {why}" for n, why in ((len(shared), "share their noise"), (lost, "moved too far")) if n]:
        notes.append(f"{name}: of {len(neighbours)} pairs {' and '.join(left)}, and are left out")
    return Field(name, frames, pairs, unit), notes


def displacement(first, second):
    """By how many whole pixels a field moved from one frame to the other, and how surely it is the same.

    The peak of their correlation over all displacements of up to FARTHEST of the frame; a displacement
    counts only if it correlates better than none by MOVED standard deviations of such differences. (Phase
    correlation would weight the noise, which has all frequencies, like the specimen, which has few.)

    Parameters
    ----------
    first, second : ndarray of shape (M, N)

    Returns
    -------
    shift : tuple of int
        (rows, columns): what the first frame shows at (r, c), the second shows at (r + rows, c + columns).
    seen : float
        Height of the peak in standard deviations of the correlation elsewhere.
    """
    # relative to the mean, without the beam, which does not move with the specimen
    first, second = (f / f.mean() for f in map(_middle, (first, second)))
    first, second = (gaussian_filter(f, SEEN_SIGMA_PX) - gaussian_filter(f, BEAM_SIGMA_PX) for f in (first, second))
    # only one fades out at the edges: the same window on both would itself correlate at no displacement
    faded = first * np.outer(*(tukey(n, 0.1) for n in first.shape))
    surface = correlate(second, faded, mode="same", method="fft")
    middle = np.array(surface.shape) // 2
    reach = (FARTHEST * np.array(surface.shape)).astype(int)
    near = surface[tuple(slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))]
    shift = np.array(np.unravel_index(near.argmax(), near.shape)) - reach
    better = near.max() - surface[tuple(middle)]
    if better <= MOVED * _scatter(np.roll(surface, tuple(-shift), (0, 1)) - surface):
        shift = np.zeros(2)
    return (int(shift[0]), int(shift[1])), float(near.max() / _scatter(surface))


def _middle(frame):
    """The middle of a large frame, in double precision: enough to compare, and no gigabytes."""
    start = [max(n - MOST_COMPARED_PX, 0) // 2 for n in frame.shape]
    return np.float64(frame[tuple(slice(s, s + MOST_COMPARED_PX) for s in start)])


def _scatter(values):
    """Standard deviation by the median, which a peak does not raise."""
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def overlap(first, second, shift):
    """The parts of two frames that show the same place; (M, N) to (M - |rows|, N - |columns|)."""
    ahead = tuple(slice(max(-s, 0), min(n, n - s)) for s, n in zip(shift, first.shape, strict=True))
    behind = tuple(slice(max(s, 0), min(n, n + s)) for s, n in zip(shift, first.shape, strict=True))
    return first[ahead], second[behind]


def shared_noise(first, second):
    """Correlation of what second differences along both axes leave of two frames: noise, and next to no specimen.

    1 for duplicates, (n - 1) / n for neighbours in a running average of n frames, 0 for independent exposures.
    """
    rough = [np.diff(np.diff(f, 2, axis=0), 2, axis=1) for f in map(_middle, (first, second))]
    power = np.prod([np.mean(r**2) for r in rough])
    return float(np.mean(rough[0] * rough[1]) / np.sqrt(power)) if power > 0 else 1.0


def _refuse_too_smooth(name, frames, pairs):
    """Electrons are never less noisy than Poisson's; over blocks, since a scintillator smooths single pixels."""
    shares = []
    for i, j, shift in pairs:
        first, second = overlap(frames[i], frames[j], shift)
        mean = (first.mean(dtype=float) + second.mean(dtype=float)) / 2
        difference = first * (mean / first.mean(dtype=float)) - second * (mean / second.mean(dtype=float))
        rows, cols = (n // FILM_BLOCK_PX * FILM_BLOCK_PX for n in first.shape)
        blocks = bin_area(difference[:rows, :cols], FILM_BLOCK_PX)
        shares.append(blocks.var(dtype=float) * FILM_BLOCK_PX**2 / 2 / mean)
    if np.median(shares) < POISSON_SHARE:
        raise TemlibError(
            f"The frames of {name} vary by {np.median(shares):.2g} of what as many electrons do: raw frames are "
            "needed, which vary by 1 or more. Give the frames before they were averaged, filtered or denoised."
        )


def _sampled(movie, most_bytes):
    """Images of a movie, and which of them are neighbours in time."""
    total, rows, columns = movie.shape
    n_pairs = int(np.clip(most_bytes // (8 * rows * columns), 1, MOST_PAIRS))
    starts = np.unique(np.linspace(0, total - 2, n_pairs).round().astype(int))
    numbers = np.union1d(starts, starts + 1)
    frames = np.stack([image for number in numbers for image in movie.read(int(number), int(number) + 1)])
    first = np.searchsorted(numbers, starts)
    return frames, [(int(i), int(i) + 1) for i in first]


def _add_to_group(groups, movie, image, notes):
    """Put a single frame to the last one of its kind, if that shows the same; else it begins a new group."""
    kind = (movie.shape, movie.about.unit)
    last = next((g for g in reversed(groups) if (g[0][-1].shape, g[0][-1].about.unit) == kind), None)
    if sum(frame.nbytes for _, frames in groups for frame in frames) + image.nbytes > MOST_BYTES:
        notes.append(f"{movie.path.name} is left out: {MOST_BYTES >> 20} MB of frames before it are enough")
    elif (
        last
        and 1 / OTHER_DOSE < image.mean() / last[1][-1].mean() < OTHER_DOSE
        and (displacement(last[1][-1], image)[1] > SEEN)
    ):
        last[0].append(movie)
        last[1].append(image)
    else:
        if last and len(last[1]) == 1:
            groups.remove(last)
            notes.append(ALONE.format(last[0][0].path.name))
        groups.append(([movie], [image]))


def _with_sources(found, movies):
    found.sources.update({movie.path.name: digest(movie) for movie in movies})
    return found
