"""Frames through a shipped network: any size, tiled where they are large.

Arrays in, arrays out, and no torch: `networks` knows what computes, `movies` has the files.
`denoise` is `temlib.denoise`.
"""

import functools
import hashlib
import threading
from itertools import product
from pathlib import Path

import numpy as np

from temlib import calibration, film, networks
from temlib.film import film_level, film_scale

TILE_PX = 1536  # edge of what a network is given of a larger frame; with it 8192 x 8192 pixels take below 4 GB


def denoise_image(image, network):
    """One frame, denoised.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Counts or electrons as recorded: not scaled, not clipped; any M and N.
    network : networks.Network

    Returns
    -------
    ndarray of float32, shape (M, N)
        Expected intensity without noise and under even light, in the unit of `image`.

    Notes
    -----
    A network evens out the light, and with it part of what the level is wrong by; so in the end the film is made as
    bright as the frame's.

    Every tile is divided by the level of the whole frame, and tiles overlap by the network's
    reach, `card["halo_px"]`; so the result is that of the frame in one piece, without seams. All
    tiles of a frame have one shape, as a runtime keeps memory for every shape that it is given.
    """
    rows, cols = image.shape
    frame = np.array(image, np.float32)
    level = film_level(frame)
    stride, halo = network.card["stride_px"], network.card["halo_px"]
    frame *= 1 / level
    relative = frame
    if any(n % stride for n in frame.shape):
        frame = np.pad(frame, [(0, -n % stride) for n in frame.shape], mode="symmetric")
    if max(frame.shape) <= TILE_PX:
        output = network.run(frame[None, None])[0, 0]
    else:
        output = np.empty_like(frame)
        for tile in product(*(_spans(n, min(n, TILE_PX), halo) for n in frame.shape)):
            given, kept, place = zip(*tile, strict=True)
            output[place] = network.run(frame[given][None, None])[0, 0][kept]
    output = output[:rows, :cols]
    output *= level * film_scale(relative, output)
    return output


def fingerprint(network):
    """What tells a network's outputs from those of another network, precision, or version of this code."""
    code = b"".join(Path(file).read_bytes() for file in (__file__, film.__file__))
    return f"{network.card_sha256} {network.precision} {hashlib.sha256(code).hexdigest()}"


def _spans(size, tile, halo):
    """(what a tile is given, which part of its result is kept, where that goes) along one axis."""
    step = size if tile == size else tile - 2 * halo
    for start in range(0, size, step):
        first = min(max(start - halo, 0), size - tile)
        end = min(start + step, size)
        yield slice(first, first + tile), slice(start - first, end - first), slice(start, end)


def denoise(data, model="best"):
    """Frames, a movie, or a HyperSpy signal, denoised.

    Parameters
    ----------
    data : ndarray or dask array of shape (M, N) or (T, M, N), or a HyperSpy Signal2D
        Counts or electrons as recorded, not scaled and not clipped: any integer or float type.
    model : "best", "fast", or path of a card
        On a cluster every worker loads it by this name, from its own disk.

    Returns
    -------
    ndarray, dask array or signal of float32
        Of the same kind and shape, in the unit of `data`; axes and metadata of a signal are kept,
        `metadata.Denoised` names the network, and what is lazy stays lazy.

    Raises
    ------
    TypeError
        If `data` is none of these.
    ValueError
        If it holds no frames: a spectrum, colours, complex numbers, NaN or infinite pixels (of lazy
        data: when they are computed).
    ModelFileError
        If there is no such network.
    """
    if hasattr(data, "axes_manager"):
        return _denoise_signal(data, str(model))
    if not (isinstance(data, np.ndarray) or hasattr(data, "map_blocks")):
        raise TypeError(
            f"temlib.denoise got {type(data).__name__}: a NumPy array, a dask array or a HyperSpy signal is needed. "
            "Read a file with `temlib denoise FILE -o DIR` or with hyperspy.api.load."
        )
    _check(data.shape, data.dtype)
    _network(str(model))  # what is wrong with the card is told here, not by a worker
    if isinstance(data, np.ndarray):
        return _denoise_block(data, str(model))
    whole_frames = data.rechunk({data.ndim - 2: -1, data.ndim - 1: -1})
    return whole_frames.map_blocks(
        _denoise_block, str(model), dtype=np.float32, meta=np.empty((0,) * data.ndim, np.float32)
    )


def _denoise_signal(signal, model):
    axes = signal.axes_manager.signal_axes
    if len(axes) != 2:
        raise ValueError(
            f"temlib.denoise got a signal of dimension {len(axes)} ({signal.__class__.__name__}): images are needed. "
            "Give a Signal2D, with signal.transpose(signal_axes=2) where the image axes are navigated."
        )
    if reciprocal := [str(axis.units) for axis in axes if calibration.is_reciprocal(axis.units)]:
        raise ValueError(
            f"temlib.denoise got a diffraction pattern (axes in {reciprocal[0]}): images are needed. "
            "The networks know no diffraction patterns."
        )
    data = signal.data
    frames = data.reshape(-1, *data.shape[-2:]) if data.ndim > 3 else data
    result = signal._deepcopy_with_new_data(denoise(frames, model).reshape(data.shape))
    result.metadata.set_item("Denoised.denoised_by", model)
    result.metadata.set_item("Denoised.card_sha256", _network(model)[0].card_sha256)
    return result


def _check(shape, dtype):
    """Refuse what holds no frames."""
    needed = "one frame (M, N) or a movie (T, M, N) of real numbers is needed."
    if dtype.names or (len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4):
        raise ValueError(f"temlib.denoise got a colour image ({dtype}, shape {shape}): {needed} Take one channel.")
    if dtype.kind not in "uif":
        what_to_do = "Take their abs()." if dtype.kind == "c" else "Convert them with astype(float)."
        raise ValueError(f"temlib.denoise got numbers of type {dtype}: {needed} {what_to_do}")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"temlib.denoise got an array of shape {shape}: {needed} Reshape or index it.")


def _network(model):
    """One a process: a network is loaded where it runs, and never sent; again where its card was replaced."""
    card_file = networks.card_path(model).resolve()
    return _loaded(model, card_file, card_file.stat().st_mtime_ns if card_file.is_file() else None)


@functools.lru_cache(maxsize=2)
def _loaded(model, card_file, written_ns):
    return networks.load(model), threading.Lock()


def _denoise_block(frames, model):
    """(M, N) or (T, M, N) of whole frames; one at a time, as a network has one set of buffers."""
    network, free = _network(model)
    output = np.empty(frames.shape, np.float32)
    for number in np.ndindex(frames.shape[:-2]):
        if not np.isfinite(frames[number]).all():
            where = f" in frame {number[0]}" if number else ""
            raise ValueError(
                f"temlib.denoise got pixels that are NaN or infinite{where}: finite intensities are needed. "
                "Replace or crop these pixels."
            )
        with free:
            output[number] = denoise_image(frames[number], network)
    return output
