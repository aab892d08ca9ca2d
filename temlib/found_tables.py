"""What is found and what is invented: recall, false particles a field, pairs told apart.

Tables in, tables out; rows as in `size_tables`, which tells of sizes.
"""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.stats import binomtest

from temlib.bootstrap import count_interval, shares
from temlib.measure import seen
from temlib.size_tables import middle_of_gaps, sure

LARGE_NM, DARK = 30.0, 0.03  # an invented particle counts from this diameter and contrast on
BEAM_FIELD_NM = 512 * 2.9885  # edge of the paper's field of view, for which false particles are counted
D_PRIMES = np.array([0.0, 1, 2, 3, 4, 5, 6, 8, 12, np.inf])
MOST_D_PRIME = 12  # of a threshold
NONE_REACH_IN = "sized", "empty"  # specimens whose particles all lie wholly in the frame


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


def at_false_rate(curves, rate, by):
    """The point of each curve of `froc` with the best recall at this many false particles a field, or fewer."""
    allowed = curves[curves["false_per_field"] <= rate].sort_values("least_d_prime")
    return allowed.groupby(by, sort=False).head(1).reset_index(drop=True)


def without_partner(rows):
    """Which found particles of 30 nm and 3 % contrast or more have no true partner, further pieces among them.

    Those at the border are left out where a true one may reach in from outside.
    """
    alone, inside = rows["kind"].isin(["invented", "split"]), ~rows["at_border"].eq(True)
    if "specimen" in rows:
        inside |= rows["specimen"].isin(NONE_REACH_IN)
    return alone & inside & (rows["diameter_nm"] >= LARGE_NM) & (rows["contrast"] >= DARK)


def invented_per_field(rows, fields):
    """What is invented, in a field of the paper's size.

    Parameters
    ----------
    rows : pandas.DataFrame
    fields : pandas.DataFrame
        method and specimen, n_fields on which it was tried, and area_nm2 of all of these together.

    Returns
    -------
    pandas.DataFrame
        `fields` with without_partner (found ones of 30 nm and 3 % contrast or more, whatever their d'), pieces (those
        of them that lie in a true particle, which has another partner), and significant (those that `temlib measure`
        calls so), each a field, with the ends _low and _high of its 95 % interval over fields (NaN for one field).
        Where those at the border are left out (`without_partner`), the area is still the whole.
    """
    false = rows[without_partner(rows)].astype({"significant": bool})
    false = false.assign(pieces=false["kind"] == "split", without_partner=1)
    columns = ["without_partner", "pieces", "significant"]
    by_field = false.groupby(["method", "specimen", "field"])[columns].sum()
    told = []
    for row in fields.to_dict("records"):
        there = by_field[by_field.index.droplevel("field") == (row["method"], row["specimen"])]
        counts = np.pad(there.to_numpy(int), [(0, row["n_fields"] - len(there)), (0, 0)])
        paper_fields = row["area_nm2"] / BEAM_FIELD_NM**2
        for name, of_fields in zip(columns, counts.T, strict=True):
            numbers = of_fields.sum(), *count_interval(of_fields, seed=0)
            row |= {f"{name}{end}": x / paper_fields for end, x in zip(("", "_low", "_high"), numbers, strict=True)}
        told.append(row)
    return pd.DataFrame(told)


def with_share_interval(points):
    """Points of `froc` with recall_low and recall_high, Wilson's 95 % interval as if particles were independent."""
    ends = [
        binomtest(round(point.recall * point.sure_particles), point.sure_particles).proportion_ci(method="wilson")
        for point in points.itertuples()
    ]
    return points.assign(recall_low=[one.low for one in ends], recall_high=[one.high for one in ends])


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
    binned = pairs.assign(gap_nm=middle_of_gaps(pairs["gap_nm"]))
    return shares(binned, [*by, "gap_nm"], "told_apart", seed=seed)
