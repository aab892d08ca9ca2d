"""Movies and single frames, image by image: a file, or the folder that an in-situ camera fills.

Knows files and their calibration; nothing of networks. Memory holds a few images at a time.
"""

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from temlib import calibration, formats, on_disk
from temlib.errors import FrameError, TemlibError
from temlib.frames import NEGATIVE, ZERO_ROWS, Frame, describe, intensities, zero_rows_at_the_end
from temlib.inputs import in_situ_files, is_output
from temlib.provenance import sha256

BLOCK_BYTES = 2**23  # of a file that are read at once


@dataclass(frozen=True, eq=False)
class Movie:
    """A stack of images, or one image, that is still in its file.

    Attributes
    ----------
    path : Path
        The file, or the folder of one file an image.
    files : list of Path
        What it is read from.
    about : frames.Frame
        Calibration, exposure and title; without an image.
    shape : tuple of int
        (T, M, N); T is 1 for a single frame.
    axes : list of dict
        As RosettaSciIO describes axes, in the order of the data; the first is time where T > 1.
    metadata : dict
        HyperSpy's, as far as the file gives it.
    interval_s : float or None
        From one image to the next [s].
    notes : list of str
        What the file does not say, or says and is not believed; grows while images are read.
    read : callable
        `read(first, stop)` yields float32 arrays of shape (M, N) in the unit of `about`.
    """

    path: Path
    files: list
    about: Frame
    shape: tuple
    axes: list
    metadata: dict
    interval_s: float | None
    read: Callable
    notes: list = field(default_factory=list)


def open_movie(path):
    """A file, or a folder of one file an image, ready to be read image by image.

    Parameters
    ----------
    path : path

    Returns
    -------
    Movie

    Raises
    ------
    FrameError
        If there is no usable single-channel image; here, or from `read` where an image is damaged,
        has NaN or infinite pixels, or all images together hold one value only.
    """
    path = Path(path)
    if files := in_situ_files(path):
        return _open_folder(path, files)
    notes = []
    signal = formats.open_image(path, notes, lazy=True)
    data = signal["data"]
    *stack, rows, columns = (n for n in data.shape if n > 1)
    shape = (math.prod(stack), rows, columns)
    axes = [dict(axis) for axis, n in zip(signal["axes"], data.shape, strict=True) if n > 1]
    with formats.readable(path):
        about = describe(path, signal, notes)
        interval_s = calibration.interval_s({**signal, "axes": axes}) if stack else None

    def read(first, stop):
        count = max(1, BLOCK_BYTES // (rows * columns * data.dtype.itemsize))
        for start in range(first, stop, count):
            with formats.readable(path):
                block = on_disk.images(data, start, min(start + count, stop))
            for number, stored in enumerate(block, start):
                yield number, stored, intensities(stored, about)

    return Movie(
        path=path,
        files=sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path],
        about=about,
        shape=shape,
        axes=_calibrated(axes, about, interval_s),
        metadata=signal.get("metadata", {}),
        interval_s=interval_s,
        notes=notes,
        read=_checked(read, path, shape[0], about, notes),
    )


def _open_folder(path, files):
    """One file an image: calibration of the first, time from the folders' names."""
    notes = []
    first, stored = _image(files[0], notes)
    shape, needed = stored.shape, _kind(first, stored)
    if len(shape) != 2:
        raise FrameError(
            f"{files[0].name} in {path.name} is a stack of {shape[0]} images: a folder of seconds and minutes has one "
            "image a file. Give the stacks one by one."
        )
    seconds = [_second(file) for file in files]
    interval_s = first.exposure_s if len(files) > 1 else None
    if seconds[0] < seconds[-1]:  # all frames but those of the last, perhaps unfinished, second
        interval_s = (seconds[-1] - seconds[0]) / seconds.index(seconds[-1])
    elif interval_s:
        notes.append("its time axis takes the exposure for the interval, as it lasts less than a second")

    def read(start, stop):
        for number in range(start, stop):
            own, stored = _image(files[number], [])
            if (came := _kind(own, stored)) != needed:
                raise FrameError(
                    f"{files[number].name} in {path.name} is {came}, the first image is {needed}: images of one movie "
                    "are alike. Move it out of the folder."
                )
            yield number, stored, intensities(stored, own)

    about = Frame(None, first.unit, first.pixel_size_nm, first.exposure_s, path.name, recorded_at=first.recorded_at)
    sizes = {"time": len(files), "y": shape[0], "x": shape[1]}
    axes = [{"name": name, "size": n, "scale": 1.0, "offset": 0.0, "units": None} for name, n in sizes.items() if n > 1]
    return Movie(
        path=path,
        files=files,
        about=about,
        shape=(len(files), *shape),
        axes=_calibrated(axes, about, interval_s),
        metadata={},
        interval_s=interval_s,
        notes=notes,
        read=_checked(read, path, len(files), about, notes),
    )


