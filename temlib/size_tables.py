"""From particles beside their truth to what can be said of a method: errors of diameters.

Tables in, tables out. Rows are those of `size_trials.beside_truth` with field, specimen, material, dose_e_per_px and
method; intervals are over fields, since the particles of one share its film, its fringes and its noise. Particles that
the frame cuts are left out of all that is said of sizes.
"""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from temlib.bootstrap import ENDS, RESAMPLED, interval, share_interval
from temlib.standard_errors import ANY_SHAPE, ERROR, NINETY

NORMAL_MEDIAN = 0.6745  # of |x| for a standard normal x
SIZES_NM = np.array([30.0, 40, 50, 63, 80, 100, 126, 159, 200])
GAPS_NM = np.array([-20.0, -10, 0, 10, 20, 30, 40])
ALONE_NM = 10.0  # a particle whose nearest rim is farther is alone
SURE_D_PRIME = 6.0  # from which the aims hold
LEAST = 5  # particles of which a median is told
# By what the median absolute deviation of 2 to 9 normal numbers is multiplied, so that its mean is that of many, and
# n / (n - FEWER) of more: Croux and Rousseeuw (1992), Time-efficient algorithms for two highly robust estimators of
# scale
OF_FEW, FEWER = np.array([1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107]), 0.8
BOUND_SLACK = 0.9  # of the bound: it leaves out what finer steps of the rim would tell


def sure(rows):
    """The rows of true particles with d' of 6 or more."""
    return rows[rows["true_d_prime"] >= SURE_D_PRIME]


def whole(rows):
    """The rows of true particles that lie wholly in the frame."""
    inside = ~rows["true_at_border"].astype("boolean").fillna(True)
    return rows[rows["true_diameter_nm"].notna() & inside]


def alone(rows):
    """The rows of true particles that lie wholly in the frame and whose nearest neighbour is 10 nm away or farther."""
    found = whole(rows)
    return found[~(found["true_gap_nm"] < ALONE_NM)]


def neighbours(rows):
    """The rows of true particles, wholly in the frame, that have a neighbour within GAPS_NM, with gap_nm to it."""
    found = whole(rows)
    found = found[found["true_gap_nm"].between(GAPS_NM[0], GAPS_NM[-1])]
    return found.assign(gap_nm=middle_of_gaps(found["true_gap_nm"]))


def middle_of_gaps(gap_nm):
    """The middle of the bin of GAPS_NM that each gap is in."""
    middles = (GAPS_NM[1:] + GAPS_NM[:-1]) / 2
    return middles[np.clip(np.digitize(np.asarray(gap_nm, float), GAPS_NM) - 1, 0, len(middles) - 1)]


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
        (median of |error| / 0.6745, one that was not found being infinitely wrong: it holds the bias, so that a bias
        alone counts 1.48 times), scatter_nm (that of what the errors of those found differ from their median),
        bias_by_bound and spread_by_bound (as of error / bound, so particle by particle), coverage (share of |error|
        within 1.645 standard errors) and coverage_any_shape (the same with those of any shape).
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
        "significant": (found * group["significant"].eq(True).fillna(False).astype(bool), np.mean),
        "bias_nm": (error, np.nanmedian),
        "spread_nm": (error, _spread),
        "scatter_nm": (error, scatter),
        "bias_by_bound": (relative, np.nanmedian),
        "spread_by_bound": (relative, _spread),
        "coverage": (within, np.nanmean),
        "coverage_any_shape": (within_any, np.nanmean),
    }


def _errors(group, seed):
    row = {"n": len(group), "fields": group["field"].nunique()}
    row |= {"diameter_nm": group["true_diameter_nm"].median(), "bound_nm": spread_of_bounds(group["true_bound_nm"])}
    fields = group["field"].to_numpy()
    for name, (values, statistic) in _statistics(group).items():
        values = values.to_numpy()
        ends = f"{name}_low", f"{name}_high"
        known = len(values) if name.startswith("spread") else np.isfinite(values).sum()
        if known < LEAST and name not in ("found", "significant"):
            row |= dict.fromkeys([name, *ends], np.nan)
            continue
        if statistic in (np.mean, np.nanmean):
            low_high = share_interval(values, fields, seed=seed)
        else:
            low_high = interval(values, fields, statistic, seed=seed)
        row |= {name: statistic(values)} | dict(zip(ends, low_high, strict=True))
    return row


def _spread(errors):
    """Standard deviation by the median of |error|; what is not known is infinite."""
    return float(np.median(np.nan_to_num(np.abs(np.asarray(errors, float)), nan=np.inf))) / NORMAL_MEDIAN


