"""From particles beside their truth to what can be said of a method: errors, recall, invented ones, pairs.

Tables in, tables out. Rows are those of `size_trials.beside_truth` with field, specimen, material, dose_e_per_px and
method; intervals are over fields, since the particles of one share its film, its fringes and its noise. Particles that
the frame cuts are left out of all that is said of sizes.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from temlib import standard_errors
from temlib.measure import seen
from temlib.particles import gaps
from temlib.standard_errors import ANY_SHAPE, BODIES, COLUMNS, ERROR, NINETY, SPHERES

NORMAL_MEDIAN = 0.6745  # of |x| for a standard normal x
LARGE_NM, DARK = 30.0, 0.03  # an invented particle counts from this diameter and contrast on
BEAM_FIELD_NM = 512 * 2.9885  # edge of the paper's field of view, for which false particles are counted
SIZES_NM = np.array([30.0, 40, 50, 63, 80, 100, 126, 159, 200])
D_PRIMES = np.array([0.0, 1, 2, 3, 4, 5, 6, 8, 12, np.inf])
GAPS_NM = np.array([-20.0, -10, 0, 10, 20, 30, 40])
ALONE_NM = 10.0  # a particle whose nearest rim is farther is alone
MOST_D_PRIME = 12  # of a threshold
SURE_D_PRIME = 6.0  # from which the aims hold
PLACE = ["row_px", "col_px", "diameter_nm"]
LEAST = 5  # particles of which a median is told
RESAMPLED = 400


def sure(rows):
    """The rows of true particles with d' of 6 or more."""
    return rows[rows["true_d_prime"] >= SURE_D_PRIME]


def alone(rows):
    """The rows of true particles that lie wholly in the frame and whose nearest neighbour is 10 nm away or farther."""
    whole = ~rows["true_at_border"].astype("boolean").fillna(True)
    return rows[rows["true_diameter_nm"].notna() & whole & ~(rows["true_gap_nm"] < ALONE_NM)]


def errors(rows, by, *, seed):
    """Bias and spread of the diameters, against the bound, group by group.

    Parameters
    ----------
    rows : pandas.DataFrame
    by : list of str
        Columns that make the groups.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        For each group: n true particles in so many fields, diameter_nm (median) and bound_nm (the spread of errors
        that are as small as the bound of each allows), and, each with the ends _low and _high of its 95 % interval:
        found (share), significant (share, found and significant), bias_nm (median error of those found), spread_nm
        (median of |error| / 0.6745, one that was not found being infinitely wrong), bias_by_bound and spread_by_bound
        (the same of error / bound, so particle by particle), coverage (share of |error| within 1.645 standard errors)
        and coverage_any_shape (the same with those of any shape).
    """
    true = rows[rows["true_diameter_nm"].notna()].reset_index(drop=True)
    table = [dict(zip(by, key, strict=True)) | _errors(group, seed) for key, group in true.groupby(by, sort=False)]
    ends = [f"{name}{end}" for name in _statistics(true) for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*by, "n", "fields", "diameter_nm", "bound_nm", *ends])


def _statistics(group):
    """What is told of a group: values, one a particle, and what is made of them, by name."""
    found = (group["kind"] == "matched").astype(float)
    error = group["error_nm"].where(found == 1)
    relative = error / group["true_bound_nm"]
    known = np.isfinite(group[ERROR].astype(float)) & error.notna()
    within, within_any = ((error.abs() <= NINETY * group[c]).where(known).astype(float) for c in (ERROR, ANY_SHAPE))
    return {
        "found": (found, np.mean),
        "significant": (found * group["significant"].eq(True), np.mean),
        "bias_nm": (error, np.nanmedian),
        "spread_nm": (error, _spread),
        "bias_by_bound": (relative, np.nanmedian),
        "spread_by_bound": (relative, _spread),
        "coverage": (within, np.nanmean),
        "coverage_any_shape": (within_any, np.nanmean),
    }


def _errors(group, seed):
    row = {"n": len(group), "fields": group["field"].nunique()}
    row |= {"diameter_nm": group["true_diameter_nm"].median(), "bound_nm": _spread_of_bounds(group["true_bound_nm"])}
    fields = group["field"].to_numpy()
    for name, (values, statistic) in _statistics(group).items():
        values = values.to_numpy()
        ends = f"{name}_low", f"{name}_high"
        known = len(values) if name.startswith("spread") else np.isfinite(values).sum()
        if known < LEAST and name not in ("found", "significant"):
            row |= dict.fromkeys([name, *ends], np.nan)
            continue
        row |= {name: statistic(values)} | dict(zip(ends, interval(values, fields, statistic, seed=seed), strict=True))
    return row


