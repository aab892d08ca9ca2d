"""Denoised images to a file, one at a time: TIFF, HSPY, ZSPY, MRC.

Each writer takes a path, an iterator of float32 images of shape (M, N), the `movies.Movie` that they
come from, and the marks that say who denoised it; it keeps what its format has a place for.
"""

import math
import struct
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import mrcfile
import numpy as np
import rsciio.hspy
import rsciio.zspy
import tifffile
import zarr

from temlib import gatan
from temlib.paths import whole_file

CLASSIC_TIFF_BYTES = 2**32 - 2**26  # offsets of 32 bits, and room for the pages' tags
QUANTITY = {"e-": "Electrons (e-/px)", "counts": "Intensity (counts)"}
MRC_FLOAT32, MRC_HEADER_BYTES, MRC_LIMITS_AT, MRC_RMS_AT, MRC_LABEL = 2, 1024, 76, 216, 79


def said(movie, marks):
    """Lines of `name = value` for those who open the file: title, unit, exposure, and the marks."""
    known = {
        "title": movie.about.title,
        "intensity": QUANTITY[movie.about.unit],
        "exposure_s": movie.about.exposure_s,
        **marks,
    }
    return [f"{name} = {value}" for name, value in known.items() if value is not None]


def write_tif(path, images, movie, marks):
    """Pages of float32 with the calibration where ImageJ looks for it, and DigitalMicrograph's tags beside."""
    about, order = movie.about, ">"  # the byte order that ImageJ itself writes
    told, resolution = {}, None
    if about.pixel_size_nm:
        told["unit"] = "micron"  # the only one that RosettaSciIO knows from ImageJ
        resolution = tuple(1e3 / edge for edge in reversed(about.pixel_size_nm))
    if movie.interval_s:
        told |= {"finterval": movie.interval_s, "spacing": movie.interval_s}
    tags = gatan.tiff_tags(
        pixel_size_nm=about.pixel_size_nm,
        exposure_s=about.exposure_s,
        counts_per_e=1.0 if about.unit == "e-" else None,
        interval_s=movie.interval_s,
    )
    is_movie = movie.shape[0] > 1
    first_page = {
        "description": tifffile.imagej_description(
            movie.shape if is_movie else movie.shape[1:], "TYX" if is_movie else "YX", **told
        ),
        "resolution": resolution,
        "resolutionunit": "NONE",
        "software": f"temlib {marks['temlib']}",
        "extratags": [*tags, *tifffile.tifffile.imagej_metadata_tag({"Info": "\n".join(said(movie, marks))}, order)],
    }
    big = 4 * math.prod(movie.shape) > CLASSIC_TIFF_BYTES
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        for image in images:
            tiff.write(image, photometric="minisblack", metadata=None, contiguous=True, **first_page)


def write_hspy(path, images, movie, marks):
    """HyperSpy's HDF5 file; not compressed, as what is left of the noise does not compress."""
    rsciio.hspy.file_writer(str(path), _signal(movie, marks), write_dataset=False)
    with h5py.File(path, "r+") as file:
        [group] = file["Experiments"].values()
        shape, chunk = _shape_and_chunk(movie)
        _fill(group.create_dataset("data", shape, np.float32, chunks=chunk), images)


def write_zspy(path, images, movie, marks):
    """HyperSpy's zarr folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # RosettaSciIO's store is not zarr 3's
        store = zarr.storage.NestedDirectoryStore(str(path))
        rsciio.zspy.file_writer(store, _signal(movie, marks), write_dataset=False, consolidate=False)
    [(_, group)] = zarr.open_group(store, mode="r+")["Experiments"].groups()
    shape, chunk = _shape_and_chunk(movie)
    _fill(group.create_dataset("data", shape=shape, dtype=np.float32, chunks=chunk), images)
    zarr.consolidate_metadata(store)


def _shape_and_chunk(movie):
    return (movie.shape, (1, *movie.shape[1:])) if movie.shape[0] > 1 else (movie.shape[1:],) * 2


def _fill(data, images):
    for number, image in enumerate(images):
        data[number if data.ndim == 3 else ...] = image


def _signal(movie, marks):
    """What HyperSpy hands to RosettaSciIO's writers, but for the data."""
    about = movie.about
    kept = {
        key: dict(value)
        for key, value in movie.metadata.items()
        if key in ("General", "Acquisition_instrument", "Sample")
    }
    if about.exposure_s:
        camera = kept.setdefault("Acquisition_instrument", {})
        for level in ("TEM", "Detector", "Camera"):
            camera[level] = dict(camera.get(level, {}))
            camera = camera[level]
        camera["exposure"] = about.exposure_s
    kept["General"] = {**kept.get("General", {}), "title": about.title, "notes": "\n".join(said(movie, marks))}
    # without the file's own noise model: it is that of the raw image, and its gain is applied already
    kept["Signal"] = {"signal_type": "", "quantity": QUANTITY[about.unit]}
    kept["Denoised"] = {key: value for key, value in marks.items() if value is not None}
    return rosetta_signal([{"is_binned": False, **axis} for axis in movie.axes], kept)


def rosetta_signal(axes, metadata):
    """The dictionary that RosettaSciIO's writers want of a signal, but for its `data`."""
    return {
        "axes": axes,
        "metadata": metadata,
        "original_metadata": {},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "hyperspy", "package_version": "2.0"},
    }


def write_mrc(path, images, movie, marks):
    """MRC2014, mode 2: an image stack with its voxel size, and the marks in the labels."""
    depth, rows, columns = movie.shape
    lowest, highest, sums, squares = math.inf, -math.inf, 0.0, 0.0
    with mrcfile.new_mmap(path, (depth, rows, columns), mrc_mode=MRC_FLOAT32, overwrite=True) as mrc:
        mrc.set_image_stack()
        if movie.about.pixel_size_nm:
            row_nm, column_nm = movie.about.pixel_size_nm
            mrc.voxel_size = (10 * column_nm, 10 * row_nm, 0)  # angstrom
        for label in said(movie, marks):
            mrc.add_label(label.encode("ascii", "replace").decode()[:MRC_LABEL])
    with open(path, "r+b") as file:  # not by the map: its pages would count as memory
        file.seek(MRC_HEADER_BYTES)
        for image in images:
            file.write(np.ascontiguousarray(image, "<f4"))
            lowest, highest = min(lowest, float(image.min())), max(highest, float(image.max()))
            sums, squares = sums + image.sum(dtype=float), squares + np.square(image, dtype=float).sum()
        mean = sums / math.prod(movie.shape)
        file.seek(MRC_LIMITS_AT)
        file.write(struct.pack("<3f", lowest, highest, mean))
        file.seek(MRC_RMS_AT)
        file.write(struct.pack("<f", math.sqrt(max(squares / math.prod(movie.shape) - mean**2, 0))))


WRITERS = {"tif": write_tif, "hspy": write_hspy, "zspy": write_zspy, "mrc": write_mrc}


@contextmanager
def whole(path):
    """`paths.whole_file` that can replace a zspy folder too."""
    if path.suffix != ".zspy":
        with whole_file(path) as partial:
            yield partial
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as scratch:
        partial = Path(scratch) / path.name
        yield partial
        if path.exists():
            path.rename(Path(scratch) / "before")
        partial.rename(path)
