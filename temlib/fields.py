"""Fields of view: the table of sets, read from fields.csv or made by looking through a folder."""

import logging
import math
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from temlib.discover import find_sets, look, read_single, stored_targets
from temlib.errors import PairMismatchError, TemlibError
from temlib.pairing import check_sizes
from temlib.paths import whole_file

log = logging.getLogger(__name__)

NAMES = ["field", "material", "split", "hde", "lde"]
NUMBERS = ["exposure_s", "dose_e_per_px", "pixel_size_nm"]
UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|^$')  # in the name of a file, which a field becomes


def read_fields(path):
    """The table of a `fields.csv`, checked.

    Parameters
    ----------
    path : path
        One row a pair: field, material, split, hde, lde, and where known exposure_s,
        dose_e_per_px, pixel_size_nm; `hde` and `lde` relative to this file.

    Returns
    -------
    pandas.DataFrame
        As in the file, with `hde` and `lde` as absolute paths and NaN where a number is unknown.

    Raises
    ------
    TemlibError
        If a column or a file is missing, a number is none, a pair is listed twice, or one field
        has two splits, materials or HDE frames.
    """
    fields = _parse(Path(path))
    for file in pd.unique(fields[["hde", "lde"]].to_numpy().ravel()):
        if not Path(file).exists():
            raise TemlibError(f"{path} lists {file}, which does not exist: put it there, or remove its row.")
    return fields


def _parse(path):
    try:
        fields = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError as error:
        raise TemlibError(f"{path} is missing: run notebook 01, or `temlib index` on your folder.") from error
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise TemlibError(f"{path} is no table ({error}): write it as comma-separated text.") from error
    if missing := [name for name in NAMES if name not in fields]:
        raise TemlibError(f"{path} lacks the column {', '.join(missing)}: {', '.join(NAMES)} are needed.")
    if fields.empty:
        raise TemlibError(f"{path} has no row: one row for each pair of an LDE frame and its HDE frame is needed.")
    fields[NAMES] = fields[NAMES].apply(lambda column: column.str.strip())
    for name in dict.fromkeys([*NUMBERS, *(name for name in fields if name.endswith(("_s", "_px", "_nm")))]):
        column = fields.get(name, pd.Series("", fields.index)).str.strip()
        fields[name] = pd.to_numeric(column.where(column != "", "nan"), errors="coerce")
        wrong = fields[name].isna() & ~column.str.casefold().isin(["", "nan"])
        if name in NUMBERS:
            wrong |= (fields[name] <= 0) | (fields[name] == math.inf)
        if wrong.any():
            raise TemlibError(
                f"{path} gives {name} = {column[wrong].iloc[0]!r} for {fields.field[wrong].iloc[0]}: "
                "a positive number is needed, or nothing where it is unknown."
            )
    for row in fields.itertuples():
        if UNSAFE.search(row.field):
            raise TemlibError(f"{path} has the field {row.field!r}: a name that a file can have is needed.")
        if row.split not in ("train", "val"):
            raise TemlibError(f"{path} puts {row.field} into {row.split!r}: train or val is needed.")
        if not (row.hde and row.lde):
            raise TemlibError(f"{path} lacks the HDE or the LDE file of {row.field}: both are needed in a row.")
    for name in ("hde", "lde"):
        fields[name] = [os.path.abspath(path.parent / file) for file in fields[name]]
    if (twice := fields.duplicated(["field", "lde"])).any():
        row = fields[twice].iloc[0]
        raise TemlibError(f"{path} lists {Path(row.lde).name} twice in {row.field}: keep one of these rows.")
    for name in ("split", "material", "hde"):
        several = fields.groupby("field", sort=False)[name].nunique()
        if (several > 1).any():
            raise TemlibError(
                f"{path} gives {several.idxmax()} {several.max()} values of {name}: a field of view has one. "
                "Use one value in all of its rows, or another field name."
            )
    for name in ("hde", "lde"):
        several = fields.groupby(name, sort=False)["field"].unique()
        if (shared := several[several.str.len() > 1]).size:
            raise TemlibError(
                f"{path} lists {Path(shared.index[0]).name} under {' and '.join(shared.iloc[0][:2])}: a frame belongs "
                "to one field, or what is learnt from would be judged on. Keep one of these rows."
            )
    return fields


def write_fields(fields, path):
    """Write the table, with its files relative to the folder of `path`, whole or not at all."""
    path = Path(path)
    table = fields.copy()
    for name in ("hde", "lde"):
        table[name] = [_relative(file, path.parent) for file in fields[name]]
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, float_format="%.10g")


def _relative(file, folder):
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # another drive of a Windows computer
        return Path(file).as_posix()


