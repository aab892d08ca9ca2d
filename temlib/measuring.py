"""Files to tables of particles: what `temlib measure` does with each of its inputs."""

import json
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from temlib import calibration, preview, standard_errors
from temlib.camera import ONEVIEW_BIN8, Camera
from temlib.errors import TemlibError
from temlib.film import film_level
from temlib.frame_noise import camera_of_frame, counts_electrons, gain_of_frame
from temlib.inference import denoise_image
from temlib.measure import COLUMNS, SIZES_PX, measure, measure_denoised
from temlib.movies import digest, marks_of, open_movie
from temlib.networks import unlike_learnt
from temlib.paths import whole_file
from temlib.provenance import versions
from temlib.tracks import Tracks
from temlib.writers import QUANTITY

BRIGHT, BRIGHT_SHARE = 1.3, 0.05  # films above which a bright-field frame has less than this share of its pixels
RAW = "raw"  # the method of the table of errors that fits raw frames
FINDER = "best"  # with which particles were found there
KEEP_S = 60.0  # between two times that what is measured of a movie is kept
_after = COLUMNS.index(standard_errors.ERROR) + 1
KEYS = ["image", "time_s", "particle"]
STATED = [*KEYS, *COLUMNS[:_after], standard_errors.ANY_SHAPE, *COLUMNS[_after:]]  # of a table, after file


def measure_file(path, network, *, name=None, each=map, overlay=None, progress=None, keep=None):
    """Measure the particles of a file, or of an in-situ folder.

    Parameters
    ----------
    path : path
        Raw, or denoised by temlib.
    network : networks.Network
        With which particles are found in raw images.
    name : path, optional
        How the file is called in the table, if not by its own name.
    each : callable
        `map`, or that of a pool of processes.
    overlay : Path, optional
        Name of pictures: receives <name>.png, of a movie a folder <name> of one picture an image.
    progress : callable, optional
        `progress(done, total)` after each image.
    keep : callable, optional
        Takes table and record of what is measured so far, every KEEP_S.

    Returns
    -------
    table : pandas.DataFrame
        A row a particle and image: file, image (from 0), time_s, particle (in a movie the same number in all images
        that show it, see `tracks.Tracks`), then the columns of `measure.measure` with those of
        `standard_errors.stated`, background in the file's unit. If it is interrupted, or something fails, of the images
        that are measured by then; an image that cannot be measured is left out of a movie.
    record : dict
        Where it comes from, for the provenance; its `notes` say what is to be known of it.

    Raises
    ------
    TemlibError
        If the file is of no use, none of its images can be measured, or its pixel size is not known or differs between
        rows and columns.
    """
    movie = open_movie(path)
    name = Path(name or movie.path.name)
    pixel_nm = _square_pixel_nm(movie)
    marks, total, tables = marks_of(movie), movie.shape[0], []
    electrons = movie.about.unit == "e-" or (marks or {}).get("intensity") == QUANTITY["e-"]
    measured, camera, notes = _how(network, marks, electrons, pixel_size_nm=pixel_nm, each=each)
    model = network.name if marks is None else marks.get("denoised_by", "unknown")
    tracks, pictures = Tracks(pixel_nm), overlay and _pictures(overlay, movie)
    interrupted, left_out, sha256, kept_s = False, {}, digest(movie), time.monotonic()

    def so_far():
        filled = [table for table in tables if len(table)] or [pd.DataFrame(columns=STATED)]
        table = pd.concat(filled, ignore_index=True)
        table.insert(0, "file", str(name))
        return table, {
            "path": str(movie.path.resolve()),
            "sha256": sha256,
            "images": total,
            "measured_images": len(tables),
            "interrupted": interrupted,
            "pixel_size_nm": pixel_nm,
            "sizes_nm": [size * pixel_nm for size in SIZES_PX],
            "unit": "e-" if electrons else movie.about.unit,
            "denoised_by": marks and marks.get("denoised_by"),
            "camera": camera,
            "notes": [note for note in movie.notes if not (electrons and calibration.STAY_COUNTS in note)]
            + notes
            + _of_images(left_out)
            + _without_errors(table, pixel_nm),
        }

    try:
        for number, image in enumerate(movie.read()):
            try:
                shown, table = measured(image)
            except TemlibError as error:
                if total == 1:
                    raise TemlibError(f"{name} cannot be measured. {error}") from error
                left_out.setdefault(str(error), []).append(number)
                continue
            table["particle"] = tracks.numbers(table) if total > 1 else np.arange(1, len(table) + 1)
            tables.append(table.assign(image=number, time_s=number * (movie.interval_s or np.nan))[STATED])
            if pictures:
                preview.overlay(pictures(number), shown, tables[-1], movie, number=number, model=model)
            if progress:
                progress(number + 1, total)
            if keep and time.monotonic() - kept_s > KEEP_S:
                keep(*so_far())
                kept_s = time.monotonic()
    except KeyboardInterrupt:
        interrupted = True
        notes.append(f"interrupted: {len(tables)} of {total} images are measured")
    except (TemlibError, OSError, MemoryError, RuntimeError) as error:
        if not tables:
            raise
        why = error if isinstance(error, TemlibError) else f"({type(error).__name__}: {error})"
        notes.append(f"{len(tables)} of {total} images are measured, as the rest cannot be. {why}")
    if not tables and not interrupted:
        raise TemlibError(f"None of the {total} images of {name} can be measured. {next(iter(left_out))}")
    return so_far()


