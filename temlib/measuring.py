"""Files to tables of particles: what `temlib measure` does with each of its inputs."""

import json
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from temlib import preview
from temlib.camera import ONEVIEW_BIN8, Camera
from temlib.errors import TemlibError
from temlib.frame_noise import camera_of_frame, counts_electrons, gain_of_frame
from temlib.inference import denoise_image
from temlib.inputs import stem_of
from temlib.measure import COLUMNS, measure, measure_denoised, seen
from temlib.movies import digest, marks_of, open_movie
from temlib.paths import whole_file
from temlib.provenance import versions

FARTHEST_DIAMETERS = 0.5  # that a particle moves from one image to the next, of the median diameter
LOST_IMAGES = 3  # in which a particle may be missing
ERRORS = Path(__file__).parent / "weights" / "diameter_errors.csv"  # the study's 09_calibration
RAW = "raw"  # the method of the table of errors that fits raw frames
KEYS = ["image", "time_s", "particle"]


def measure_file(path, network, *, each=map, overlay=None, progress=None):
    """Measure the particles of a file, or of an in-situ folder.

    Parameters
    ----------
    path : path
        Raw, or denoised by temlib.
    network : networks.Network
        With which particles are found in raw images.
    each : callable
        `map`, or that of a pool of processes.
    overlay : Path, optional
        A folder that receives <stem>_overlay.png, of a movie a folder <stem>_overlay of one picture an image.
    progress : callable, optional
        `progress(done, total)` after each image.

    Returns
    -------
    table : pandas.DataFrame
        A row a particle and image: file, image (from 0), time_s, particle (the same number in all images of a
        movie), then the columns of `measure.measure`, background in the file's unit. If it is interrupted, of the
        images that are measured by then.
    record : dict
        Where it comes from, for the provenance; its `notes` say what is to be known of it.

    Raises
    ------
    TemlibError
        If the file is of no use, or its pixel size is not known or differs between rows and columns.
    """
    movie = open_movie(path)
    pixel_nm = _square_pixel_nm(movie)
    measured, camera, notes = _how(movie, network, pixel_nm, each)
    marks, total, tables = marks_of(movie), movie.shape[0], []
    model = network.name if marks is None else marks.get("denoised_by", "unknown")
    try:
        for number, image in enumerate(movie.read()):
            shown, table = measured(image)
            places = {"image": number, "time_s": number * (movie.interval_s or np.nan)}
            tables.append(table.assign(**places, particle=np.arange(1, len(table) + 1))[[*KEYS, *COLUMNS]])
            if overlay:
                name = f"{stem_of(movie.path)}_overlay"
                file = overlay / name / f"{number:06d}.png" if total > 1 else overlay / f"{name}.png"
                preview.overlay(file, shown, tables[-1], movie, model=model)
            if progress:
                progress(number + 1, total)
    except KeyboardInterrupt:
        notes.append(f"interrupted: {len(tables)} of {total} images are measured")
    filled = [table for table in tables if len(table)] or [pd.DataFrame(columns=[*KEYS, *COLUMNS])]
    table = pd.concat(filled, ignore_index=True)
    if total > 1:
        table = linked(table, pixel_size_nm=pixel_nm)
    table.insert(0, "file", movie.path.name)
    return table, {
        "path": str(movie.path.resolve()),
        "sha256": digest(movie),
        "images": total,
        "measured_images": len(tables),
        "pixel_size_nm": pixel_nm,
        "unit": movie.about.unit,
        "denoised_by": marks and marks.get("denoised_by"),
        "camera": camera,
        "notes": [*movie.notes, *notes],
    }


def _square_pixel_nm(movie):
    """Edge of a pixel [nm], without which there is no diameter."""
    if movie.about.pixel_size_nm is None:
        raise TemlibError(
            f"{movie.path.name} has no pixel size that can be believed: diameters need one. Export it again with its "
            "calibration."
        )
    if movie.about.square_pixel_nm is None:
        rows_nm, cols_nm = movie.about.pixel_size_nm
        raise TemlibError(
            f"{movie.path.name} has pixels of {rows_nm:.4g} nm in rows by {cols_nm:.4g} nm in columns: diameters need "
            "square ones. Scale the image, or correct its calibration."
        )
    return movie.about.square_pixel_nm


