"""What a difference between two variants of `ablations` is worth: intervals over seeds and over fields.

Tables in, tables out.
"""

import numpy as np
import pandas as pd
from scipy import stats

from temlib.ablations import COLUMNS, MATCHED, TESTS
from temlib.bootstrap import ENDS

CONFIDENCE = 0.95
LEAST_DB = 1.0  # of a network that learnt anything; a blank image has 0
NOT_LEARNT = "nothing learnt"
DRAWS = 2000  # of the fields
NUMBERS = ["quality_db", "against_db", "difference_db", "low_db", "high_db", "fields_low_db", "fields_high_db"]
DARK_NUMBERS = ["dark_bias", "against_dark_bias", "dark_low", "dark_high", "dark_fields_low", "dark_fields_high"]
NUMBERS += ["seeds_db", *DARK_NUMBERS, "n_seeds", "verdict"]


def pooled_db(scores):
    """How far below the contrast the error is, for each variant, test and seed.

    Parameters
    ----------
    scores : pandas.DataFrame
        variant, test, seed, mse and variance of every field (see `quality.fitted_scores`).

    Returns
    -------
    pandas.DataFrame
        variant, test, seed and quality_db = -20 lg nRMSE, pooled over fields; a blank image has 0.
    """
    sums = scores.groupby(["variant", "test", "seed"], sort=False, as_index=False)[["mse", "variance"]].sum()
    return sums.assign(quality_db=-10 * np.log10(sums["mse"] / sums["variance"])).drop(columns=["mse", "variance"])


def mean_interval(values):
    """Mean of a few values, and Student's 95 % interval of it: (mean, low, high), NaN for fewer than two."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return mean, mean - half, mean + half


def verdicts(table, scores):
    """Differences of some comparisons, paired seed by seed.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `ablations.comparisons`.
    scores : pandas.DataFrame
        As for `pooled_db`, with field and dark_bias; a variant that could not be had is not in it.

    Returns
    -------
    pandas.DataFrame
        The rows of `table` with quality_db and against_db (means over seeds), difference_db (positive: the variant
        is nearer to the truth), its interval over seeds low_db and high_db, that over fields fields_low_db and
        fields_high_db (drawn with replacement, alike in all seeds and for both sides), seeds_db (the differences
        themselves, joined by spaces), dark_bias and against_dark_bias (means of those of `scores`) and the intervals of
        their difference over seeds and over fields, n_seeds, and the verdict: "better" or "worse" where both intervals
        leave out 0, else "not resolved"; NOT_LEARNT where a network of either side, in any seed, shows next to nothing
        in all of its tests; "not available here".
    """
    quality = pooled_db(scores).set_index(["variant", "test", "seed"])["quality_db"].sort_index()
    at_best = quality.groupby(["variant", "seed"]).max().groupby("variant").min()
    rows = []
    for row in table.to_dict("records"):
        sides = [(row["variant"], row["test"]), (row["against"], row["against_test"])]
        if any(side not in quality.index for side in sides):
            rows.append(row | {"n_seeds": 0, "verdict": "not available here"})
            continue
        one, other = (quality.loc[side] for side in sides)
        seeds = (one - other).dropna()
        mean, low, high = mean_interval(seeds)
        of_fields = _interval_of_fields(scores, *sides, seeds.index)
        verdict = "not resolved"
        if at_best[[row["variant"], row["against"]]].min() < LEAST_DB:
            verdict = NOT_LEARNT
        elif min(low, of_fields[0]) > 0:
            verdict = "better"
        elif max(high, of_fields[1]) < 0:
            verdict = "worse"
        row |= dict(zip(["fields_low_db", "fields_high_db"], of_fields, strict=True))
        row |= _dark_difference(scores, *sides, seeds.index)
        row |= {"quality_db": one[seeds.index].mean(), "against_db": other[seeds.index].mean(), "difference_db": mean}
        row |= {"low_db": low, "high_db": high, "seeds_db": " ".join(f"{value:.4f}" for value in seeds)}
        rows.append(row | {"n_seeds": len(seeds), "verdict": verdict})
    return pd.DataFrame(rows, columns=[*COLUMNS, *NUMBERS])


def _interval_of_fields(scores, one, other, seeds):
    """Interval of the difference of two sides, fields drawn with replacement; NaN for fewer than two."""
    both = [[_by_seed_and_field(scores, side, name, seeds) for name in ("mse", "variance")] for side in (one, other)]

    def difference(draws):
        levels = [-10 * np.log10(mse[:, draws].sum(-1) / variance[:, draws].sum(-1)) for mse, variance in both]
        return levels[0] - levels[1]

    return _interval_of_draws(difference, both[0][0].shape[1])


def _by_seed_and_field(scores, side, name, seeds):
    """A column of the scores of one variant and test, (seeds, fields); fields of which it is not known left out."""
    rows = scores[(scores["variant"] == side[0]) & (scores["test"] == side[1])]
    return rows.pivot_table(index="seed", columns="field", values=name).reindex(seeds).to_numpy()


def _interval_of_draws(difference, n_fields):
    """Ends of the interval of a difference, (seeds, draws) of fields drawn with replacement, mean over seeds."""
    if n_fields < 2:
        return np.nan, np.nan
    draws = np.random.default_rng(0).integers(0, n_fields, (DRAWS, n_fields))
    return tuple(np.quantile(difference(draws).mean(axis=0), ENDS))


def _dark_difference(scores, one, other, seeds):
    """The means of dark_bias of two sides, and the intervals of their difference over seeds and over fields."""
    both = [_by_seed_and_field(scores, side, "dark_bias", seeds) for side in (one, other)]
    told = dict.fromkeys(DARK_NUMBERS, np.nan)
    if 0 in (*both[0].shape, *both[1].shape):
        return told
    difference = both[0] - both[1]
    means = [side.mean() for side in both]
    of_seeds = mean_interval(difference.mean(axis=1))[1:]
    of_fields = _interval_of_draws(lambda draws: difference[:, draws].mean(axis=-1), difference.shape[1])
    return dict(zip(DARK_NUMBERS, (*means, *of_seeds, *of_fields), strict=True))


def dose_matrix(found):
    """Dose in training against dose at test, from the table of `verdicts`.

    Returns
    -------
    pandas.DataFrame
        trained_at, tested_at, loss_db (against a network trained at the dose of the test; 0 for itself; NaN where one
        of both learnt nothing) and resolved; empty where no such comparison was made.
    """
    rows = found[(found["question"] == "dose") & (found["n_seeds"] > 0)]
    names = {matched: f"{TESTS[test]['dose_e_per_px']:g}" for test, matched in MATCHED.items()} | {"all doses": "all"}
    cells = pd.DataFrame(
        {
            "trained_at": rows["variant"].map(names),
            "tested_at": rows["against"].map(names),
            "loss_db": -rows["difference_db"].where(rows["verdict"] != NOT_LEARNT),
            "resolved": rows["verdict"].isin(["better", "worse"]),
        }
    )
    itself = cells[["tested_at"]].drop_duplicates().assign(loss_db=0.0, resolved=True)
    return pd.concat([cells, itself.assign(trained_at=itself["tested_at"])], ignore_index=True)
