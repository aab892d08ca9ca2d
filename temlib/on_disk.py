"""Images that stay in their file until they are asked for.

RosettaSciIO's lazy readers do so for DM3, DM4, MRC, EMD, HSPY and ZSPY; its lazy TIFF and SER
readers load the whole movie at the first image, so these two are read here.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile
from rsciio.tia import _api as tia


@dataclass(frozen=True)
class Images:
    """A stack in a file, or one image.

    Attributes
    ----------
    shape : tuple of int
        (T, M, N) or (M, N).
    dtype : dtype
        Of the stored numbers.
    read : callable
        (first, stop) to an ndarray of shape (stop - first, M, N).
    """

    shape: tuple
    dtype: np.dtype
    read: Callable

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return int(np.prod(self.shape))


def images(data, first, stop):
    """Images `first` to `stop` of a stack, wherever it is, as an ndarray of shape (stop - first, M, N).

    Parameters
    ----------
    data : ndarray, dask array or Images, of shape (T, M, N) but for axes of length 1
    """
    if isinstance(data, Images):
        return data.read(first, stop)
    stack = data.reshape((-1, *[n for n in data.shape if n > 1][-2:]))[first:stop]
    return np.asarray(stack.compute(scheduler="synchronous") if hasattr(stack, "compute") else stack)


def open_lazily(read, path, options):
    """What RosettaSciIO's reader finds in a file, with the images left there.

    Parameters
    ----------
    read : callable
        `file_reader` of one of RosettaSciIO's formats.
    path : Path
    options : dict
        Of the reader.
    """
    suffix = path.suffix.lower()
    if suffix in (".ser", ".emi"):
        return _open_tia(read, path, options)
    signals = read(str(path), lazy=True, **options)
    if suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as tiff:
            for signal, series in zip(signals, tiff.series, strict=True):
                if signal["data"].shape == series.shape:  # a colour image has lost its last axis
                    signal["data"] = _tiff_images(path, series)
    return signals


def _tiff_images(path, series):
    """A TIFF's series: in one piece as ImageJ writes it, else one page an image, else read whole."""
    shape, start = series.shape, series.dataoffset
    count = int(np.prod(shape[:-2]))
    place = next(index for index, other in enumerate(series.parent.series) if other is series)
    stored = series.dtype.newbyteorder(series.parent.byteorder)

    def in_one_piece(first, stop):
        size = int(np.prod(shape[-2:]))
        found = np.fromfile(path, stored, count=(stop - first) * size, offset=start + first * size * stored.itemsize)
        return found.reshape(stop - first, *shape[-2:])

    @functools.cache
    def opened():  # once, as the tags of every page are read
        return tifffile.TiffFile(path).series[place]

    def by_page(first, stop):
        return np.stack([page.asarray() for page in opened().pages[first:stop]])

    def whole(first, stop):
        return opened().asarray().reshape(count, *shape[-2:])[first:stop]

    if start is not None:
        return Images(shape, series.dtype, in_one_piece)
    pages = len(series.pages) == count and series.keyframe.shape == shape[-2:]
    return Images(shape, series.dtype, by_page if pages else whole)


def _open_tia(read, path, options):
    """A SER file, or those of an EMI file, with the records left where they are.

    RosettaSciIO loads every record to find the calibration in the first; here it gets the first two.
    """
    found, load_all = [], tia.load_ser_file

    def load_two(filename):
        header, record, offsets = _ser_records(filename)
        found.append((filename, record, offsets))
        return header, _ser_read(filename, record, offsets[:2])

    tia.load_ser_file = load_two
    try:
        signals = read(str(path), lazy=True, **options)
    finally:
        tia.load_ser_file = load_all
    for signal, (filename, record, offsets) in zip(signals, found, strict=True):
        shape = tuple(int(n) for n in signal["data"].shape)
        if np.prod(shape) != len(offsets) * np.prod(record["Array"].shape):
            return read(str(path), **options)  # a map that was not filled to its end
        signal["data"] = _ser_images(filename, record, offsets, shape)
    return signals


def _ser_images(filename, record, offsets, shape):
    def images_between(first, stop):
        stored = _ser_read(filename, record, offsets[first:stop])["Array"]
        return stored.reshape(-1, *shape[-2:])[:, ::-1]  # the lowest row comes first

    return Images(shape, record["Array"].base, images_between)


def _ser_records(filename):
    """Header, dtype of a record, and where the records are."""
    with open(filename, "rb") as file:
        header = np.fromfile(file, np.dtype(tia.get_header_dtype_list(file)), count=1)
        file.seek(int(header["OffsetArrayOffset"][0]))
        pointer = "<u4" if header["SeriesVersion"][0] <= 528 else "<u8"
        offsets = np.fromfile(file, pointer, count=int(header["ValidNumberElements"][0])).astype(int)
        kind = tia.guess_record_by(header["DataTypeID"])
        fields, _ = tia.get_data_dtype_list(file, int(offsets[0]), kind)
    return header, np.dtype(fields + tia.get_data_tag_dtype_list(header["TagTypeID"])), offsets


def _ser_read(filename, record, offsets):
    return np.concatenate([np.fromfile(filename, record, count=1, offset=int(offset)) for offset in offsets])
