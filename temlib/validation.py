"""Diameters of your own LDE frames against those of your own HDE frames: what `temlib validate` does."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from temlib import found_tables, size_tables
from temlib.camera import ONEVIEW_BIN8, Camera
from temlib.dataset import prepare
from temlib.errors import TemlibError
from temlib.fields import index_folder
from temlib.film import film_level
from temlib.inference import denoise_image
from temlib.limits import with_limits
from temlib.measure import LEAST_CONTRAST, measure, measure_denoised
from temlib.measuring import RAW, camera_and_unit, with_stated_errors
from temlib.particles import leave_frame
from temlib.paths import load_npz, whole_file
from temlib.size_trials import beside_truth

MOST_CONTRAST = 0.99  # of a reference particle, whose d' is told from it
PLACE = "row_px", "col_px"


def validate(folder, network, out_dir, *, each=map, progress=None):
    """Compare what is measured in LDE frames with the HDE frames of the same fields.

    Parameters
    ----------
    folder : path
        Sets of one HDE and its LDE frames, see `fields.index_folder`.
    network : networks.Network
    out_dir : Path
        Receives pairs/<field>.npz, validation_particles.csv and validation.csv.
    each : callable
        `map`, or that of a pool of processes.
    progress : callable, optional
        `progress(done, total)` after each field.

    Returns
    -------
    table : pandas.DataFrame
        Of `size_tables.errors`, a row a method ("raw": fitted to the raw LDE frame; the network's name: to its output)
        and class of the d_prime that they have; with false_per_field of the method, those of 30 nm and 3 % contrast
        or more where the HDE frame shows none, in a field of the paper's size, and significant_false_per_field, each
        with the ends _low and _high of its 95 % interval.
    refusals : list of str
        A sentence for each set that is left out.

    Raises
    ------
    TemlibError
        If no set is of use.
    """
    pairs, refusals = index_folder(folder)
    rows, areas_nm2 = [], []
    try:
        prepared = prepare(pairs, out_dir, ONEVIEW_BIN8, refusals.append)
        for done, field in enumerate(prepared["field"], 1):
            pair = load_npz(Path(out_dir) / "pairs" / f"{field}.npz")
            try:
                rows.append(_one_field(field, pair, network, each))
                seen_px2 = np.prod(np.array(pair["hde"].shape) - np.abs(pair["drift_px"]))
                areas_nm2 += len(pair["lde"]) * [seen_px2 * float(pair["pixel_size_nm"]) ** 2]
            except TemlibError as error:
                refusals.append(f"{field} is left out. {error}")
            if progress:
                progress(done, len(prepared))
    except KeyboardInterrupt:
        refusals.append(f"interrupted: {len(rows)} of {pairs['field'].nunique()} fields are compared")
    except TemlibError:
        if rows:
            raise
    if not rows:
        why = " ".join(f"{sentence.rstrip('.')}." for sentence in refusals)
        raise TemlibError(f"No set of {folder} can be measured. {why or 'No set of HDE and LDE frames is there.'}")
    rows = pd.concat(rows, ignore_index=True)
    table = _table(rows, areas_nm2)
    for name, contents in (("validation_particles", rows), ("validation", table)):
        with whole_file(Path(out_dir) / f"{name}.csv") as whole:
            contents.to_csv(whole, index=False, float_format="%.5g")
    return table, refusals


def _one_field(field, pair, network, each):
    """What is found in every LDE frame of a field, beside what its HDE frame shows."""
    if not np.isfinite(pair["pixel_size_nm"]):
        raise TemlibError("Its LDE frames have no square pixels of known size, which diameters need.")
    if not pair["aligned"]:
        raise TemlibError("Its HDE and LDE frames are not aligned, so their particles cannot be told from each other.")
    pixel_nm, hde = float(pair["pixel_size_nm"]), pair["hde"] / pair["hde_background_e"]
    options, tables = {"pixel_size_nm": pixel_nm, "each": each}, []
    reference = measure_denoised(hde, **options)
    reference = reference.assign(shape="HDE", transmission=1 - reference["contrast"].clip(upper=MOST_CONTRAST))

    def at_border(table):
        """What leaves the LDE frame or the HDE frame, of which there is nothing beside its own edge."""
        of_hde = table.assign(**{axis: table[axis] + by for axis, by in zip(PLACE, pair["drift_px"], strict=True)})
        return np.any([leave_frame(one, hde.shape, pixel_nm) for one in (table, of_hde)], axis=0)

    for number, raw in enumerate(pair["lde"]):
        denoised = denoise_image(raw, network)
        known, _ = camera_and_unit(raw, denoised, electrons=True)
        camera, per_e = Camera(**known["fitted"]), known["unit_per_e"]
        film_e = film_level(denoised).item() / per_e
        truth = with_limits(reference, hde.shape, dose_e_per_px=film_e, pixel_size_nm=pixel_nm, camera=camera)
        raw_table = measure(raw / per_e, denoised / per_e, camera=camera, clipped=known["clipped"], **options)
        shown = measure_denoised(denoised / per_e, camera=camera, **options)
        stated = partial(with_stated_errors, pixel_size_nm=pixel_nm)
        found = {RAW: stated(raw_table, RAW), network.name: stated(shown, network.card_sha256)}
        for method, table in found.items():
            table, truth = (one.assign(at_border=at_border(one)) for one in (table, truth))
            beside = beside_truth(table, truth, pixel_size_nm=pixel_nm)
            tables.append(beside.assign(field=field, exposure=number, film_e_per_px=film_e, method=method))
    return pd.concat(tables, ignore_index=True)


def _table(rows, areas_nm2):
    """Errors by method and class of d', with what is invented in a field of the paper's size.

    Reference particles count that lie wholly in both frames and have some contrast; what is found of others is neither
    wrong nor invented.
    """
    classes = pd.cut(rows["true_d_prime"], [0, 3, 6, np.inf], labels=["below 3", "3 to 6", "6 and more"])
    whole = ~rows["true_at_border"].astype("boolean").fillna(True) & (rows["true_transmission"] <= 1 - LEAST_CONTRAST)
    known = rows.assign(d_prime=classes)[whole].sort_values(["method", "d_prime"], ascending=[False, True])
    table = size_tables.errors(known, ["method", "d_prime"], seed=0)
    tried = {"area_nm2": np.sum(areas_nm2), "edge_nm": np.sqrt(np.mean(areas_nm2)), "n_fields": rows["field"].nunique()}
    tried = pd.DataFrame({"method": rows["method"].unique(), "specimen": "yours"} | tried)
    invented = found_tables.invented_per_field(rows.assign(specimen="yours"), tried).set_index("method")
    told = {"without_partner": "false_per_field", "significant": "significant_false_per_field"}
    named = {f"{name}{end}": f"{new}{end}" for name, new in told.items() for end in ("", "_low", "_high")}
    return table.join(invented[list(named)].rename(columns=named), on="method")