def _image(file, notes):
    """One file of a folder: what it says of its image, and the stored numbers of shape (M, N)."""
    signal = formats.open_image(file, notes)
    with formats.readable(file):
        return describe(file, signal, notes), np.squeeze(np.asarray(signal["data"]))


def _kind(about, stored):
    """In what the images of a movie are alike, in words."""
    edges = " x ".join(f"{edge:.4g} nm" for edge in about.pixel_size_nm or ())
    return f"{stored.shape} in {about.unit} with pixels of {edges or 'unknown size'}"


def _second(file):
    """Second of the recording by the names of the folders."""
    numbers = [int(re.findall(r"\d+", name)[-1]) for name in file.parts[-4:-1] if re.search(r"_\d+$", name)]
    return sum(n * unit for n, unit in zip(reversed(numbers), (1, 60, 3600), strict=False))


def _calibrated(axes, about, interval_s):
    """The axes with units that HyperSpy understands, and what was found elsewhere in the file."""
    for axis, edge in zip(axes[-2:], about.pixel_size_nm or (None, None), strict=True):
        per_unit = calibration.NM_PER_UNIT.get(calibration.unit_name(axis.get("units")))
        if edge and per_unit:
            axis["units"] = calibration.SYMBOLS[per_unit]
        elif edge:  # ImageJ's and OME's descriptions
            axis.update(scale=edge, offset=0.0, units="nm")
    if interval_s and calibration.unit_name(axes[0].get("units")) not in calibration.SECONDS_PER_UNIT:
        axes[0].update(name="time", scale=interval_s, offset=0.0, units="s")
    for number, axis in enumerate(axes):
        axis["navigate"] = number < len(axes) - 2
        axis.pop("index_in_array", None)
    return axes


def _checked(read, path, total, about, notes):
    """Images of `read`, refused where no measurement can be made on them."""

    def note(sentence):  # once, however often the images are read
        notes.extend([] if sentence in notes else [sentence])

    def images(first=0, stop=total):
        lowest, highest, sums, empty = math.inf, -math.inf, 0.0, []
        for number, stored, image in read(first, stop):
            low, high = stored.min(), stored.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                raise FrameError(
                    f"{path.name} has pixels that are NaN or infinite{f' in image {number}' if total > 1 else ''}: "
                    "finite intensities are needed. Replace or crop these pixels."
                )
            lowest, highest, sums = min(lowest, low), max(highest, high), sums + image.mean(dtype=float)
            if low == high == 0:
                empty.append(number)
            elif number == total - 1 and (rows := zero_rows_at_the_end(stored)):
                note(ZERO_ROWS.format(rows))
            yield image
        if stop - first == total and lowest == highest:
            raise FrameError(
                f"{path.name} has the value {lowest} in every pixel: an exposed image is needed. "
                "Leave this file out, or export it again."
            )
        if stop - first == total and empty:
            note(f"{len(empty)} of {total} images hold nothing but zeros, the first of them image {empty[0]}")
        if stop - first == total and about.unit == "e-" and sums < 0:
            note(NEGATIVE)

    return images


def ahead(items, count):
    """The same items, made in a thread of their own, at most `count` ahead of their use."""
    made, end = iter(items), object()
    worker = ThreadPoolExecutor(1)
    try:
        waiting = deque(worker.submit(next, made, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(worker.submit(next, made, end))
            yield item
    finally:
        worker.shutdown(cancel_futures=True)


def digest(movie):
    """SHA-256 of the file; of a folder, that of the lines `sha256  path` of its files, as sha256sum prints them."""
    if movie.files == [movie.path]:
        return sha256(movie.path)
    lines = (f"{sha256(file)}  {file.relative_to(movie.path).as_posix()}\n" for file in movie.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def marks_of(movie):
    """What temlib wrote into a file that it denoised: in its metadata, or at its beginning.

    Returns
    -------
    dict or None
        denoised_by and card_sha256, the network's, and intensity, with its unit, where the format has no place for
        it; None for raw images; empty where only the file's name tells.
    """
    if "Denoised" in movie.metadata:
        return dict(movie.metadata["Denoised"])
    if movie.path.is_file():
        with open(movie.path, "rb") as file:
            start = file.read(2**16)
        for code in ("latin-1", "utf-16-be", "utf-16-le"):
            marks = re.findall(r"(denoised_by|card_sha256|intensity) = ([\w./() -]+)", start.decode(code, "ignore"))
            marks = {name: value.strip() for name, value in marks}
            if "denoised_by" in marks:
                return marks
    return {} if is_output(movie.path) else None


def refuse_denoised(movie):
    """Refuse what temlib has denoised.

    Raises
    ------
    TemlibError
    """
    if marks_of(movie) is not None:
        raise TemlibError(
            f"{movie.path.name} was denoised by temlib: raw frames are needed. Give the file that it was made from."
        )
