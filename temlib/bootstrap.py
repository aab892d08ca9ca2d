"""95 % intervals by drawing fields with replacement, since the particles of one field err together."""

import warnings

import numpy as np
import pandas as pd

RESAMPLED = 400


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


def shares(rows, by, column, *, seed):
    """Mean of a column of truths in each group, with n and the ends _low and _high of its 95 % interval over fields."""
    table = []
    for key, group in rows.groupby(by, sort=True):
        values = group[column].to_numpy(float)
        low, high = interval(values, group["field"].to_numpy(), np.mean, seed=seed)
        told = {"n": len(group), column: values.mean(), f"{column}_low": low, f"{column}_high": high}
        table.append(dict(zip(by, key, strict=True)) | told)
    return pd.DataFrame(table, columns=[*by, "n", column, f"{column}_low", f"{column}_high"])
