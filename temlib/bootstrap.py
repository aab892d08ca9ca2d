"""95 % intervals by drawing fields with replacement, since the particles of one field err together."""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2

RESAMPLED = 400
ENDS = 0.025, 0.975


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
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLED, len(names)))
    with warnings.catch_warnings(action="ignore"):  # of draws without a number
        drawn = np.array([statistic(np.concatenate([members[i] for i in draw])) for draw in draws])
    return _ends(drawn)


def share_interval(truths, fields, *, seed):
    """The same of the share that is true; at its ends at least Wilson's for as many trials as there are fields.

    Where all or none are true in every field, so they are in every draw: that says nothing of other fields.

    Parameters
    ----------
    truths : ndarray of shape (n,)
        1, 0, or NaN where it is not known.
    fields : ndarray of shape (n,)
    seed : int
    """
    known = ~np.isnan(truths)
    names, number = np.unique(np.asarray(fields)[known], return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    hits, tries = (np.bincount(number, weight, len(names)) for weight in (truths[known], None))
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLED, len(names)))
    low, high = _ends(hits[draws].sum(axis=1) / tries[draws].sum(axis=1))
    if (share := hits.sum() / tries.sum()) in (0, 1):
        wilson = binomtest(round(share * len(names)), len(names)).proportion_ci(method="wilson")
        low, high = min(low, wilson.low), max(high, wilson.high)
    return low, high


def count_interval(counts, *, seed):
    """The same of a sum over fields; at least Poisson's exact one, as if what is counted were independent.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
        One entry a field.
    seed : int
    """
    if len(counts) < 2:
        return np.nan, np.nan
    draws = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLED, len(counts)))
    low, high = _ends(counts[draws].sum(axis=1))
    total = counts.sum()
    return min(low, np.nan_to_num(chi2.ppf(ENDS[0], 2 * total) / 2)), max(high, chi2.ppf(ENDS[1], 2 * total + 2) / 2)


def _ends(drawn):
    drawn = drawn[~np.isnan(drawn)]
    return tuple(np.quantile(drawn, ENDS, method="nearest")) if len(drawn) else (np.nan, np.nan)


def shares(rows, by, column, *, seed):
    """Mean of a column of truths in each group, with n and the ends _low and _high of its 95 % interval over fields."""
    table = []
    for key, group in rows.groupby(by, sort=True):
        values = group[column].to_numpy(float)
        low, high = share_interval(values, group["field"].to_numpy(), seed=seed)
        told = {"n": len(group), column: values.mean(), f"{column}_low": low, f"{column}_high": high}
        table.append(dict(zip(by, key, strict=True)) | told)
    return pd.DataFrame(table, columns=[*by, "n", column, f"{column}_low", f"{column}_high"])