def _spread(errors):
    """Standard deviation by the median of |error|; what is not known is infinite."""
    return float(np.median(np.nan_to_num(np.abs(np.asarray(errors, float)), nan=np.inf))) / NORMAL_MEDIAN


def _spread_about_bias(errors):
    return _spread(errors - np.median(errors))


def _spread_of_bounds(bounds):
    """The spread of errors of which each is normal with a bound of its own for standard deviation."""
    bounds = np.nan_to_num(np.asarray(bounds, float), nan=np.inf)
    if np.isinf(bounds).mean() >= 0.5:
        return np.inf

    def half_are_within(error):
        return np.mean(2 * stats.norm.cdf(error / bounds) - 1) - 0.5

    most = bounds[np.isfinite(bounds)].max()
    return brentq(half_are_within, 0, 1e3 * most) / NORMAL_MEDIAN


def interval(values, fields, statistic, *, seed):
    """95 % bootstrap interval of a statistic, fields drawn with replacement; NaN for less than two fields.

    Parameters
    ----------
    values, fields : ndarray of shape (n,)
        One entry a particle.
    statistic : callable
        From values to a number.
    seed : int
    """
    names, number = np.unique(fields, return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    members = [values[number == i] for i in range(len(names))]
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(action="ignore"):  # of draws without a number
        drawn = [
            statistic(np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))]))
            for _ in range(RESAMPLED)
        ]
    drawn = np.array(drawn)[~np.isnan(drawn)]
    return tuple(np.quantile(drawn, (0.025, 0.975), method="nearest")) if len(drawn) else (np.nan, np.nan)


def smallest_sized(table, share):
    """The smallest diameter from which on a method is wrong by at most a share of it.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `errors` by a bin of diameters: diameter_nm and spread_nm of one method, material and dose.
    share : float
        0.05 for 5 %.

    Returns
    -------
    float
        In nm, between two bins by the power law through both; NaN if even the largest are worse.
    """
    table = table.dropna(subset=["spread_nm", "diameter_nm"]).sort_values("diameter_nm")
    size, relative = table["diameter_nm"].to_numpy(), (table["spread_nm"] / table["diameter_nm"]).to_numpy()
    worse = np.flatnonzero(~(relative <= share))
    if len(size) == 0 or (len(worse) and worse[-1] == len(size) - 1):
        return np.nan
    if len(worse) == 0:
        return size[0]
    last = worse[-1]
    if not np.isfinite(relative[last]):
        return size[last + 1]
    steps = np.log(relative[last : last + 2]), np.log(size[last : last + 2])
    return float(np.exp(np.interp(np.log(share), steps[0][::-1], steps[1][::-1])))


