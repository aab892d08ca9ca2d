"""One recorded image or movie with its calibration: read it from any microscope file, write it as Gatan TIFF.

RosettaSciIO knows the formats; here is what this project asks of a frame on top: electrons where the
file can say so, a pixel size that can be believed, and one sentence where a file is of no use.
"""

import logging
import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import tifffile

from temlib import calibration, formats, gatan
from temlib.errors import FrameError
from temlib.paths import whole_file

log = logging.getLogger(__name__)

ZERO_ROWS = "its last {} rows are zero, so it may not be whole"
NEGATIVE = "its own calibration makes it negative on average: do not trust these electrons"


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure, or a stack of them, with what its file says about it.

    Attributes
    ----------
    image : ndarray of float32, shape (M, N) or (T, M, N), or None
        Intensities, in `unit`; None in a description of images that are not read yet.
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
    recorded_at : datetime or None
        When it was taken, by the file's own metadata.
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
    recorded_at: datetime | None = None
    notes: tuple = ()

    @property
    def square_pixel_nm(self):
        """Edge of a pixel [nm] where both edges agree within 0.1 %, as a diameter needs; else None."""
        edges = self.pixel_size_nm
        return edges[0] if edges and math.isclose(*edges, rel_tol=1e-3) else None


def read_frame(path, *, warn=True):
    """Read the image, or the stack of images, of a microscope file.

    Parameters
    ----------
    path : path
        DM3, DM4, Gatan or other TIFF, MRC, SER or EMI, EMD, HSPY, ZSPY, or a grey PNG.
    warn : bool, default True
        Log the frame's notes as warnings.

    Returns
    -------
    Frame
        In electrons = (counts - origin) x scale where the file gives these with electrons as its
        unit, else in counts. What is missing or was not believed is in its `notes`.

    Raises
    ------
    FrameError
        If the file is missing, damaged, of another format than its extension says, holds no
        single-channel image (spectrum, colour, complex numbers, diffraction pattern), or an
        image of no use (NaN, infinity, the same value everywhere).
    """
    path, notes = Path(path), []
    signal = formats.open_image(path, notes)
    data = np.squeeze(np.asarray(signal["data"]))
    _refuse_useless(path, data)
    if zero_rows := zero_rows_at_the_end(data):
        notes.append(ZERO_ROWS.format(zero_rows))
    frame = describe(path, signal, notes)
    image = np.empty(data.shape, np.float32)
    for stored, out in zip(np.atleast_3d(data.T).T, np.atleast_3d(image.T).T, strict=True):
        out[:] = intensities(stored, frame)
    if frame.unit == "e-" and image.mean() < 0:
        notes.append(NEGATIVE)
    frame = replace(frame, image=image, notes=tuple(notes))
    for note in frame.notes if warn else ():
        log.warning("%s: %s.", path.name, note)
    return frame


def describe(path, signal, notes):
    """What a file says about its images, as a Frame without image.

    Parameters
    ----------
    path : Path
    signal : dict
        One data set as RosettaSciIO returns it.
    notes : list of str
        Gets a sentence for what is missing or not believed.
    """
    origin, scale = calibration.electron_calibration(signal, notes) or (None, None)
    original, metadata = signal.get("original_metadata", {}), signal.get("metadata", {})
    # "JEOL_Header" is tifffile's name for the tag that Gatan uses too.
    gatan_tags = gatan.tag_tree(original.get("65027", original.get("JEOL_Header", b"")))
    return Frame(
        image=None,
        unit="counts" if scale is None else "e-",
        pixel_size_nm=calibration.pixel_size_nm(signal, notes),
        exposure_s=calibration.exposure_s(gatan_tags, original, metadata),
        title=str(metadata.get("General", {}).get("title") or path.stem),
        origin_counts=origin,
        counts_per_e=None if scale is None else 1 / scale,
        recorded_at=calibration.recorded_at(gatan_tags, original, metadata),
    )


def intensities(stored, frame):
    """Stored numbers of one image as float32 in the unit of the frame; (M, N) to (M, N)."""
    if frame.unit == "counts":
        return stored.astype(np.float32)
    # in double precision: DM files count from origins of 2e6, beyond float32
    return ((stored.astype(np.float64) - frame.origin_counts) / frame.counts_per_e).astype(np.float32)


def zero_rows_at_the_end(data):
    """How many of the last rows are zero; (M, N) or (T, M, N) to an int."""
    shows = data.any(axis=-1).ravel()[::-1]
    return int(np.argmax(shows)) if shows.any() else len(shows)


def _refuse_useless(path, data):
    """Refuse stored values that no measurement can be made on."""
    if not np.isfinite(data).all():
        raise FrameError(
            f"{path.name} has pixels that are NaN or infinite: finite intensities are needed. "
            "Replace or crop these pixels."
        )
    if data.min() == data.max():
        raise FrameError(
            f"{path.name} has the value {data.flat[0]} in every pixel: an exposed image is needed. "
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
            extratags=gatan.tiff_tags(pixel_size_nm=pixel_size_nm, exposure_s=exposure_s, counts_per_e=counts_per_e),
        )