def index_folder(folder):
    """The sets of a folder: those of its `fields.csv` if it has one, else those found in it.

    Parameters
    ----------
    folder : path
        With frames in any of RosettaSciIO's formats named in `temlib.formats`, in any subfolders.

    Returns
    -------
    fields : pandas.DataFrame
        One row a pair, as `read_fields` returns it; material is the parent folder, split what a
        folder named train or val says, else by a hash of the field's name.
    refusals : list of str
        One sentence for each file or set left out. Where `fields` is empty they say why.

    Raises
    ------
    TemlibError
        If there is no such folder, or its `fields.csv` cannot be read as one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise TemlibError(f"{folder} {what}: give the folder that holds the frames.")
    if (folder / "fields.csv").is_file():
        return _check_listed(_parse(folder / "fields.csv"))
    sets, refusals, recordings = find_sets(folder)
    _log_notes(recordings)
    if not recordings:
        needed = "frames as DM3, DM4, TIFF, MRC, SER, EMD, HSPY or ZSPY are needed"
        refusals = [f"{folder} holds no microscope file: {needed}. Give the folder that holds them."]
    elif all(r.role == "lde" or r.error for r in recordings) and any(r.role == "lde" for r in recordings):
        refusals = [r.error for r in recordings if r.error] + [
            f"{folder} holds no usable HDE frame, only LDE frames: there is nothing to learn from, or to compare "
            f"with. `temlib denoise` and `temlib measure` are the commands for these."
        ]
        sets = []
    rows, names = [], set()
    for found in sets:
        bad = _refusals(found.hde, found.ldes)
        if not bad and found.name in names:
            bad = [f"A second set has the name {found.name}: give its files another name."]
        refusals += [f"{sentence} The set {found.name} is left out." for sentence in bad]
        if bad:
            continue
        names.add(found.name)
        rows += [
            {
                "field": found.name,
                "material": found.material,
                "split": found.split,
                "hde": os.path.abspath(found.hde.path),
                "lde": os.path.abspath(lde.path),
                **{number: getattr(lde, number) for number in NUMBERS},
            }
            for lde in found.ldes
        ]
    return pd.DataFrame(rows, columns=NAMES + NUMBERS), refusals


def _check_listed(fields):
    """Keep the sets of a fields.csv whose frames can be used; fill in the numbers it lacks."""
    files = pd.unique(fields[["hde", "lde"]].to_numpy().ravel())
    looked = {file: look(Path(file)) for file in files}
    _log_notes(looked.values())
    refusals, kept = [], []
    for name, rows in fields.groupby("field", sort=False):
        bad = _refusals(looked[rows.hde.iloc[0]], [looked[file] for file in rows.lde])
        refusals += [f"{sentence} The set {name} is left out." for sentence in bad]
        kept += [] if bad else list(rows.index)
    fields = fields.loc[kept].reset_index(drop=True)
    for number in NUMBERS:
        found = [getattr(looked[file], number) for file in fields.lde]
        fields[number] = fields[number].fillna(pd.Series(found, fields.index, dtype=float))
    return fields, refusals


def _refusals(hde, ldes):
    """What is wrong with the recordings of a set, in sentences."""
    if found := [r.error for r in (hde, *ldes) if r.error]:
        return found
    try:
        check_sizes(*((r.path, r.shape, r.pixel_size_nm) for r in (hde, *ldes)))
    except PairMismatchError as error:
        return [str(error)]
    return []


def _log_notes(recordings):
    recordings = list(recordings)
    for note, number in Counter(note for r in recordings for note in r.notes).items():
        first = next(r.path.name for r in recordings if note in r.notes)
        log.warning("note on %s%s: %s.", first, f" and {number - 1} more" if number > 1 else "", note)


def load_set(fields, field):
    """Read the frames of one field of view.

    Parameters
    ----------
    fields : pandas.DataFrame
        As `read_fields` gives it.
    field : str

    Returns
    -------
    hde : Frame or dict of ndarray
        The HDE frame; or, where `fields` names a `.npz` in its place, the targets stored there:
        `hde` (area mean) and `hde_faithful`, both (M, N) in electrons per HDE pixel.
    ldes : list of Frame
        In the order of `fields`; exposure and pixel size from `fields` where their file has none.

    Raises
    ------
    FrameError
        If a frame cannot be used.
    PairMismatchError
        If the HDE edges are no whole multiple of the LDE edges.
    TemlibError
        If there is no such field, or its stored targets are damaged.
    """
    rows = fields[fields.field == field]
    if rows.empty:
        raise TemlibError(f"There is no field {field!r} in the table: choose one of its column `field`.")
    ldes = [_complete(read_single(Path(row.lde)), row) for row in rows.itertuples()]
    shapes = [(Path(row.lde), lde.image.shape, math.nan) for row, lde in zip(rows.itertuples(), ldes, strict=True)]
    hde_path = Path(rows.hde.iloc[0])
    hde = stored_targets(hde_path) if hde_path.suffix == ".npz" else read_single(hde_path)
    shape = hde["hde"].shape if isinstance(hde, dict) else hde.image.shape
    check_sizes((hde_path, shape, math.nan), *shapes)
    return hde, ldes


def _complete(frame, row):
    """Fill what the file of a frame does not know from its row of the table."""
    known = {}
    if frame.exposure_s is None and not math.isnan(row.exposure_s):
        known["exposure_s"] = row.exposure_s
    if frame.pixel_size_nm is None and not math.isnan(row.pixel_size_nm):
        known["pixel_size_nm"] = (row.pixel_size_nm, row.pixel_size_nm)
    return replace(frame, **known)
