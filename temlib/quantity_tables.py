"""Not diameters alone: errors of centres, edges and gaps, and pairs of particles.

Tables in, tables out; rows as in `size_tables`.
"""

import numpy as np
import pandas as pd

from temlib.bootstrap import interval
from temlib.particles import gaps
from temlib.size_tables import GAPS_NM, LEAST, alone, scatter, spread_of_bounds, sure, whole

PLACE = ["row_px", "col_px", "diameter_nm"]


def pairs(rows, pixel_size_nm):
    """Every two true particles of d' of 6 or more, wholly in the frame, whose rims are near, by every method.

    Returns
    -------
    pandas.DataFrame
        specimen, method, field, material, dose_e_per_px, true gap_nm, true_diameter_nm of the smaller one, told_apart
        (whether both are found, each as itself), error_nm of the gap between two that are, and its bound_nm, NaN of two
        of which neither is the other's nearest.
    """
    true, by = sure(whole(rows)), ["specimen", "method", "field", "material", "dose_e_per_px"]
    columns = [*by, "gap_nm", "true_diameter_nm", "told_apart", "error_nm", "bound_nm"]
    parts = [pd.DataFrame(columns=columns)]
    for key, group in true.groupby(by, sort=False):
        there = group[[f"true_{name}" for name in PLACE]].to_numpy()
        measured = group[PLACE].where(group["kind"] == "matched").to_numpy()
        gap_nm, found_nm = gaps(there, there, pixel_size_nm), gaps(measured, measured, pixel_size_nm)
        one, other = np.triu_indices(len(group), 1)
        near = (gap_nm[one, other] >= GAPS_NM[0]) & (gap_nm[one, other] <= GAPS_NM[-1])
        one, other = one[near], other[near]
        gap_nm, found_nm = gap_nm[one, other], found_nm[one, other]
        nearest_nm, bound_nm = group[["true_gap_nm", "true_gap_bound_nm"]].to_numpy().T
        of = np.where(np.isclose(nearest_nm[one], gap_nm), one, other)
        told = dict(zip(by, key, strict=True)) | {"gap_nm": gap_nm}
        told["true_diameter_nm"] = np.minimum(there[one, 2], there[other, 2])
        told["bound_nm"] = np.where(np.isclose(nearest_nm[of], gap_nm), bound_nm[of], np.nan)
        parts.append(pd.DataFrame(told | {"told_apart": np.isfinite(found_nm), "error_nm": found_nm - gap_nm}))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def quantities(rows, *, pixel_size_nm):
    """Errors of all that is measured of particles of d' of 6 or more that are found.

    Parameters
    ----------
    rows : pandas.DataFrame
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        A row an error: specimen, method, field, dose_e_per_px, material, true_diameter_nm (of neighbours the smaller
        one's), quantity and error_nm, signed. Of lone particles the diameter, the centre (along rows and along columns)
        and the edge, which is sharp in truth, so its whole width; of neighbours the gap from rim to rim. With bound_nm
        of all but the edge, NaN of a gap that has none.
    """
    lone = alone(sure(rows[rows["kind"] == "matched"]))
    told = [("diameter", lone["error_nm"], lone["true_bound_nm"]), ("edge", lone["edge_width_nm"], np.nan)]
    for axis in ("row", "col"):
        moved_nm = (lone[f"{axis}_px"] - lone[f"true_{axis}_px"]) * pixel_size_nm
        told.append(("centre", moved_nm, lone["true_centre_bound_nm"]))
    columns = ["specimen", "method", "field", "dose_e_per_px", "material", "true_diameter_nm"]
    parts = [lone[columns].assign(quantity=name, error_nm=error_nm, bound_nm=nm) for name, error_nm, nm in told]
    near = pairs(rows, pixel_size_nm)
    parts.append(near[[*columns, "error_nm", "bound_nm"]].assign(quantity="gap"))
    return pd.concat(parts, ignore_index=True).dropna(subset="error_nm").astype({"error_nm": float})


def spreads(errors_nm, by, *, seed):
    """Bias (median) of signed errors, and their scatter about it, as of `size_tables.errors`.

    Parameters
    ----------
    errors_nm : pandas.DataFrame
        Of `quantities`.
    by : list of str
        Columns that make the groups.
    seed : int
        Of the bootstrap over fields.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, n errors in so many fields, bound_nm (as of `size_tables.errors`; NaN where there is none),
        and bias_nm and scatter_nm, each with the ends _low and _high of its 95 % interval; groups of fewer than LEAST
        errors are left out.
    """
    table = []
    for key, group in errors_nm.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True)) | {"n": len(group), "fields": group["field"].nunique()}
        if len(group) < LEAST:
            continue
        row["bound_nm"] = spread_of_bounds(group["bound_nm"]) if group["bound_nm"].notna().all() else np.nan
        for name, statistic in {"bias_nm": np.median, "scatter_nm": scatter}.items():
            values, fields = group["error_nm"].to_numpy(), group["field"].to_numpy()
            row[name] = statistic(values)
            row[f"{name}_low"], row[f"{name}_high"] = interval(values, fields, statistic, seed=seed)
        table.append(row)
    ends = [f"{name}{end}" for name in ("bias_nm", "scatter_nm") for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*by, "n", "fields", "bound_nm", *ends])
