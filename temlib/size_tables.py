"""From particles beside their truth to what can be said of a method: errors, recall, invented ones, pairs.

Tables in, tables out. Rows are those of `size_trials.beside_truth` with field, material, dose_e_per_px and method;
intervals are over fields, since the particles of one share its film, its fringes and its noise.
"""

import warnings

import numpy as np
import pandas as pd

from temlib.measure import DETECTABLE, seen
from temlib.size_trials import gaps_nm

NORMAL_MEDIAN = 0.6745  # of |x| for a standard normal x
NINETY = 1.645  # standard errors of a 90 % interval
LARGE_NM, DARK = 30.0, 0.03  # an invented particle counts from this diameter and contrast on
BEAM_FIELD_NM = 512 * 2.9885  # edge of the paper's field of view, for which false particles are counted
SIZES_NM = np.array([30.0, 40, 50, 63, 80, 100, 126, 159, 200])
D_PRIMES = np.array([0.0, 1, 2, 3, 4, 5, 6, 8, 12, 100])
GAPS_NM = np.array([-20.0, -10, 0, 10, 20, 30, 40])
ALONE_NM = 10.0  # a particle whose nearest rim is farther is alone
MOST_D_PRIME = 12  # of a threshold
SURE = 6.0  # d' from which the aims hold
CLASSES = (DETECTABLE, 8.0, 15.0)  # of measured d', for the calibration of standard errors
PLACE = ["row_px", "col_px", "diameter_nm"]
LEAST = 5  # particles of which a median is told
RESAMPLED = 400


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
        For each group: n true particles, found (share), bias_nm (median error of those found), spread_nm (median of
        |error| / 0.6745, one that was not found being infinitely wrong), bound_nm (median), bias_by_bound and
        spread_by_bound (the same of error / bound, so particle by particle), coverage (share of |error| within 1.645
        standard errors); with _low and _high the 95 % intervals of bias_by_bound, spread_by_bound and coverage.
    """
    true = rows[rows["true_diameter_nm"].notna()].reset_index(drop=True)
    table = [dict(zip(by, key, strict=True)) | _errors(group, seed) for key, group in true.groupby(by, sort=False)]
    return pd.DataFrame(table)


def _errors(group, seed):
    found = group[group["kind"] == "matched"]
    relative = group["error_nm"] / group["true_bound_nm"]
    row = {"n": len(group), "fields": group["field"].nunique(), "found": len(found) / len(group)}
    row |= {"bias_nm": found["error_nm"].median(), "spread_nm": _spread(group["error_nm"])}
    row |= {"bound_nm": group["true_bound_nm"].median(), "diameter_nm": group["true_diameter_nm"].median()}
    within = (found["error_nm"].abs() <= NINETY * found["diameter_error_nm"]).where(found["diameter_error_nm"].notna())
    statistics = {"bias_by_bound": (relative, np.nanmedian), "spread_by_bound": (relative, _spread)}
    statistics["coverage"] = (within.reindex(group.index).astype(float), np.nanmean)
    for name, (values, statistic) in statistics.items():
        enough = values.notna().sum() >= LEAST
        row[name] = statistic(values.to_numpy()) if enough else np.nan
        row[f"{name}_low"], row[f"{name}_high"] = (
            interval(values.to_numpy(), group["field"].to_numpy(), statistic, seed=seed) if enough else (np.nan, np.nan)
        )
    return row


def _spread(errors):
    """Standard deviation by the median of |error|; what is not known is infinite."""
    return float(np.median(np.nan_to_num(np.abs(np.asarray(errors, float)), nan=np.inf))) / NORMAL_MEDIAN


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


def froc(rows, areas_nm2, by):
    """Recall against false particles, as the least d' that counts goes down (free-response ROC).

    Parameters
    ----------
    rows : pandas.DataFrame
        Of particle-bearing and of empty fields; the d' of what is found is its score, as far as it is shown.
    areas_nm2 : pandas.Series
        Of all fields together that a method was tried on, in nm^2, by method.
    by : str
        Column that names the method.

    Returns
    -------
    pandas.DataFrame
        method, least_d_prime, false_per_field (invented ones of 30 nm and 3 % contrast or more, in a field of the
        paper's size), recall of true particles of d' of 6 or more.
    """
    parts = []
    for method, group in rows.reset_index(drop=True).groupby(by, sort=False):
        score = seen(group)
        false = np.sort(score[_counts_as_invented(group)].to_numpy())[::-1]
        sure = group[group["true_d_prime"] >= SURE]
        scores = np.where(sure["kind"] == "matched", score[sure.index], -np.inf)
        levels = np.unique(np.concatenate([false, np.arange(10 * MOST_D_PRIME + 1) / 10]))
        number = np.searchsorted(-false, -levels, side="right")
        parts.append(
            pd.DataFrame(
                {
                    by: method,
                    "least_d_prime": levels,
                    "false_per_field": number * BEAM_FIELD_NM**2 / areas_nm2[method],
                    "recall": [np.mean(scores >= level) if len(scores) else np.nan for level in levels],
                    "sure_particles": len(scores),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _counts_as_invented(rows):
    return (rows["kind"] == "invented") & (rows["diameter_nm"] >= LARGE_NM) & (rows["contrast"] >= DARK)


def invented_per_field(rows, fields, field_nm2):
    """What is invented, in a field of the paper's size.

    Parameters
    ----------
    rows : pandas.DataFrame
    fields : pandas.DataFrame
        method, specimen and fields, on how many it was tried.
    field_nm2 : float
        Area of each.

    Returns
    -------
    pandas.DataFrame
        `fields` with invented (of 30 nm and 3 % contrast or more, whatever their d') and significant (of these, what
        `temlib measure` calls so), both a field.
    """
    false = rows[_counts_as_invented(rows)].astype({"significant": bool})
    number = false.groupby(["method", "specimen"])["significant"].agg(["size", "sum"])
    number = number.reindex(pd.MultiIndex.from_frame(fields[["method", "specimen"]]), fill_value=0).to_numpy()
    a_field = number / (fields[["fields"]].to_numpy() * field_nm2 / BEAM_FIELD_NM**2)
    return fields.assign(invented=a_field[:, 0], significant=a_field[:, 1])


def at_false_rate(curves, rate, by):
    """The point of each curve of `froc` with the best recall at this many false particles a field, or fewer."""
    allowed = curves[curves["false_per_field"] <= rate].sort_values("least_d_prime")
    return allowed.groupby(by, sort=False).head(1).reset_index(drop=True)


def pairs_apart(rows, by):
    """Share of pairs told apart against their gap: both found, each as one particle.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, gap_nm (middle of a bin), told_apart, n particles with such a neighbour, and the share of
        them that is merged.
    """
    true = rows[rows["true_diameter_nm"].notna() & (rows["true_d_prime"] >= SURE)]
    true = true[true["true_gap_nm"].between(GAPS_NM[0], GAPS_NM[-1])]
    middles = (GAPS_NM[1:] + GAPS_NM[:-1]) / 2
    number = np.clip(np.digitize(true["true_gap_nm"], GAPS_NM) - 1, 0, len(middles) - 1)
    grouped = true.assign(gap_nm=middles[number]).groupby([*by, "gap_nm"], sort=True)
    return (
        grouped["kind"]
        .agg(
            told_apart=lambda kind: np.mean(kind == "matched"), merged=lambda kind: np.mean(kind == "merged"), n="size"
        )
        .reset_index()
    )


def quantities(rows, *, pixel_size_nm):
    """Errors of all that is measured of the particles that are found.

    Parameters
    ----------
    rows : pandas.DataFrame
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        A row an error: method, field, quantity and error_nm, signed. Of lone particles the diameter, the centre (along
        rows and along columns) and the edge, which is sharp in truth, so its whole width; of neighbours the gap from
        rim to rim.
    """
    matched = rows[rows["kind"] == "matched"]
    alone = matched[~(matched["true_gap_nm"] < ALONE_NM)]
    told = {"diameter": [alone["error_nm"]], "edge": [alone["edge_width_nm"]]}
    told["centre"] = [(alone[f"{axis}_px"] - alone[f"true_{axis}_px"]) * pixel_size_nm for axis in ("row", "col")]
    parts = [
        alone[["method", "field"]].assign(quantity=name, error_nm=errors_nm)
        for name, all_of_one in told.items()
        for errors_nm in all_of_one
    ]
    near = matched[matched["true_gap_nm"] <= GAPS_NM[-1]]
    for (method, field, _), group in near.groupby(["method", "field", "dose_e_per_px"], sort=False):
        found, true = (
            gaps_nm(group[columns].to_numpy(), group[columns].to_numpy(), pixel_size_nm)
            for columns in (PLACE, [f"true_{name}" for name in PLACE])
        )
        one, other = np.triu_indices(len(group), 1)
        pair = true[one, other] <= GAPS_NM[-1]
        told = {"method": method, "field": field, "quantity": "gap"}
        parts.append(pd.DataFrame({"error_nm": (found - true)[one[pair], other[pair]]}).assign(**told))
    return pd.concat([part for part in parts if len(part)], ignore_index=True).dropna(subset="error_nm")


def spreads(errors_nm, by, *, seed):
    """Bias (median) and spread (median of |error| / 0.6745) of signed errors.

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
        for name, statistic in {"bias_nm": np.median, "spread_nm": _spread}.items():
            values, fields = group["error_nm"].to_numpy(), group["field"].to_numpy()
            row[name] = statistic(values)
            row[f"{name}_low"], row[f"{name}_high"] = interval(values, fields, statistic, seed=seed)
        table.append(row)
    return pd.DataFrame(table)


def against_hde(rows):
    """The same rows with the diameters that the HDE image shows for truth, where it shows a particle at all.

    For specimens of which nobody knows the diameters: what is left is what low dose and denoising do to them.
    """
    matched = rows[rows["kind"] == "matched"]
    particle = ["field", "dose_e_per_px", "true_row_px", "true_col_px"]
    shown = matched.loc[matched["method"] == "hde", [*particle, "diameter_nm"]]
    both = rows.merge(shown.rename(columns={"diameter_nm": "hde_nm"}), on=particle)
    return both.assign(true_diameter_nm=both["hde_nm"], error_nm=both["diameter_nm"] - both["hde_nm"])


def recall(rows, by):
    """Share of true particles that are found, against the d' that they have; columns of `by`, d_prime, recall, n."""
    true = rows[rows["true_diameter_nm"].notna()].reset_index(drop=True)
    middles = np.sqrt(np.maximum(D_PRIMES[:-1], 0.5) * np.minimum(D_PRIMES[1:], 30))
    number = np.digitize(true["true_d_prime"], D_PRIMES) - 1
    grouped = true.assign(d_prime=middles[number]).groupby([*by, "d_prime"], sort=True)
    return grouped["kind"].agg(recall=lambda kind: np.mean(kind == "matched"), n="size").reset_index()


def calibration(rows):
    """By what standard errors must be multiplied for 90 % intervals that hold nine of ten truths.

    Parameters
    ----------
    rows : pandas.DataFrame
        Whose specimens weigh alike: bodies that are no spheres, as the fit takes them for, are as important as those
        that are.

    Returns
    -------
    pandas.DataFrame
        method, least_d_prime (of a class of d' as far as it is shown, see `measure.seen`), factor (90th percentile of
        |error| / standard error, over 1.645), n.
    """
    parts = []
    for (method, least), group in _classed(rows).groupby(["method", "least_d_prime"], sort=False):
        weights = 1 / group.groupby("specimen")["pull"].transform("size")
        factor = np.quantile(group["pull"], 0.9, weights=weights, method="inverted_cdf") / NINETY
        parts.append([method, least, factor, len(group)])
    table = pd.DataFrame(parts, columns=["method", "least_d_prime", "factor", "n"])
    return table.sort_values(["method", "least_d_prime"], ignore_index=True)


def held(rows, by):
    """Share of 90 % intervals that hold once errors are multiplied by the `calibration` from the other half of fields.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, n significant particles, held.
    """
    found = _classed(rows)
    half = pd.factorize(found["field"])[0] % 2
    judged = []
    for number in (0, 1):
        factors = calibration(rows[rows["field"].isin(found.loc[half != number, "field"])])
        judged.append(found[half == number].merge(factors, on=["method", "least_d_prime"]))
    judged = pd.concat(judged)
    judged = judged[judged["least_d_prime"] >= DETECTABLE].assign(held=lambda t: t["pull"] <= NINETY * t["factor"])
    return judged.groupby(by, sort=False)["held"].agg(n="size", held="mean").reset_index()


def _classed(rows):
    """Particles that are found, with their pull (|error| / standard error) and the class of their d'."""
    found = rows[(rows["kind"] == "matched") & np.isfinite(rows["diameter_error_nm"])]
    place = np.searchsorted(CLASSES, seen(found), side="right")
    return found.assign(
        pull=(found["error_nm"] / found["diameter_error_nm"]).abs(),
        least_d_prime=np.array([0.0, *CLASSES])[place],
    )