def _how(movie, network, pixel_nm, each):
    """How a movie is measured.

    Returns
    -------
    measured : callable
        From an image to what is shown of it, and its table.
    camera : dict
        What was found of the camera; filled with the first image.
    notes : list of str
        The same.
    """
    camera, notes, electrons = {}, [], movie.about.unit == "e-"
    options = {"pixel_size_nm": pixel_nm, "each": each}
    if (marks := marks_of(movie)) is not None:
        known, card = ONEVIEW_BIN8 if electrons else None, marks.get("card_sha256")
        said = "it is denoised: its errors are those that its network's outputs had in simulation, d' that of a OneView"
        if not electrons:
            said = "it is denoised and in counts, so it tells no errors: measure the raw frame"
        elif card not in pd.read_csv(ERRORS)["card_sha256"].to_numpy():
            said = "it is denoised by a network whose errors are not known: measure the raw frame"
        notes.append(said)

        def as_shown(image):
            table = measure_denoised(image, camera=known, **options)
            return [image], with_stated_errors(table, card)

        return as_shown, camera, notes

    def measured(image):
        denoised = denoise_image(image, network)
        if not camera:
            try:
                camera.update(_camera(image, denoised, electrons, notes))
            except TemlibError as error:
                raise TemlibError(f"{movie.path.name} cannot be measured. {error}") from error
        per_e, known = camera["unit_per_e"], Camera(**camera["fitted"])
        how = {"camera": known, "clipped": camera["clipped"], **options}
        table = measure(image / per_e, denoised / per_e, **how)
        return [image, denoised], with_stated_errors(table.assign(background=table["background"] * per_e))

    return measured, camera, notes


def _camera(raw, denoised, electrons, notes):
    """Of the file's unit in an electron, the camera, and whether it cut at zero."""
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
    return {"unit_per_e": per_e, "fitted": fitted | {"segment_width_px": camera.segment_width_px}, "clipped": clipped}


def with_stated_errors(table, card_sha256=None):
    """Standard errors as they proved in simulation: those of the fits, times what their 90 % intervals lack.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure`.
    card_sha256 : str, optional
        Of the network whose output was fitted; none for raw frames.

    Returns
    -------
    pandas.DataFrame
        With NaN for the errors of a network that was not tried.
    """
    known = pd.read_csv(ERRORS)
    chosen = known["method"] == RAW if card_sha256 is None else known["card_sha256"] == card_sha256
    known = known[chosen].sort_values("least_d_prime")
    if known.empty:
        return table.assign(diameter_error_nm=np.nan)
    place = np.searchsorted(known["least_d_prime"], seen(table).astype(float), side="right") - 1
    factor = known["factor"].to_numpy()[np.clip(place, 0, None)]
    return table.assign(diameter_error_nm=table["diameter_error_nm"] * factor)


def linked(table, *, pixel_size_nm):
    """The table with `particle` counted through: particles of neighbouring images that are the same have one number.

    Those that are not significant are left apart (0). By trackpy, whose method is that of Crocker and Grier (1996).
    """
    import trackpy

    trackpy.quiet()
    table = table.assign(particle=0)
    sure = table[table["significant"].astype(bool)]
    if sure.empty:
        return table
    farthest_px = FARTHEST_DIAMETERS * sure["diameter_nm"].median() / pixel_size_nm
    tracks = trackpy.link(
        sure, farthest_px, pos_columns=["row_px", "col_px"], t_column="image", memory=LOST_IMAGES, adaptive_stop=1.0
    )
    table.loc[tracks.index, "particle"] = tracks["particle"] + 1
    return table


def workers():
    """A pool of processes in which particles are fitted, one a processor; Ctrl-C is not for them."""
    return ProcessPoolExecutor(os.cpu_count(), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


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
        filled = [table for table in tables if len(table)] or tables[:1]
        pd.concat(filled, ignore_index=True).to_csv(partial, index=False, float_format="%.5g")
