"""Files through a network: what `temlib denoise` does with each of its inputs.

Reading, network and writing run at the same time, each in a thread, a few images apart.
"""

import json
import math
from contextlib import ExitStack
from importlib import metadata

from temlib import preview as previews
from temlib.errors import TemlibError
from temlib.film import film_level
from temlib.inference import denoise_image
from temlib.inputs import DENOISED, stem_of
from temlib.movies import ahead, digest, open_movie, refuse_denoised
from temlib.networks import unlike_learnt
from temlib.paths import whole_file
from temlib.writers import WRITERS, whole

AHEAD_BYTES = 2**26  # of images that wait between two threads
SAMPLES = 7  # images that set the contrast of a preview
PACKAGES = ("temlib", "numpy", "openvino", "torch", "rosettasciio", "tifffile", "h5py", "zarr", "mrcfile")


def output_path(movie, folder, suffix=None):
    """Where the denoised file goes; without a suffix a tif for a frame, an hspy for a movie."""
    return folder / f"{stem_of(movie.path)}{DENOISED}.{suffix or ('hspy' if movie.shape[0] > 1 else 'tif')}"


def denoise_file(path, network, folder, *, suffix=None, preview=False, progress=None):
    """Denoise a file, or an in-situ folder.

    Parameters
    ----------
    path : path
    network : networks.Network
    folder : Path
        Receives <stem>_denoised.<suffix>, its provenance under this name and .json and, if asked for,
        its preview under this name and .mp4: whole or not at all. Those that were made from the same
        input are replaced.
    suffix : "tif", "hspy", "zspy" or "mrc", optional
    preview : bool
        Write an mp4 beside it.
    progress : callable, optional
        `progress(done, total)` after each image.

    Returns
    -------
    dict
        The provenance, as written beside the output.

    Raises
    ------
    TemlibError
        If the file is of no use or denoised already, the disk is full, or another file's output would
        be replaced.
    """
    movie = open_movie(path)
    refuse_denoised(movie)
    output = output_path(movie, folder, suffix)
    _refuse_to_replace(output, movie)
    marks = {
        "denoised_by": network.name,
        "card_sha256": network.card_sha256,
        "limits": network.card.get("limits"),
        "temlib": _version("temlib") or "unknown",
    }
    total, rows, columns = movie.shape
    count = min(max(AHEAD_BYTES // (4 * rows * columns), 1), 8)
    dose = 0.0

    def both():
        for raw in ahead(movie.read(), count):
            yield raw, denoise_image(raw, network)

    with ExitStack() as files:
        partial = files.enter_context(whole(output))
        add = None
        if preview:
            film = files.enter_context(whole_file(_beside(output, ".mp4")))
            spread = sorted({round(i * (total - 1) / (SAMPLES - 1)) for i in range(SAMPLES)})
            samples = [denoise_image(raw, network) for i in spread for raw in movie.read(i, i + 1)]
            add = files.enter_context(previews.film(film, movie, samples, model=network.name))

        def denoised():
            nonlocal dose
            for done, (raw, clean) in enumerate(ahead(both(), count), 1):
                dose += film_level(clean).item()  # clipping adds to the mean of a raw frame, specimen takes from it
                if add:
                    add(raw, clean, dose)
                yield clean
                if progress:
                    progress(done, total)

        WRITERS[output.suffix[1:]](partial, denoised(), movie, marks)
        record = _provenance(movie, output, network, marks, dose)
        with whole_file(_beside(output, ".json")) as record_file:  # first, as it says whose the output is
            record_file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not preview:  # that of an earlier run shows another output
        _beside(output, ".mp4").unlink(missing_ok=True)
    return record


def _beside(output, suffix):
    """What belongs to this output alone: a.tif and a.hspy may lie in one folder."""
    return output.with_name(output.name + suffix)


def _refuse_to_replace(output, movie):
    """Keep what another input became: replaced is only what was made from this one."""
    record = _beside(output, ".json")
    try:
        owner = json.loads(record.read_text(encoding="utf-8"))["input"]["path"]
    except FileNotFoundError:
        owner = "an unknown file" if output.exists() else None
    except (ValueError, TypeError, KeyError):
        owner = "an unknown file"
    if owner not in (None, str(movie.path.resolve())):
        raise TemlibError(
            f"{movie.path} would become {output.name}, which was made from {owner}: give another folder to -o, or "
            f"remove {output.name} and {record.name}."
        )


def _provenance(movie, output, network, marks, dose_e_per_px):
    """Who made the output from what, and what its format may have no place for."""
    about, frames = movie.about, movie.shape[0]
    electrons = about.unit == "e-"
    unlike = unlike_learnt(
        network.card,
        pixel_size_nm=about.pixel_size_nm and math.sqrt(math.prod(about.pixel_size_nm)),
        dose_e_per_px=dose_e_per_px / frames if electrons else None,
    )
    per_nm2 = electrons and about.pixel_size_nm and 1 / math.prod(about.pixel_size_nm)
    return {
        "output": output.name,
        "denoised": True,
        "input": {"path": str(movie.path.resolve()), "files": len(movie.files), "sha256": digest(movie)},
        "model": {
            "name": network.name,
            "card_sha256": marks["card_sha256"],
            "device": network.device,
            "precision": network.precision,
            "limits": marks["limits"],
            "learnt_from": network.card.get("learnt_from"),
        },
        "images": frames,
        "shape_px": movie.shape[1:],
        "unit": "electrons per pixel" if electrons else "counts",
        "pixel_size_nm": about.pixel_size_nm,
        "exposure_s": about.exposure_s,
        "interval_s": movie.interval_s,
        "title": about.title,
        "recorded_at": about.recorded_at and about.recorded_at.isoformat(),
        "dose_e_per_px_per_image": dose_e_per_px / frames if electrons else None,
        "dose_e_per_nm2_per_image": dose_e_per_px / frames * per_nm2 if per_nm2 else None,
        "cumulative_dose_e_per_nm2": dose_e_per_px * per_nm2 if per_nm2 else None,
        "notes": [*movie.notes, *unlike],
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
