"""Write simulated data as a microscope records it: sets of one HDE and two LDE frames.

Joins the phantom to the camera and puts the result on disk: Gatan TIFFs, `fields.csv`,
`truth.csv`, and the noise-free transmission of every field.
"""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from temlib import phantom
from temlib.camera import FULL_SCALE_COUNTS, ONEVIEW_BIN8, expose, expose_long, fixed_pattern, to_counts
from temlib.errors import ProfileError
from temlib.frames import write_gatan_tiff
from temlib.paths import rounded, save_npz, whole_file
from temlib.preprocess import bin_area, resize_as_authors

HDE_EXPOSURE_S = 5.0
LDE_EXPOSURE_S = 0.00331
HDE_DOSE_E_PER_PX = (1000.0, 1200.0)  # native HDE pixel, as the paper states it
LDE_DOSE_E_PER_PX = (4.1, 4.7)  # as the real LDE frames read
BACKGROUND_ON_MIN_MAX = (0.66, 0.79)  # where the HDE background lies (paper 0.7-0.8, real panels 0.70)
PLANTED_FIELD = "silicate_val_000"


def field_rng(seed, name, purpose):
    """Generator that depends on nothing but its arguments, so that fields may be made in any order."""
    digest = hashlib.sha256(f"{seed}/{name}/{purpose}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], np.uint32))


def illumination(shape, rng):
    """Smooth beam profile, mean 1, varying by about 5 % over the frame; (M, N)."""
    row, col = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in shape)
    tilt_row, tilt_col = rng.normal(0, 0.02, 2)
    bow = rng.uniform(0, 0.06)
    beam = 1 + tilt_row * row[:, None] + tilt_col * col[None, :] - bow * (row[:, None] ** 2 + col[None, :] ** 2)
    return (beam / beam.mean()).astype(np.float32)


def make_field(folder, name, *, seed, size_px, binning, pixel_size_nm, max_drift_px, keep_hde):
    """Simulate one set and write its frames.

    Parameters
    ----------
    folder : path
        The data folder of a run.
    name : str
        `<material>_<split>_<number>`.
    seed : int
    size_px : int
        Edge of the LDE frames [px]; the HDE frame is `binning` times larger.
    binning : int
    pixel_size_nm : float
        Edge of an LDE pixel on the specimen [nm].
    max_drift_px : float
        The HDE frame is displaced by up to this much [LDE px], in steps of one HDE pixel.
    keep_hde : bool
        Write the HDE frame; otherwise only what is made of it, the two images of LDE size.

    Returns
    -------
    rows : list of dict
        One row of `fields.csv` for each LDE frame.
    truth : pandas.DataFrame
        Rows of `truth.csv`.
    """
    material, split, _ = name.split("_")
    rng = field_rng(seed, name, "specimen")
    draw = phantom.planted_specimen if name == PLANTED_FIELD else partial(phantom.draw_specimen, material)
    particles = draw(size_px=size_px, pixel_size_nm=pixel_size_nm, rng=rng)
    truth = phantom.truth_table(name, particles)

    step_nm = pixel_size_nm / binning
    margin_px = int(np.ceil(max_drift_px))
    grid = {
        "size_px": size_px,
        "pixel_size_nm": pixel_size_nm,
        "oversampling": binning,
        "margin_px": margin_px,
    }
    wide = phantom.transmission(
        phantom.draw_depth(particles, **grid),
        step_nm=step_nm,
        **phantom.draw_fringes(rng),
        rng=rng,
    )
    drift = rng.uniform(-1, 1, 2) * max_drift_px / np.sqrt(2)
    drift_fine = np.rint(drift * binning).astype(int)  # whole HDE pixels: known without interpolation
    fine_edge, start = size_px * binning, margin_px * binning
    at_lde = wide[start : start + fine_edge, start : start + fine_edge]
    row, col = start - drift_fine
    at_hde = wide[row : row + fine_edge, col : col + fine_edge]

    rng = field_rng(seed, name, "exposure")
    hde_dose = rng.uniform(*HDE_DOSE_E_PER_PX)
    hde = _hde_counts(at_hde, hde_dose, binning, rng)
    lde_dose = rng.uniform(*LDE_DOSE_E_PER_PX)
    beam = illumination((size_px, size_px), rng)
    transmission = bin_area(at_lde, binning)
    pattern = fixed_pattern((size_px, size_px), ONEVIEW_BIN8, field_rng(seed, "camera", "pattern"))

    place = Path(split) / material
    hde_file = place / f"{name}_0000.{'tif' if keep_hde else 'npz'}"
    lde_files = [place / f"{name}_{i:04d}.tif" for i in (1, 2)]
    tiff = {"counts_per_e": ONEVIEW_BIN8.counts_per_e}
    if keep_hde:
        write_gatan_tiff(folder / hde_file, hde, pixel_size_nm=step_nm, exposure_s=HDE_EXPOSURE_S, title=name, **tiff)
    else:
        electrons = hde / np.float32(ONEVIEW_BIN8.counts_per_e)
        save_npz(
            folder / hde_file,
            hde=rounded(bin_area(electrons, binning), hde_dose),
            hde_faithful=rounded(resize_as_authors(electrons, (size_px, size_px)), hde_dose),
        )
    for lde_file in lde_files:
        counts = expose(
            transmission * beam, dose_e_per_px=lde_dose, camera=ONEVIEW_BIN8, rng=rng, fixed_pattern=pattern
        )
        write_gatan_tiff(
            folder / lde_file,
            counts,
            pixel_size_nm=pixel_size_nm,
            exposure_s=LDE_EXPOSURE_S,
            title=name,
            **tiff,
        )
    save_npz(folder / "truth" / f"{name}.npz", transmission=rounded(transmission, 1.0))
    rows = [
        {
            "field": name,
            "material": material,
            "split": split,
            "hde": hde_file.as_posix(),
            "lde": lde_file.as_posix(),
            "exposure_s": LDE_EXPOSURE_S,
            "dose_e_per_px": lde_dose,
            "pixel_size_nm": pixel_size_nm,
            "hde_dose_e_per_px": hde_dose,
            "drift_row_px": drift_fine[0] / binning,
            "drift_col_px": drift_fine[1] / binning,
        }
        for lde_file in lde_files
    ]
    return rows, truth


