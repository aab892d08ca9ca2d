"""Open a microscope file and find the image in it; RosettaSciIO knows the formats.

Every way in which a file can be of no use ends here in one sentence.
"""

import importlib
import logging
import re
import warnings
from contextlib import contextmanager
from logging.handlers import BufferingHandler

from temlib import calibration, on_disk
from temlib.errors import FrameError

log = logging.getLogger(__name__)

# Extension: RosettaSciIO's reader, the content that the first bytes must announce (None: nothing
# known to FIRST_BYTES), and options of the reader.
FORMATS = {
    ".dm3": ("digitalmicrograph", "DM3/DM4", {}),
    ".dm4": ("digitalmicrograph", "DM3/DM4", {}),
    ".tif": ("tiff", "TIFF", {}),
    ".tiff": ("tiff", "TIFF", {}),
    # Looking for companions of the file would fail wherever its path has "movie" in it.
    ".mrc": ("mrc", None, {"metadata_file": None}),
    ".ser": ("tia", "SER", {}),
    ".emi": ("tia", None, {}),
    ".emd": ("emd", "HDF5", {"select_type": "images"}),
    ".hspy": ("hspy", "HDF5", {}),
    ".zspy": ("zspy", "zip", {"mode": "r"}),  # else it wants to write where it reads lazily
    ".png": ("image", "PNG", {}),
}
FIRST_BYTES = {
    b"\0\0\0\x03": "DM3/DM4",
    b"\0\0\0\x04": "DM3/DM4",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"II\x97\x01": "SER",
    b"\x89HDF": "HDF5",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff\xe0": "JPEG",
    b"PK\x03\x04": "zip",
}
SAMPLE_BYTES = 65536
PNG_COLOUR_TYPE = 25  # where the byte is that says grey (0, 4) or colour (2, 3, 6)
NO_IMAGE = (
    "{name} holds {what}: a single-channel image, or a stack of them, is needed. "
    "Export the image itself, or leave this file out."
)


def open_image(path, notes, *, lazy=False):
    """The data set of a file that is an image or a stack of images, the largest where there are several.

    Parameters
    ----------
    path : Path
        A file with one of the extensions of `FORMATS`.
    notes : list of str
        Gets a sentence where a choice was made.
    lazy : bool, default False
        Leave the images on the disk: `data` is then a dask array or an `on_disk.Images`. What fails
        later, while images are read, goes through `readable`.

    Returns
    -------
    dict
        As RosettaSciIO returns it: `data`, `axes`, `metadata`, `original_metadata`.

    Raises
    ------
    FrameError
        If the file is missing, damaged, of another format, or holds no single-channel image.
    """
    signals = _open(path, lazy)
    reasons = [_why_no_image(signal) for signal in signals]
    images = [signal for signal, reason in zip(signals, reasons, strict=True) if reason is None]
    if not images:
        raise FrameError(NO_IMAGE.format(name=path.name, what=reasons[0] if reasons else "no data set"))
    if len(images) > 1:
        notes.append(f"it holds {len(images)} images, of which the largest is used")
    return max(images, key=lambda signal: signal["data"].size)


def _open(path, lazy):
    """Everything that RosettaSciIO finds in a file."""
    if path.suffix.lower() not in FORMATS:
        raise FrameError(
            f"{path.name} has the extension {path.suffix or '(none)'}: one of "
            f"{' '.join(FORMATS)} is needed. Export it from the microscope's software as TIFF."
        )
    if not path.exists():
        raise FrameError(f"{path} does not exist: give the name of an existing file.")
    reader, expected, options = FORMATS[path.suffix.lower()]
    with readable(path):
        if path.is_file():
            _check_bytes(path, expected)
        read = importlib.import_module(f"rsciio.{reader}").file_reader
        if lazy and reader != "image":
            try:
                return on_disk.open_lazily(read, path, options)
            except Exception:  # what cannot be read lazily is read, or refused, whole
                log.debug("%s is not read lazily", path, exc_info=True)
        return read(str(path), **options)


@contextmanager
def readable(path):
    """Turn what a reader fails with into one sentence.

    Raises
    ------
    FrameError
        If the block raises, or complains of what lies beyond the end of the file.
    """
    try:
        with _complaints() as complaints:
            yield
        # tifffile logs what lies beyond the end of a cut file, and goes on without it.
        if broken := [text for text in complaints() if re.search(r"invalid .*offset", text)]:
            raise ValueError(broken[0])
    except FrameError:
        raise
    except Exception as error:  # each reader fails in its own ways on a broken file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise FrameError(
            f"{path.name} cannot be read ({reason:.200}): it is truncated or damaged. "
            "Copy it from the microscope or export it again."
        ) from error


def _check_bytes(path, expected):
    """Refuse a file that is empty, ends in zeros, or is of another format than its extension says."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(26)
        tail = start if expected == "HDF5" else b""  # HDF5 files may end in reserved zeros
        for place in (size * 3 // 4, size * 7 // 8, max(size - SAMPLE_BYTES, size * 3 // 4)):
            file.seek(place)
            tail += file.read(SAMPLE_BYTES)
    if not tail.strip(b"\0"):
        what = "its last quarter is only zeros" if size else "it is empty (0 bytes)"
        raise FrameError(
            f"{path.name} was not written or copied whole ({what}): a complete file is needed. "
            "Copy it from the microscope again."
        )
    found = FIRST_BYTES.get(start[:4])
    if found != expected:
        raise FrameError(
            f"{path.name} holds {found + ' data' if found else 'nothing that is known'}: its extension promises "
            f"{expected or 'another format'}. "
            "Give it the right extension, or export it again."
        )
    # RosettaSciIO would pass a colour image off as grey where two of its channels agree.
    if found == "PNG" and start[PNG_COLOUR_TYPE : PNG_COLOUR_TYPE + 1] in (b"\2", b"\3", b"\6"):
        raise FrameError(NO_IMAGE.format(name=path.name, what="a colour image (RGB)"))


@contextmanager
def _complaints():
    """Keep the readers' warnings off the screen; yields a function that tells what they logged."""
    kept = BufferingHandler(capacity=10_000)
    loggers = [logging.getLogger(name) for name in ("tifffile", "rsciio")]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.addHandler(kept)
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield lambda: [record.getMessage() for record in kept.buffer]
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.propagate = propagate
            logger.setLevel(level)
            logger.removeHandler(kept)


def _why_no_image(signal):
    """What a data set is instead of an image, or None where it is one."""
    data, axes = signal["data"], signal["axes"]
    units = [axis.get("units") for axis in axes]
    kind = signal.get("metadata", {}).get("Signal", {}).get("signal_type") or ""
    if data.size == 0:
        return "an image without pixels"
    if data.dtype.names or any(axis.get("name") == "sample" for axis in axes):
        return "a colour image (RGB)"
    if data.dtype.kind == "c":
        return "complex numbers"
    if (
        min((1, 1, *data.shape)[-2:]) < 2
        or sum(not axis.get("navigate") for axis in axes) < 2
        or kind.startswith(("EELS", "EDS", "CL"))
        or any(calibration.is_energy(unit) for unit in units)
    ):
        return "a spectrum or a plot"
    if any(calibration.is_reciprocal(unit) for unit in units[-2:]):
        return f"a diffraction pattern (axes in {units[-1]})"
    if sum(size > 1 for size in data.shape) > 3:
        return f"a {data.ndim}-dimensional data set"
    if data.dtype.kind not in "uifb":
        return f"values of type {data.dtype}"
    return None