def scatter(errors):
    """Standard deviation by the median of what errors differ from theirs; also of few it has the right mean."""
    errors = np.asarray(errors, float)
    errors = errors[~np.isnan(errors)]
    n, middle = len(errors), np.median(errors)
    if np.isinf(middle) or n < 2:
        return np.inf if n > 1 else np.nan
    return (OF_FEW[n - 2] if n < len(OF_FEW) + 2 else n / (n - FEWER)) * _spread(errors - middle)


def spread_of_bounds(bounds):
    """The spread of errors of which each is normal with a bound of its own for standard deviation."""
    bounds = np.nan_to_num(np.asarray(bounds, float), nan=np.inf)
    if np.isinf(bounds).mean() >= 0.5:
        return np.inf

    def half_are_within(error):
        return np.mean(2 * stats.norm.cdf(error / bounds) - 1) - 0.5

    most = bounds[np.isfinite(bounds)].max()
    return brentq(half_are_within, 0, 1e3 * most) / NORMAL_MEDIAN


def as_aim(table, name):
    """A table with the number of an aim as value, low and high, the ends of its 95 % interval."""
    return table.rename(columns={name: "value", f"{name}_low": "low", f"{name}_high": "high"})


def verdicts(table, least, most):
    """Whether each value lies within limits: "reached", "missed", or "not resolved" if its interval holds a limit.

    Parameters
    ----------
    table : pandas.DataFrame
        value, low and high.
    least, most : array of float, one a row
    """
    within = (table["low"] >= least) & (table["high"] <= most)
    outside = (table["high"] < least) | (table["low"] > most)
    return np.select([within, outside], ["reached", "missed"], "not resolved")


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
        Lone particles, with the number diameter_bin of a bin of `SIZES_NM`; bins of fewer than LEAST are left out,
        here and in what is drawn.
    by : list of str
        Columns that make the groups.
    shares : dict of str to float
        0.05 for 5 %, by the name of the column that tells the diameter.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, smallest_nm (the diameter of the smallest bin; what is as small may be smaller), and for
        each share its column with the ends _low and _high (NaN for one field), of `smallest_sized`, in nm; inf where
        even the largest particles are worse.
    """
    table, rng = [], np.random.default_rng(seed)
    for key, group in rows.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True))
        error_nm = group["error_nm"].where(group["kind"] == "matched").abs().fillna(np.inf).to_numpy()
        columns = np.column_stack([group["diameter_bin"], group["true_diameter_nm"], error_nm])
        bins, numbers = np.unique(columns[:, 0], return_counts=True)
        columns = columns[np.isin(columns[:, 0], bins[numbers >= LEAST])]
        field = group["field"][np.isin(group["diameter_bin"], bins[numbers >= LEAST])].to_numpy()
        members = [columns[field == name] for name in group["field"].unique()]
        drawn = [rng.integers(0, len(members), len(members)) for _ in range(RESAMPLED // 2)]
        spreads = [_by_bin(columns), *(_by_bin(np.concatenate([members[i] for i in draw])) for draw in drawn)]
        row["smallest_nm"] = spreads[0]["diameter_nm"].min()
        for name, share in shares.items():
            found, *others = np.nan_to_num([smallest_sized(one, share) for one in spreads], nan=np.inf)
            ends = np.quantile(others, ENDS, method="nearest") if len(members) > 1 else (np.nan, np.nan)
            row |= {name: found, f"{name}_low": ends[0], f"{name}_high": ends[1]}
        table.append(row)
    ends = [f"{name}{end}" for name in shares for end in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=[*by, "smallest_nm", *ends])


def _by_bin(columns):
    """diameter_nm and spread_nm of each bin of (bin, true diameter, |error|)."""
    parts = [columns[columns[:, 0] == number] for number in np.unique(columns[:, 0])]
    told = [(np.median(part[:, 1]), _spread(part[:, 2])) for part in parts]
    return pd.DataFrame(told, columns=["diameter_nm", "spread_nm"])


def against_hde(rows):
    """The same rows with the diameters that the HDE image shows for truth, where it shows a particle at all.

    For specimens of which nobody knows the diameters: what is left is what low dose and denoising do to them.
    """
    matched = rows[rows["kind"] == "matched"]
    particle = ["field", "dose_e_per_px", "true_row_px", "true_col_px"]
    shown = matched.loc[matched["method"] == "hde", [*particle, "diameter_nm"]]
    both = rows[rows["method"] != "hde"].merge(shown.rename(columns={"diameter_nm": "hde_nm"}), on=particle)
    return both.assign(true_diameter_nm=both["hde_nm"], error_nm=both["diameter_nm"] - both["hde_nm"])
