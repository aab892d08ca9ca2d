"""One recorded image or movie with its calibration: read it from any microscope file, write it as Gatan TIFF.

RosettaSciIO knows the formats; here is what this project asks of a frame on top: electrons where the
file can say so, a pixel size that can be believed, and one sentence where a file is of no use.
"""

import importlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from temlib import calibration, gatan
from temlib.errors import FrameError
from temlib.paths import whole_file

log = logging.getLogger(__name__)

# Extension: RosettaSciIO's reader, and what the first bytes may say (None: anything not listed below).
FORMATS = {
    ".dm3": ("digitalmicrograph", "DM3/DM4"),
    ".dm4": ("digitalmicrograph", "DM3/DM4"),
    ".tif": ("tiff", "TIFF"),
    ".tiff": ("tiff", "TIFF"),
    ".mrc": ("mrc", None),
    ".ser": ("tia", "SER"),
    ".emi": ("tia", None),
    ".emd": ("emd", "HDF5"),
    ".hspy": ("hspy", "HDF5"),
    ".zspy": ("zspy", "zip"),
    ".png": ("image", "PNG"),
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


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure, or a stack of them, with what its file says about it.

    Attributes
    ----------
    image : ndarray of float32, shape (M, N) or (T, M, N)
        Intensities, in `unit`.
    unit : "e-" or "counts"
        "e-" are electrons per pixel.
    pixel_size_nm : tuple of float or None
        Edges of a pixel on the specimen as (row, column) [nm]; None if not known.
    exposure_s : float or None
        Exposure of one image [s]; None if not known.
    title : str
        The file's own title for it, else the file's name.
    origin_counts, counts_per_e : float or None
        counts = image x counts_per_e + origin_counts gives back what the file stores;
        None where `unit` is "counts".
    notes : tuple of str
        What the file does not say, or says and is not believed.
    """

    image: np.ndarray
    unit: str
    pixel_size_nm: tuple | None
    exposure_s: float | None
    title: str
    origin_counts: float | None = None
    counts_per_e: float | None = None
    notes: tuple = ()


def read_frame(path):
    """Read the image, or the stack of images, of a microscope file.

    Parameters
    ----------
    path : path
        DM3, DM4, Gatan or other TIFF, MRC, SER or EMI, EMD, HSPY, ZSPY, or a grey PNG.

    Returns
    -------
    Frame
        In electrons = (counts - origin) x scale where the file gives these with electrons as its
        unit, else in counts. What was not believed is in its `notes`, which are logged too.

    Raises
    ------
    FrameError
        If the file is missing, damaged, of another format than its extension says, holds no
        single-channel image (spectrum, colour, complex numbers, diffraction pattern), or an
        image of no use (NaN, infinity, the same value everywhere).
    """
    path = Path(path)
    signal = _pick_image(path, _signals(path))
    data = np.squeeze(np.asarray(signal["data"]))
    notes = list(signal.get("notes", ()))
    calibrated = calibration.electron_calibration(signal, notes)
    origin, scale = calibrated or (0.0, 1.0)
    image = np.empty(data.shape, np.float32)
    # One image at a time in double precision: DM files count from origins of 2e6, beyond float32.
    for stored, out in zip(np.atleast_3d(data.T).T, np.atleast_3d(image.T).T, strict=True):
        out[:] = (stored.astype(np.float64) - origin) * scale
    _refuse_useless(path, image)
    if calibrated and image.mean() < 0:
        notes.append("its own calibration makes it negative on average: do not trust these electrons")
    original = signal.get("original_metadata", {})
    stream = original.get("65027", original.get("JEOL_Header", b""))  # tifffile's name for the same tag
    frame = Frame(
        image=image,
        unit="e-" if calibrated else "counts",
        pixel_size_nm=calibration.pixel_size_nm(signal["axes"][-2:], notes),
        exposure_s=calibration.exposure_s(gatan.tag_tree(stream), original, signal.get("metadata", {})),
        title=str(signal.get("metadata", {}).get("General", {}).get("title") or path.stem),
        origin_counts=origin if calibrated else None,
        counts_per_e=1 / scale if calibrated else None,
        notes=tuple(notes),
    )
    for note in frame.notes:
        log.warning("%s: %s.", path.name, note)
    return frame


def _signals(path):
    """Everything that RosettaSciIO finds in a file, or the sentence why it cannot be read."""
    if path.suffix.lower() not in FORMATS:
        raise FrameError(
            f"{path.name} has the extension {path.suffix or '(none)'}: one of "
            f"{' '.join(FORMATS)} is needed. Export it from the microscope's software as TIFF."
        )
    if not path.exists():
        raise FrameError(f"{path} does not exist: give the name of an existing file.")
    reader, expected = FORMATS[path.suffix.lower()]
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(4096)
        if not any(head):
            what = "only zeros" if head else "nothing (0 bytes)"
            raise FrameError(f"{path.name} holds {what}: an image is needed. Copy or export the file again.")
        found = FIRST_BYTES.get(head[:4])
        if found != expected:
            raise FrameError(
                f"{path.name} holds {found or 'no'} data, not the {expected or 'data'} that its extension "
                "promises: give it the right extension, or export it again."
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"rsciio.{reader}").file_reader(str(path))
    except Exception as error:  # each reader fails in its own ways on a broken file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise FrameError(
            f"{path.name} cannot be read ({reason:.200}): it is truncated or damaged. "
            "Copy it from the microscope or export it again."
        ) from error


def _pick_image(path, signals):
    """The one data set that is an image or a stack of images; the largest where there are several."""
    reasons = [_why_no_image(signal) for signal in signals]
    images = [signal for signal, reason in zip(signals, reasons, strict=True) if reason is None]
    if not images:
        raise FrameError(
            f"{path.name} holds {reasons[0] if reasons else 'no data set'}: a single-channel image, or a stack "
            "of them, is needed. Export the image itself, or leave this file out."
        )
    image = max(images, key=lambda signal: np.size(signal["data"]))
    if len(images) > 1:
        image["notes"] = [f"the largest of its {len(images)} images is used"]
    return image


def _why_no_image(signal):
    """What a data set is instead of an image, or None where it is one."""
    data, axes = signal["data"], signal["axes"]
    units = [axis.get("units") for axis in axes]
    lengths = [size for size in np.shape(data) if size > 1]
    if data.dtype.names or any(axis.get("name") == "sample" for axis in axes):
        return "a colour image (RGB)"
    if data.dtype.kind == "c":
        return "complex numbers"
    if (
        len(lengths) < 2
        or sum(not axis.get("navigate") for axis in axes) < 2
        or signal.get("metadata", {}).get("Signal", {}).get("signal_type", "")[:3] in ("EEL", "EDS", "CL")
        or any(calibration.is_energy(unit) for unit in units)
    ):
        return "a spectrum or a plot"
    if any(calibration.is_reciprocal(unit) for unit in units[-2:]):
        return f"a diffraction pattern (axes in {units[-1]})"
    if len(lengths) > 3:
        return f"a {len(lengths)}-dimensional data set"
    if data.dtype.kind not in "uifb":
        return f"values of type {data.dtype}"
    return None


def _refuse_useless(path, image):
    """Refuse an image that no measurement can be made on."""
    if not np.isfinite(image).all():
        raise FrameError(
            f"{path.name} has pixels that are NaN or infinite: finite intensities are needed. "
            "Replace or crop these pixels."
        )
    if image.min() == image.max():
        raise FrameError(
            f"{path.name} has the value {image.flat[0]:g} in every pixel: an exposed image is needed. "
            "Leave this file out, or export it again."
        )


def write_gatan_tiff(path, counts, *, pixel_size_nm, exposure_s, counts_per_e, title=""):
    """Write a frame as DigitalMicrograph exports one: 16-bit TIFF with Gatan's calibration tags.

    Parameters
    ----------
    path : path
        Whole when it exists; the same arguments give the same bytes.
    counts : ndarray of shape (M, N)
        Whole numbers from 0 to 65535.
    pixel_size_nm : float, tuple of float, or None
        Pixel edge, or edges as (row, column) [nm]; None writes no pixel size.
    exposure_s : float or None
        Exposure [s]; None writes none.
    counts_per_e : float or None
        Counts per electron; None writes plain counts.
    title : str
        The TIFF's image description.

    Raises
    ------
    ValueError
        If `counts` is not a 2-D image of whole numbers from 0 to 65535.
    """
    stored = np.asarray(counts).astype(np.uint16)
    if stored.ndim != 2 or not np.array_equal(stored, counts):
        raise ValueError("A 2-D image of whole numbers from 0 to 65535 is needed: round and clip first.")
    if pixel_size_nm is not None:
        pixel_size_nm = tuple(np.broadcast_to(pixel_size_nm, 2))
    with whole_file(path) as partial:
        tifffile.imwrite(
            partial,
            stored,
            photometric="minisblack",
            description=title,
            metadata=None,  # nor a date, nor a software version: the same frame gives the same bytes
            software=False,
            extratags=gatan.tiff_tags(
                pixel_size_nm=pixel_size_nm, exposure_s=exposure_s, counts_per_e=counts_per_e
            ),
        )