def _hde_counts(transmission, dose, binning, rng):
    """The HDE frame with its bright outliers; uint16.

    Real HDE frames hold bright pixels (X-ray hits, hot pixels) that set the maximum: on the
    scale from minimum to maximum their background lies near 0.7, where noise alone would put
    it at 0.9. So the brightest hit is as high as it takes to bring the background there, and
    the others are lower.
    """
    beam = illumination(transmission.shape, rng)
    counts = expose_long(transmission * beam, dose_e_per_px=dose, camera=ONEVIEW_BIN8, binning=binning, rng=rng)
    seen = resize_as_authors(counts, tuple(n // binning for n in counts.shape))
    background = dose * ONEVIEW_BIN8.counts_per_e
    top = seen.min() + (background - seen.min()) / rng.uniform(*BACKGROUND_ON_MIN_MAX)
    n_hits = 1 + rng.poisson(counts.size / 4e5)
    heights = np.r_[1.0, rng.uniform(0.2, 0.9, n_hits - 1)] * (top - background)
    for height, place in zip(heights, rng.uniform(0.02, 0.98, (n_hits, 2)), strict=True):
        # on the middle of an LDE pixel, where the authors' resize looks
        row, col = ((place * seen.shape).astype(int) + 0.5) * binning
        square = np.s_[int(row) - 1 : int(row) + 1, int(col) - 1 : int(col) + 1]
        counts[square] = np.maximum(counts[square], background + height)
    return to_counts(np.minimum(counts, FULL_SCALE_COUNTS))


def field_names(train_fields, validation_fields):
    """Names of all fields, from the number of fields per material in either part."""
    return [
        f"{material}_{split}_{i:03d}"
        for split, numbers in (("train", train_fields), ("val", validation_fields))
        for material, number in numbers.items()
        for i in range(number)
    ]


def _keep_to(file, options):
    """Note what a folder is simulated with, and refuse to go on with anything else."""
    told = json.dumps(options, indent=2, sort_keys=True)
    if file.is_file() and file.read_text() != told:
        raise ProfileError(
            f"{file.parent} holds frames simulated with other options ({file.name}): take an empty folder."
        )
    with whole_file(file) as partial_file:
        partial_file.write_text(told)


def simulate(folder, *, train_fields, validation_fields, hde_frames_kept, report=print, **field_options):
    """Write a whole simulated data set, going on from what a cut-off run left.

    Parameters
    ----------
    folder : path
        Receives `fields.csv`, `truth.csv`, and frames in `<split>/<material>/`.
    train_fields, validation_fields : dict
        Number of fields per material.
    hde_frames_kept : int
        HDE frames written per material and part; of later fields only the images of LDE size.
    report : callable
        Takes one line of progress.
    **field_options
        As for `make_field`.

    Raises
    ------
    ProfileError
        If the planted particles do not fit into the field, a material is unknown, or the folder
        was simulated with other options.
    """
    folder = Path(folder)
    width_nm = field_options["size_px"] * field_options["pixel_size_nm"]
    if width_nm < phantom.PLANTED_FIELD_NM:
        raise ProfileError(
            f"A field of {field_options['size_px']} px of {field_options['pixel_size_nm']:g} nm is {width_nm:.0f} nm "
            f"wide: the particles that the paper measures need {phantom.PLANTED_FIELD_NM:.0f} nm. "
            "Take more pixels, or larger ones."
        )
    unknown = sorted({*train_fields, *validation_fields} - phantom.MATERIALS.keys())
    if unknown:
        raise ProfileError(f"There is no material {', '.join(unknown)}: choose from {', '.join(phantom.MATERIALS)}.")
    _keep_to(
        folder / "simulation.json",
        field_options | {"train": train_fields, "validation": validation_fields, "hde_frames_kept": hde_frames_kept},
    )
    if (folder / "fields.csv").is_file():
        return
    names = field_names(train_fields, validation_fields)
    for done, name in enumerate(names, 1):
        part = folder / "parts" / f"{name}.csv"
        if part.is_file():
            continue
        rows, truth = make_field(folder, name, keep_hde=int(name[-3:]) < hde_frames_kept, **field_options)
        with whole_file(part.with_suffix(".truth.csv")) as partial_file:
            truth.to_csv(partial_file, index=False)
        with whole_file(part) as partial_file:
            pd.DataFrame(rows).to_csv(partial_file, index=False)
        report(f"simulated {done}/{len(names)} {name}")
    for target, suffix in (("truth.csv", ".truth.csv"), ("fields.csv", ".csv")):
        tables = [pd.read_csv(folder / "parts" / f"{name}{suffix}", keep_default_na=False) for name in names]
        with whole_file(folder / target) as partial_file:
            pd.concat(tables, ignore_index=True).to_csv(partial_file, index=False)