def smallest(rows, by, shares, *, seed):
    """The smallest diameters that are sized to some shares of them, with 95 % intervals over fields.

    Parameters
    ----------
    rows : pandas.DataFrame
        Lone particles, with the number diameter_bin of a bin of `SIZES_NM`; bins of fewer than LEAST are left out.
    by : list of str
        Columns that make the groups.
    shares : dict of str to float
        0.05 for 5 %, by the name of the column that tells the diameter.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, and for each share its column with the ends _low and _high, of `smallest_sized`, in nm;
        inf where even the largest particles are worse.
    """
    table, rng = [], np.random.default_rng(seed)
    for key, group in rows.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True))
        error_nm = group["error_nm"].where(group["kind"] == "matched").abs().fillna(np.inf).to_numpy()
        columns = np.column_stack([group["diameter_bin"], group["true_diameter_nm"], error_nm])
        members = [columns[place] for place in group.groupby("field").indices.values()]
        drawn = [rng.integers(0, len(members), len(members)) for _ in range(RESAMPLED // 2)]
        spreads = [_by_bin(columns), *(_by_bin(np.concatenate([members[i] for i in draw])) for draw in drawn)]
        for name, share in shares.items():
            found, *others = np.nan_to_num([smallest_sized(one, share) for one in spreads], nan=np.inf)
            ends = np.quantile(others, (0.025, 0.975), method="nearest")
            row |= {name: found, f"{name}_low": ends[0], f"{name}_high": ends[1]}
        table.append(row)
    return pd.DataFrame(table, columns=[*by, *(f"{name}{end}" for name in shares for end in ("", "_low", "_high"))])


def _by_bin(columns):
    """diameter_nm and spread_nm of each bin of (bin, true diameter, |error|)."""
    parts = [columns[columns[:, 0] == number] for number in np.unique(columns[:, 0])]
    told = [(np.median(part[:, 1]), _spread(part[:, 2])) for part in parts if len(part) >= LEAST]
    return pd.DataFrame(told, columns=["diameter_nm", "spread_nm"])


def froc(rows, false_rows, areas_nm2, by):
    """Recall against false particles, as the least d' that counts goes down (free-response ROC).

    Parameters
    ----------
    rows, false_rows : pandas.DataFrame
        Of fields with particles, whose recall is told; and of the fields in which false ones are counted. The d' of
        what is found is its score, as far as it is shown.
    areas_nm2 : pandas.Series
        Of all the latter fields together that a method was tried on, in nm^2, by method.
    by : str
        Column that names the method.

    Returns
    -------
    pandas.DataFrame
        method, least_d_prime, false_per_field (in a field of the paper's size, see `invented_per_field`) with
        false_at_most (upper end of its one-sided 95 % interval, Poisson), recall of true particles of d' of 6 or more,
        and how many these are.
    """
    parts = []
    for method, group in rows.groupby(by, sort=False):
        others = false_rows[false_rows[by] == method]
        false = np.sort(seen(others[without_partner(others)]).to_numpy())[::-1]
        true = sure(group)
        scores = np.where(true["kind"] == "matched", seen(true), -np.inf)
        above = np.nextafter(false, np.inf)  # what each false one no longer is
        levels = np.unique(np.concatenate([false, above, np.arange(10 * MOST_D_PRIME + 1) / 10]))
        number = np.searchsorted(-false, -levels, side="right")
        paper_fields = areas_nm2[method] / BEAM_FIELD_NM**2
        told = {by: method, "least_d_prime": levels, "false_per_field": number / paper_fields}
        told["false_at_most"] = stats.chi2.ppf(0.95, 2 * number + 2) / 2 / paper_fields
        told["recall"] = [np.mean(scores >= level) if len(scores) else np.nan for level in levels]
        parts.append(pd.DataFrame(told | {"sure_particles": len(scores)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def without_partner(rows):
    """Which found particles of 30 nm and 3 % contrast or more have no true partner, further pieces among them.

    Those at the border are left out: a true one may reach in from outside.
    """
    alone, inside = rows["kind"].isin(["invented", "split"]), ~rows["at_border"].eq(True)
    return alone & inside & (rows["diameter_nm"] >= LARGE_NM) & (rows["contrast"] >= DARK)


def invented_per_field(rows, fields):
    """What is invented, in a field of the paper's size.

    Parameters
    ----------
    rows : pandas.DataFrame
    fields : pandas.DataFrame
        method, specimen and area_nm2, of all the fields together on which it was tried.

    Returns
    -------
    pandas.DataFrame
        `fields` with without_partner (found ones of 30 nm and 3 % contrast or more, whatever their d'), pieces (those
        of them that lie in a true particle, which has another partner), and significant (those that `temlib measure`
        calls so), each a field, with the ends _low and _high of the exact 95 % interval of the number (Poisson).
    """
    false = rows[without_partner(rows)].astype({"significant": bool})
    false = false.assign(pieces=false["kind"] == "split", without_partner=1)
    columns = ["without_partner", "pieces", "significant"]
    number = false.groupby(["method", "specimen"])[columns].sum()
    number = number.reindex(pd.MultiIndex.from_frame(fields[["method", "specimen"]]), fill_value=0).to_numpy()
    paper_fields = fields[["area_nm2"]].to_numpy() / BEAM_FIELD_NM**2
    low, high = stats.chi2.ppf(0.025, 2 * number) / 2, stats.chi2.ppf(0.975, 2 * number + 2) / 2
    values = {"": number, "_low": np.nan_to_num(low), "_high": high}
    told = {f"{name}{end}": (of / paper_fields)[:, k] for k, name in enumerate(columns) for end, of in values.items()}
    return fields.assign(**told)


def at_false_rate(curves, rate, by):
    """The point of each curve of `froc` with the best recall at this many false particles a field, or fewer."""
    allowed = curves[curves["false_per_field"] <= rate].sort_values("least_d_prime")
    return allowed.groupby(by, sort=False).head(1).reset_index(drop=True)


def pairs(rows, pixel_size_nm):
    """Every two true particles of d' of 6 or more whose rims are near, by every method.

    Returns
    -------
    pandas.DataFrame
        method, field, dose_e_per_px, true gap_nm, true_diameter_nm of the smaller one, told_apart (whether both are
        found, each as itself), and error_nm of the gap between two that are.
    """
    true = sure(rows[rows["true_diameter_nm"].notna()])
    columns = ["method", "field", "dose_e_per_px", "gap_nm", "true_diameter_nm", "told_apart", "error_nm"]
    parts = [pd.DataFrame(columns=columns)]
    for (method, field, dose), group in true.groupby(["method", "field", "dose_e_per_px"], sort=False):
        there = group[[f"true_{name}" for name in PLACE]].to_numpy()
        measured = group[PLACE].where(group["kind"] == "matched").to_numpy()
        gap_nm, found_nm = gaps(there, there, pixel_size_nm), gaps(measured, measured, pixel_size_nm)
        one, other = np.triu_indices(len(group), 1)
        near = (gap_nm[one, other] >= GAPS_NM[0]) & (gap_nm[one, other] <= GAPS_NM[-1])
        gap_nm, found_nm = gap_nm[one, other][near], found_nm[one, other][near]
        told = {"method": method, "field": field, "dose_e_per_px": dose, "gap_nm": gap_nm}
        told["true_diameter_nm"] = np.minimum(there[one, 2], there[other, 2])[near]
        parts.append(pd.DataFrame(told | {"told_apart": np.isfinite(found_nm), "error_nm": found_nm - gap_nm}))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def pairs_apart(pairs, by, *, seed):
    """Share of pairs told apart against their gap.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Of `pairs`.
    by : list of str
    seed : int
        Of the bootstrap over fields.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, gap_nm (middle of a bin), n pairs, and told_apart with the ends _low and _high of its
        95 % interval.
    """
    middles = (GAPS_NM[1:] + GAPS_NM[:-1]) / 2
    number = np.clip(np.digitize(pairs["gap_nm"].astype(float), GAPS_NM) - 1, 0, len(middles) - 1)
    return shares(pairs.assign(gap_nm=middles[number]), [*by, "gap_nm"], "told_apart", seed=seed)


def shares(rows, by, column, *, seed):
    """Mean of a column of truths in each group, with n and the ends _low and _high of its 95 % interval over fields."""
    table = []
    for key, group in rows.groupby(by, sort=True):
        values = group[column].to_numpy(float)
        low, high = interval(values, group["field"].to_numpy(), np.mean, seed=seed)
        told = {"n": len(group), column: values.mean(), f"{column}_low": low, f"{column}_high": high}
        table.append(dict(zip(by, key, strict=True)) | told)
    return pd.DataFrame(table, columns=[*by, "n", column, f"{column}_low", f"{column}_high"])


def quantities(rows, *, pixel_size_nm):
    """Errors of all that is measured of particles of d' of 6 or more that are found.

    Parameters
    ----------
    rows : pandas.DataFrame
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        A row an error: method, field, dose_e_per_px, material, true_diameter_nm (of neighbours the smaller one's),
        quantity and error_nm, signed. Of lone particles the diameter, the centre (along rows and along columns) and
        the edge, which is sharp in truth, so its whole width; of neighbours the gap from rim to rim.
    """
    lone = alone(sure(rows[rows["kind"] == "matched"]))
    told = {"diameter": [lone["error_nm"]], "edge": [lone["edge_width_nm"]]}
    told["centre"] = [(lone[f"{axis}_px"] - lone[f"true_{axis}_px"]) * pixel_size_nm for axis in ("row", "col")]
    columns = ["method", "field", "dose_e_per_px", "material", "true_diameter_nm"]
    parts = [
        lone[columns].assign(quantity=name, error_nm=errors_nm)
        for name, all_of_one in told.items()
        for errors_nm in all_of_one
    ]
    near = pairs(rows, pixel_size_nm).merge(rows[["field", "material"]].drop_duplicates("field"), on="field")
    parts.append(near[[*columns, "error_nm"]].assign(quantity="gap"))
    return pd.concat(parts, ignore_index=True).dropna(subset="error_nm").astype({"error_nm": float})


def spreads(errors_nm, by, *, seed):
    """Bias (median) and spread (median of what errors differ from it, over 0.6745) of signed errors.

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
        The columns of `by`, n, and bias_nm and spread_nm, each with the ends _low and _high of its 95 % interval.
    """
    table = []
    for key, group in errors_nm.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True)) | {"n": len(group)}
        for name, statistic in {"bias_nm": np.median, "spread_nm": _spread_about_bias}.items():
            values, fields = group["error_nm"].to_numpy(), group["field"].to_numpy()
            row[name] = statistic(values)
            row[f"{name}_low"], row[f"{name}_high"] = interval(values, fields, statistic, seed=seed)
        table.append(row)
    ends = [f"{name}{end}" for name in ("bias_nm", "spread_nm") for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*by, "n", *ends])


def against_hde(rows):
    """The same rows with the diameters that the HDE image shows for truth, where it shows a particle at all.

    For specimens of which nobody knows the diameters: what is left is what low dose and denoising do to them.
    """
    matched = rows[rows["kind"] == "matched"]
    particle = ["field", "dose_e_per_px", "true_row_px", "true_col_px"]
    shown = matched.loc[matched["method"] == "hde", [*particle, "diameter_nm"]]
    both = rows[rows["method"] != "hde"].merge(shown.rename(columns={"diameter_nm": "hde_nm"}), on=particle)
    return both.assign(true_diameter_nm=both["hde_nm"], error_nm=both["diameter_nm"] - both["hde_nm"])


def recall(rows, by, *, seed):
    """Share of true particles that are found, against the d' that they have.

    Returns
    -------
    pandas.DataFrame
        Of `shares`: the columns of `by`, d_prime (middle of a bin), n, recall and the ends of its interval.
    """
    true = rows[rows["true_diameter_nm"].notna()]
    middles = np.sqrt(np.maximum(D_PRIMES[:-1], 0.5) * np.minimum(D_PRIMES[1:], 30))
    number = np.digitize(true["true_d_prime"], D_PRIMES) - 1
    found = true.assign(d_prime=middles[number], recall=true["kind"] == "matched")
    return shares(found, [*by, "d_prime"], "recall", seed=seed)


def calibration(rows):
    """`standard_errors.calibration` of each method, with the column method first."""
    found = _of_known(rows)
    parts = {method: standard_errors.calibration(group) for method, group in found.groupby("method", sort=False)}
    return pd.concat(parts, names=["method"]).reset_index("method").reset_index(drop=True)


def cross_calibrated(rows):
    """Rows with standard errors as they are stated, after the `calibration` of the other half of the fields.

    So that whether they hold is judged on fields that the factors are not from.
    """
    half = rows["field"].map({field: number % 2 for number, field in enumerate(rows["field"].unique())})
    parts = []
    for number in (0, 1):
        known = calibration(rows[half != number]).groupby("method")
        for method, group in rows[half == number].groupby("method", sort=False):
            of_method = known.get_group(method) if method in known.groups else pd.DataFrame(columns=COLUMNS)
            parts.append(standard_errors.stated(group, of_method))
    return pd.concat(parts, ignore_index=True)


def held(rows, by, *, seed, column=ERROR):
    """Share of the 90 % intervals of significant particles of known diameter that hold.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of `cross_calibrated`.
    by : list of str
    seed : int
        Of the bootstrap over fields.
    column : str
        The standard errors that tell the intervals.

    Returns
    -------
    pandas.DataFrame
        Of `shares`: the columns of `by`, n particles, held and the ends of its interval.
    """
    found = _of_known(rows)
    found = found[found["significant"].astype(bool)]
    holds = found["error_nm"].abs() <= NINETY * found[column]
    return shares(found.assign(held=holds), by, "held", seed=seed)


def _of_known(rows):
    """Particles that are found with a standard error, and whose true diameter is known."""
    found = rows[(rows["kind"] == "matched") & np.isfinite(rows[ERROR])]
    return found[found["specimen"].isin([SPHERES, BODIES]) & ~found["true_at_border"].astype(bool)]
