"""The data of a run: collected from a source, counted, looked at and prepared set by set."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from temlib import zenodo
from temlib.camera import Camera
from temlib.camera_fit import GRID
from temlib.checks import set_numbers
from temlib.errors import DownloadError, TemlibError
from temlib.fields import index_folder, load_set, write_fields
from temlib.paths import ROOT, load_npz, save_npz
from temlib.preprocess import hde_targets, prepare_pair

ZENODO_FOLDER = ROOT / "data" / "zenodo"


def collect(source, data_dir):
    """Index the authors' data or a folder, and write `fields.csv` into the data folder of a run.

    Parameters
    ----------
    source : str
        "zenodo", fetched first, or the path of a folder (a relative one begins at the project).
    data_dir : path

    Returns
    -------
    refusals : list of str
        A sentence for every file or set that cannot be used.

    Raises
    ------
    TemlibError
        If no set can be used.
    """
    data_dir = Path(data_dir)
    if source == "zenodo":
        source = ZENODO_FOLDER
        try:
            zenodo.fetch(ZENODO_FOLDER)
        except DownloadError as error:
            if not ZENODO_FOLDER.is_dir():
                raise
            print(f"{error} Going on with what lies in data/zenodo.")
    fields, refusals = index_folder(ROOT / Path(source).expanduser())
    if fields.empty:
        raise TemlibError(" ".join(refusals[:3]) or f"{source} holds no set of an HDE and LDE frames.")
    write_fields(fields, data_dir / "fields.csv")
    return refusals


def count_images(pairs):
    """Pairs and fields per material and part: the counts of Table 1.

    Parameters
    ----------
    pairs : pandas.DataFrame
        As `fields.read_fields` returns it.

    Returns
    -------
    pandas.DataFrame
        material, training_pairs, validation_pairs, training_fields, validation_fields.
    """
    words = {"train": "training", "val": "validation"}
    how = ["size", "nunique"]
    counts = pairs.pivot_table(index="material", columns="split", values="field", aggfunc=how, fill_value=0)
    counts.columns = [f"{words[split]}_{'pairs' if how == 'size' else 'fields'}" for how, split in counts.columns]
    columns = [f"{part}_{what}" for what in ("pairs", "fields") for part in words.values()]
    materials = pairs["material"].unique()
    return counts.reindex(index=materials, columns=columns, fill_value=0).rename_axis("material").reset_index()


def examples(pairs):
    """The first validation set of each material with its raw frames, for a sheet of frames."""
    found = []
    chosen = pairs[pairs["split"] == "val"] if (pairs["split"] == "val").any() else pairs
    for material, rows in chosen.groupby("material", sort=False):
        field, _, hde, (lde, *_) = next(usable_sets(rows), (None, None, None, [None]))
        if field is None:
            continue
        stored = isinstance(hde, dict)  # only the images of LDE size
        hde_image = hde["hde"] if stored else hde.image
        found.append(
            {
                "material": material,
                "field": field,
                "hde": hde_image,
                "hde_pixel_nm": (lde if stored else hde).square_pixel_nm,
                "hde_dose": hde_image.mean(),
                "hde_unit": "e-" if stored else hde.unit,
                "hde_exposure_s": None if stored else hde.exposure_s,
                "lde": lde.image,
                "lde_pixel_nm": lde.square_pixel_nm,
                "lde_dose": lde.image.mean(),
                "lde_unit": lde.unit,
                "lde_exposure_s": lde.exposure_s,
            }
        )
    return found


def usable_sets(pairs, report=print):
    """Read set after set; one that cannot be used is told and passed over.

    Yields
    ------
    field : str
    row : pandas.Series
        The field's first row of `pairs`.
    hde, ldes
        As `fields.load_set` returns them.
    """
    for field, rows in pairs.groupby("field", sort=False):
        try:
            hde, ldes = load_set(pairs, field)
        except TemlibError as error:
            report(f"left out: {error}")
            continue
        yield field, rows.iloc[0], hde, ldes


def numbers_of_sets(pairs, truth_csv):
    """`checks.set_numbers` of every set; the truth, where there is one, gives the particles."""
    truth = pd.read_csv(truth_csv, keep_default_na=False) if Path(truth_csv).is_file() else None
    rows = []
    for field, row, hde, (lde, *_) in usable_sets(pairs):
        particles = None
        if truth is not None:
            particles = truth[truth["field"] == field].copy()
            for axis in (
                "row",
                "col",
            ):  # the truth is told in the LDE frame; these are looked for in the HDE frame
                particles[f"{axis}_px"] += row[f"drift_{axis}_px"]
        numbers = set_numbers(
            *hde_targets(hde, lde.image.shape),
            lde.image,
            pixel_size_nm=lde.square_pixel_nm,
            exposure_s=lde.exposure_s,
            particles=particles,
        )
        if lde.unit != "e-":
            numbers = {name: value for name, value in numbers.items() if not name.startswith("LDE") or "zero" in name}
        if not isinstance(hde, dict) and hde.unit != "e-":
            numbers.pop("HDE background [e-/px]")
        rows.append({"field": field, "material": row["material"], **numbers})
    return pd.DataFrame(rows)


def repeated_exposures(pairs, most_fields):
    """Two LDE frames of each of some fields, in counts, for the fit of the camera.

    Fields are taken in turn from all materials. Empty where no field has two LDE frames of
    one size whose file states a gain and no offset, and whose counts the fit can hold.

    Returns
    -------
    sets : list of ndarray of shape (2, M, N)
    counts_per_e : float or None
    """
    by_turn = pairs.assign(turn=pairs.groupby(["material", "lde"]).ngroup())
    order = by_turn.groupby(["material", "field"], sort=False)["turn"].min().groupby("material").rank()
    sets, gain = [], None
    for _, field in order.sort_values(kind="stable").index:
        _, _, _, ldes = next(usable_sets(pairs[pairs["field"] == field], lambda sentence: None), (None, None, None, []))
        usable = len(ldes) >= 2 and ldes[0].counts_per_e and gain in (None, ldes[0].counts_per_e)
        if usable and ldes[0].origin_counts == 0 and (not sets or sets[0].shape[1:] == ldes[0].image.shape):
            counts = np.stack([lde.image * ldes[0].counts_per_e for lde in ldes[:2]])
            if np.percentile(counts, 99.9) < GRID[-1]:
                gain = ldes[0].counts_per_e
                sets.append(counts)
        if len(sets) == most_fields:
            break
    return sets, gain


def prepare(pairs, run_dir, camera: Camera, report=print):
    """Write `pairs/<field>.npz` of every set that has none yet, or one of other frames or numbers.

    Parameters
    ----------
    pairs : pandas.DataFrame
        As `fields.read_fields` returns it.
    run_dir : path
    camera : Camera
        Whose noise sets the bound on the drift.
    report : callable
        Takes a sentence for every set that is left out.

    Returns
    -------
    pandas.DataFrame
        One row a field: material, found drift, bound, aligned; and true drift and error where known.
    """
    run_dir = Path(run_dir)
    done = [
        name
        for name, rows in pairs.groupby("field", sort=False)
        if _is_made_from(run_dir / "pairs" / f"{name}.npz", rows)
    ]
    for name in set(pairs["field"]) - set(done):  # one that is refused now must not leave an older pair behind
        (run_dir / "pairs" / f"{name}.npz").unlink(missing_ok=True)
    for field, _, hde, ldes in usable_sets(pairs[~pairs["field"].isin(done)], report):
        lde_e = np.stack([lde.image for lde in ldes])
        in_electrons = all(lde.unit == "e-" for lde in ldes)
        if not in_electrons:
            report(f"{field}: its LDE frames are in counts, so their noise is unknown and drift is not looked for")
        arrays = prepare_pair(*hde_targets(hde, lde_e.shape[1:]), lde_e, camera if in_electrons else None)
        truth = run_dir / "data" / "truth" / f"{field}.npz"
        if truth.is_file():
            arrays |= load_npz(truth)
        arrays["pixel_size_nm"] = np.float64(ldes[0].square_pixel_nm or np.nan)
        arrays["made_from"] = _frames_of(pairs[pairs["field"] == field])
        save_npz(run_dir / "pairs" / f"{field}.npz", **arrays)
        done.append(field)
    firsts = pairs.drop_duplicates("field").set_index("field")
    rows = [
        _drift_row(field, row, load_npz(run_dir / "pairs" / f"{field}.npz"))
        for field, row in firsts.loc[[name for name in firsts.index if name in done]].iterrows()
    ]
    if not rows:
        raise TemlibError("No set could be prepared: the sentences above say why; mend the files or fields.csv.")
    return pd.DataFrame(rows)


def _is_made_from(file, rows):
    """Whether a prepared set is there, and is of these very frames and numbers."""
    return file.is_file() and load_npz(file).get("made_from") == _frames_of(rows)


def _frames_of(rows):
    """What tells the frames of a set, and what is said of them, from others."""
    frames = [Path(frame) for frame in (*rows["hde"], *rows["lde"])]
    stats = [(frame.stat().st_size, frame.stat().st_mtime_ns) for frame in frames]
    return np.array(hashlib.sha256(f"{rows.to_csv(index=False)}{stats}".encode()).hexdigest())


def _drift_row(field, row, pair):
    found, bound = pair["drift_px"], pair["drift_bound_px"].max()
    numbers = {
        "field": field,
        "material": row["material"],
        "found_row_px": found[0],
        "found_col_px": found[1],
        "found_px": np.hypot(*found),
        "bound_px": bound,
        "aligned": bool(pair["aligned"]),
    }
    if "drift_row_px" in row:
        error = np.abs(found - [row["drift_row_px"], row["drift_col_px"]]).max()
        numbers |= {
            "true_row_px": row["drift_row_px"],
            "true_col_px": row["drift_col_px"],
            "error_px": error,
            "within": bool(error <= (0.5 if bound <= 0.2 else 2.5 * bound)) if pair["aligned"] else None,
        }
    return numbers