def _of_images(left_out):
    """What is said of the images that are left out: numbers of images by the reason."""
    said = []
    for reason, images in left_out.items():
        first = f"image {images[0]}"
        are = f"{first} is" if len(images) == 1 else f"{len(images)} images, the first of them {images[0]}, are"
        said.append(f"{are} left out. {reason}")
    return said


def _without_errors(table, pixel_nm):
    """What is said of particles whose standard errors are not told."""
    said, largest_nm, most = [], SIZES_PX[1] * pixel_nm, standard_errors.MOST_MISFIT
    if large := int((table["diameter_nm"] > largest_nm).sum()):
        said.append(f"{large} of what was found are larger than {largest_nm:.3g} nm: without errors; bin the frame")
    if poor := int((table["misfit"] > most).sum()):
        said.append(f"spheres do not describe {poor} of what was found (misfit above {most:g}): without errors")
    return said


def _pictures(name, movie):
    """Where the picture of each image goes; what an earlier run drew there of a movie is cleared away."""
    if movie.shape[0] == 1:
        return lambda number: name.with_name(f"{name.name}.png")
    for old in name.glob("[0-9][0-9][0-9][0-9][0-9][0-9].png"):
        old.unlink()
    return lambda number: name / f"{number:06d}.png"


def _square_pixel_nm(movie):
    """Edge of a pixel [nm], without which there is no diameter."""
    if movie.about.pixel_size_nm is None:
        raise TemlibError(
            f"{movie.path.name} has no pixel size that can be believed: diameters need one, so export it again with "
            "its calibration."
        )
    if movie.about.square_pixel_nm is None:
        rows_nm, cols_nm = movie.about.pixel_size_nm
        raise TemlibError(
            f"{movie.path.name} has pixels of {rows_nm:.4g} nm in rows by {cols_nm:.4g} nm in columns: diameters need "
            "square ones, so scale the image or correct its calibration."
        )
    return movie.about.square_pixel_nm


def _how(network, marks, electrons, **options):
    """How images are measured, by the marks of what denoised them (see `movies.marks_of`).

    Returns
    -------
    measured : callable
        From an image to what is shown of it, and its table.
    camera : dict
        What was found of the camera; filled with the first image.
    notes : list of str
        The same.
    """
    camera, notes, pixel_nm = {}, [], options["pixel_size_nm"]
    known_cards = pd.read_csv(standard_errors.FILE).set_index("method")["card_sha256"]
    if marks is not None:
        known, card = ONEVIEW_BIN8 if electrons else None, marks.get("card_sha256")
        said = "it is denoised: its errors are those that its network's outputs had in simulation, d' that of a OneView"
        if not electrons:
            said = "it is denoised and in counts, so it tells no errors: measure the raw frame"
        elif card not in known_cards.to_numpy():
            said = "it is denoised by a network whose errors are not known: measure the raw frame"
        notes.append(said)

        def as_shown(image):
            table = measure_denoised(image, camera=known, **options)
            return [image], with_stated_errors(table, card, pixel_size_nm=pixel_nm)

        return as_shown, camera, notes
    if network.card_sha256 not in known_cards.get([FINDER]).to_numpy():
        notes.append(f"its particles are found by {network.name}: the errors of raw fits were found out with {FINDER}")

    def measured(image):
        denoised = denoise_image(image, network)
        if not camera:
            found, said = camera_and_unit(image, denoised, electrons)
            camera.update(found)
            dose = film_level(np.asarray(denoised, np.float32)).item() / found["unit_per_e"]
            notes.extend(said + unlike_learnt(network.card, pixel_size_nm=pixel_nm, dose_e_per_px=dose))
        per_e, known = camera["unit_per_e"], Camera(**camera["fitted"])
        how = {"camera": known, "clipped": camera["clipped"], **options}
        table = measure(image / per_e, denoised / per_e, **how)
        table = table.assign(background=table["background"] * per_e)
        return [image, denoised], with_stated_errors(table, RAW, pixel_size_nm=pixel_nm)

    return measured, camera, notes


