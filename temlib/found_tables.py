"""What is found and what is invented: recall, false particles a field, pairs told apart.

Tables in, tables out; rows as in `size_tables`, which tells of sizes.
"""

import numpy as np
import pandas as pd
from scipy import stats

from temlib.bootstrap import count_interval, share_interval, shares
from temlib.measure import seen
from temlib.size_tables import middle_of_gaps, sure

LARGE_NM, DARK = 30.0, 0.03  # an invented particle counts from this diameter and contrast on
BEAM_FIELD_NM = 512 * 2.9885  # edge of the paper's field of view, for which false particles are counted
D_PRIMES = np.array([0.0, 1, 2, 3, 4, 5, 6, 8, 12, np.inf])
MOST_D_PRIME = 12  # of a threshold
KINDS = ["matched", "merged", "missed", "split", "invented"]  # of rows, see `size_trials.beside_truth`
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


def froc(rows, false_rows, fields, by):
    """Recall against false particles, as the least d' that counts goes down (free-response ROC).

    Parameters
    ----------
    rows, false_rows : pandas.DataFrame
        Of fields with particles, whose recall is told; and of the fields in which false ones are counted. The d' of
        what is found is its score, as far as it is shown.
    fields : pandas.DataFrame
        The latter, as in `invented_per_field`, by method.
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
        others = others[without_partner(others)].assign(score=seen).sort_values("score", ascending=False)
        false, weights = others["score"].to_numpy(), _weights(others["diameter_nm"], fields.loc[method])
        true = sure(group)
        scores = np.where(true["kind"] == "matched", seen(true), -np.inf)
        above = np.nextafter(false, np.inf)  # what each false one no longer is
        levels = np.unique(np.concatenate([false, above, np.arange(10 * MOST_D_PRIME + 1) / 10]))
        number = np.searchsorted(-false, -levels, side="right")
        weight = [_weights(LARGE_NM, fields.loc[method]), *(np.cumsum(weights) / np.arange(1, len(false) + 1))]
        by_number = np.array(weight)[number] / (fields.loc[method, "area_nm2"] / BEAM_FIELD_NM**2)
        told = {by: method, "least_d_prime": levels, "false_per_field": number * by_number}
        told["false_at_most"] = stats.chi2.ppf(0.95, 2 * number + 2) / 2 * by_number
        told["recall"] = [np.mean(scores >= level) if len(scores) else np.nan for level in levels]
        parts.append(pd.DataFrame(told | {"sure_particles": len(scores)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def corners(curves, by):
    """Curves of `froc` by fewer points: one for each place, and none on a straight line between two others.

    Parameters
    ----------
    curves : pandas.DataFrame
    by : list of str
        Columns that tell the curves apart.
    """
    curves = curves.drop_duplicates([*by, "false_per_field", "recall"])
    between = pd.Series(False, curves.index)
    for column in ("false_per_field", "recall"):
        neighbours = curves.groupby(by)[column]
        between |= curves[column].eq(neighbours.shift()) & curves[column].eq(neighbours.shift(-1))
    return curves[~between].reset_index(drop=True)


def at_false_rate(curves, rate, by):
    """The point of each curve of `froc` with the best recall at this many false particles a field, or fewer."""
    allowed = curves[curves["false_per_field"] <= rate].sort_values("least_d_prime")
    return allowed.groupby(by, sort=False).head(1).reset_index(drop=True)


def without_partner(rows):
    """Which found particles of 30 nm and 3 % contrast or more have no true partner, further pieces among them.

    Those at the border are left out where a true one may reach in from outside; see `_weights`.
    """
    alone, inside = rows["kind"].isin(["invented", "split"]), ~rows["at_border"].eq(True)
    if "specimen" in rows:
        inside |= rows["specimen"].isin(NONE_REACH_IN)
    return alone & inside & (rows["diameter_nm"] >= LARGE_NM) & (rows["contrast"] >= DARK)


def _weights(diameter_nm, tried):
    """How many each false particle counts for: the whole area over that in which it would not be at the border.

    Horvitz and Thompson (1952); 1 where none are left out at the border.

    Parameters
    ----------
    diameter_nm : array-like
    tried : pandas.Series
        specimen, and edge_nm of one image, which is taken for square.
    """
    if tried["specimen"] in NONE_REACH_IN:
        return np.ones(np.shape(diameter_nm))
    return 1 / (1 - np.minimum(diameter_nm, tried["edge_nm"] / 2) / tried["edge_nm"]) ** 2


def invented_per_field(rows, fields):
    """What is invented, in a field of the paper's size.

    Parameters
    ----------
    rows : pandas.DataFrame
    fields : pandas.DataFrame
        method and specimen, n_fields on which it was tried, area_nm2 of all of these together, and edge_nm of one image
        (the root of its area).

    Returns
    -------
    pandas.DataFrame
        `fields` with without_partner (found ones of 30 nm and 3 % contrast or more, whatever their d'), pieces (those
        of them that lie in a true particle, which has another partner), and significant (those that `temlib measure`
        calls so), each a field, with the ends _low and _high of its 95 % interval over fields (NaN for one field).
    """
    false = rows[without_partner(rows)].astype({"significant": bool})
    false = false.assign(pieces=false["kind"] == "split", without_partner=True)
    columns = ["without_partner", "pieces", "significant"]
    told = []
    for tried in fields.to_dict("records"):
        there = false[(false["method"] == tried["method"]) & (false["specimen"] == tried["specimen"])]
        for name in columns:
            counted = there[there[name]]
            of_fields = counted.groupby("field").size().to_numpy()
            of_fields = np.pad(of_fields, (0, tried["n_fields"] - len(of_fields)))
            weight = np.mean(_weights(counted["diameter_nm"] if len(counted) else LARGE_NM, tried))
            numbers = np.array([of_fields.sum(), *count_interval(of_fields, seed=0)])
            per_field = numbers * weight / (tried["area_nm2"] / BEAM_FIELD_NM**2)
            tried |= {f"{name}{end}": x for end, x in zip(("", "_low", "_high"), per_field, strict=True)}
        told.append(tried)
    return pd.DataFrame(told)


def with_recall_interval(points, rows, *, seed):
    """Points of `froc`, with the specimen that they are of, with recall_low and recall_high: 95 %, over fields.

    Parameters
    ----------
    points : pandas.DataFrame
    rows : pandas.DataFrame
        With the column specimen.
    seed : int
    """
    true, ends = sure(rows), []
    for point in points.itertuples():
        of_point = true[(true["specimen"] == point.specimen) & (true["method"] == point.method)]
        found = (of_point["kind"] == "matched") & (seen(of_point) >= point.least_d_prime)
        ends.append(share_interval(found.to_numpy(float), of_point["field"].to_numpy(), seed=seed))
    low, high = np.reshape(ends, (-1, 2)).T
    return points.assign(recall_low=low, recall_high=high)


def counts(rows, by, *, seed):
    """What becomes of particles.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, how many are of each of KINDS, and of those merged and split the ends _low and _high of
        the 95 % interval over fields.
    """
    table = []
    for key, group in rows.groupby(by, sort=False):
        of_fields = pd.crosstab(group["field"], group["kind"]).reindex(columns=KINDS, fill_value=0)
        row = dict(zip(by, key, strict=True)) | of_fields.sum().to_dict()
        for kind in ("merged", "split"):
            low, high = count_interval(of_fields[kind].to_numpy(), seed=seed)
            row |= {f"{kind}_low": low, f"{kind}_high": high}
        table.append(row)
    return pd.DataFrame(table)


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