def camera_and_unit(raw, denoised, electrons):
    """What took a frame.

    Parameters
    ----------
    raw, denoised : ndarray of shape (M, N)
    electrons : bool
        Whether the unit is electrons; it may be even if nobody says so.

    Returns
    -------
    camera : dict
        unit_per_e (of the frame's unit in an electron), fitted (fields of the Camera), and clipped (whether it cut at
        zero).
    notes : list of str
        What is to be known.

    Raises
    ------
    TemlibError
        If the film is not seen, or its noise is not that of electrons.
    """
    notes = []
    if np.mean(denoised > BRIGHT * film_level(np.asarray(denoised, np.float32)).item()) > BRIGHT_SHARE:
        notes.append("much of it is brighter than its film: of a dark-field frame nothing is found")
    per_e, counted = 1.0, electrons or counts_electrons(raw, denoised)
    camera, clipped = camera_of_frame(raw, denoised) if counted else (None, False)
    if camera is None:
        per_e = gain_of_frame(raw, denoised)
        why = "it has less noise than its electrons would make" if electrons else "its unit is counts"
        notes.append(f"{why}, so {per_e:.3g} of its unit are taken for an electron, as the noise implies")
        camera, clipped = camera_of_frame(raw / per_e, denoised / per_e)
    if camera is None:
        raise TemlibError(
            "Its noise is none that electrons make, whatever a count is: was it filtered, or averaged? A raw frame is "
            "needed."
        )
    fitted = {name: float(value) for name, value in asdict(camera).items()}
    fitted["segment_width_px"] = camera.segment_width_px
    return {"unit_per_e": per_e, "fitted": fitted, "clipped": clipped}, notes


def with_stated_errors(table, fitted_to, *, pixel_size_nm):
    """Standard errors as they proved in simulation (see `standard_errors.stated`).

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure`.
    fitted_to : str or None
        RAW, or the card_sha256 of the network whose output was fitted; None where that is not known.
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        With NaN for the errors of a network that was not tried, and of what is larger than anything that was tried.
    """
    known = pd.read_csv(standard_errors.FILE)
    known = known[known["method" if fitted_to == RAW else "card_sha256"] == fitted_to]
    larger = max(1.0, pixel_size_nm / standard_errors.FILE_PIXEL_NM)  # fringes are so many nm, what networks do, pixels
    table = standard_errors.stated(table, known.assign(floor_nm=known["floor_nm"] * larger))
    errors = [standard_errors.ERROR, standard_errors.ANY_SHAPE]
    table[errors] = table[errors].where(table["diameter_nm"] <= SIZES_PX[1] * pixel_size_nm)
    return table


def workers(number=None):
    """A pool of processes in which particles are fitted, by default one a processor, of one thread each."""
    return ProcessPoolExecutor(number or os.cpu_count(), initializer=_begin)


def _begin():
    """A worker: Ctrl-C is not for it, and its linear algebra leaves the other processors to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)


def write_table(path, tables, records, network):
    """The particles of all inputs as csv, and under this name and .json where they come from."""
    with whole_file(path.with_name(f"{path.name}.json")) as partial:
        about = {
            "particles_found_by": {"name": network.name, "card_sha256": network.card_sha256},
            "inputs": records,
            "versions": versions(),
        }
        partial.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole_file(path) as partial:
        table = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
        time_s = table["time_s"].map("{:.9g}".format, na_action="ignore")  # of images that are 3 ms apart, after hours
        table.assign(time_s=time_s).to_csv(partial, index=False, float_format="%.6g")
