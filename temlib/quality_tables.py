"""From scores of single frames to Table 2: means, intervals over fields, orderings.

Tables in, tables out. Two frames of one field share its specimen, so what is resampled is
the field.
"""

import itertools
from operator import itemgetter

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

N_RESAMPLES = 2000
METRICS = {  # name: its interval, and whether larger is better
    "mae": ("mae_low", "mae_high", False),
    "psnr_db": ("psnr_low_db", "psnr_high_db", True),
    "nrmse": ("nrmse_low", "nrmse_high", False),
}
PER_FRAME = "mae psnr_db mae_on_hde_scale psnr_db_on_hde_scale psnr_affine_db ssim haze".split()


def as_the_paper(table):
    """Table 2 with MAE and PSNR on the scale of the HDE image in place of those on each image's own scale."""
    swapped = {}
    for name in ("mae", "psnr_db"):
        stem, unit = (name[:-3], "_db") if name.endswith("_db") else (name, "")
        swapped[name] = table[f"{name}_on_hde_scale"]
        for what in ("sd", "low", "high"):
            swapped[f"{stem}_{what}{unit}"] = table[f"{name}_on_hde_scale_{what}"]
    return table.assign(**swapped)


def ratio_interval(numerator, denominator, *, seed):
    """95 % bootstrap interval of sum(numerator) / sum(denominator) over fields.

    Parameters
    ----------
    numerator, denominator : array_like of shape (n_fields,)
        One entry a field; for a mean over frames their sum and their number.
    seed : int

    Returns
    -------
    low, high : float
        NaN for a single field, which says nothing about others.

    Notes
    -----
    Percentile method. From few fields it is too narrow: for normal scatter it covers 73 % with
    3 fields, 84 % with 5, 93 % with 20 (simulated).
    """
    if len(numerator) < 2:
        return np.nan, np.nan
    found = bootstrap(
        (numerator, denominator),
        lambda top, bottom, axis=-1: top.sum(axis=axis) / bottom.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=N_RESAMPLES,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high


def summarise(scores, *, seed):
    """Table 2: one row for each material and method, and for all frames together.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row a frame and method: field, material, method, reference, parameter and the
        numbers of `quality.paper_scores` (also with the ending `_on_hde_scale`) and of
        `quality.fitted_scores`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Materials and methods in the order of `scores`, "overall" last.
    """
    both = pd.concat([scores, scores.assign(material="overall", parameter=np.nan)])
    return pd.DataFrame(
        [
            {"material": material, "method": method, **_summary(group, seed)}
            for (material, method), group in both.groupby(["material", "method"], sort=False)
        ]
    )


def _summary(group, seed):
    fields = group.groupby("field", sort=False)
    frames = fields.size().to_numpy()
    row = {name: group[name].mean() for name in PER_FRAME}
    for name in ("mae", "psnr_db", "mae_on_hde_scale", "psnr_db_on_hde_scale"):
        stem = name.removesuffix("_db")
        unit = name.removeprefix(stem)
        row[f"{stem}_sd{unit}"] = group[name].std()
        low, high = ratio_interval(fields[name].sum().to_numpy(), frames, seed=seed)
        row |= {f"{stem}_low{unit}": low, f"{stem}_high{unit}": high}
    error, variance = (fields[name].sum().to_numpy() for name in ("mse", "variance"))
    row["nrmse"] = np.sqrt(error.sum() / variance.sum()) if variance.sum() > 0 else np.nan
    row["nrmse_low"], row["nrmse_high"] = np.sqrt(ratio_interval(error, variance, seed=seed))
    return row | {
        "n_fields": len(frames),
        "n_frames": len(group),
        "parameter": group["parameter"].iloc[0],
        "reference": " and ".join(group["reference"].unique()),
    }


def gains(scores, filters, *, seed):
    """By how much the output beats the best filter, for each material and on average.

    The best filter is the one with the lowest nRMSE on these very frames, which favours it.

    Parameters
    ----------
    scores : pandas.DataFrame
        As for `summarise`, with the methods "output" and `filters`.
    filters : list of str
    seed : int

    Returns
    -------
    pandas.DataFrame
        material, best_filter, filter_nrmse, output_nrmse, gain_db (20 log10 of their ratio) with
        its interval over fields, and `verdict`; the last row, "average", is the mean over materials.
    """
    rows = []
    for material, group in scores.groupby("material", sort=False):
        mse = group.pivot_table(index="field", columns="method", values="mse", aggfunc="sum", sort=False)
        best = mse[filters].sum().idxmin()
        variance = group.loc[group["method"] == "output", "variance"].sum()
        low, high = 10 * np.log10(ratio_interval(mse[best].to_numpy(), mse["output"].to_numpy(), seed=seed))
        rows.append(
            {
                "material": material,
                "best_filter": best,
                "filter_nrmse": np.sqrt(mse[best].sum() / variance),
                "output_nrmse": np.sqrt(mse["output"].sum() / variance),
                "gain_db": 10 * np.log10(mse[best].sum() / mse["output"].sum()),
                "gain_low_db": low,
                "gain_high_db": high,
                "verdict": "better" if low > 0 else "worse" if high < 0 else "not resolved",
            }
        )
    table = pd.DataFrame(rows)
    average = {"material": "average", "gain_db": table["gain_db"].mean()}
    return pd.concat([table, pd.DataFrame([average])], ignore_index=True)


def orderings(table):
    """Which materials are better than which, and whether the intervals tell them apart.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a material, with the columns of those of `METRICS` that are to be compared.

    Returns
    -------
    pandas.DataFrame
        metric, better, worse, difference (positive), resolved: True where the two intervals
        do not overlap.
    """
    rows = []
    for metric, (low, high, larger_is_better) in METRICS.items():
        if metric not in table:
            continue
        for one, other in itertools.combinations(table.to_dict("records"), 2):
            better, worse = sorted((one, other), key=itemgetter(metric), reverse=larger_is_better)
            rows.append(
                {
                    "metric": metric,
                    "better": better["material"],
                    "worse": worse["material"],
                    "difference": abs(better[metric] - worse[metric]),
                    "resolved": bool(better[low] > worse[high] or better[high] < worse[low]),
                }
            )
    return pd.DataFrame(rows, columns=["metric", "better", "worse", "difference", "resolved"])


def paper_intervals(paper, images):
    """The paper's Table 2 with 95 % intervals of its means, from its own standard deviations.

    Parameters
    ----------
    paper : pandas.DataFrame
        material, mae, mae_sd, psnr_db, psnr_sd_db.
    images : pandas.DataFrame
        The paper's Table 1: material, paper_validation. The two LDE frames of a set show one field
        of view, so half as many independent fields are counted as images.

    Returns
    -------
    pandas.DataFrame
        `paper` without its average, with mae_low, mae_high, psnr_low_db, psnr_high_db.
    """
    paper = paper.merge(images[["material", "paper_validation"]], on="material")
    for mean, sd in (("mae", "mae_sd"), ("psnr_db", "psnr_sd_db")):
        half_width = 1.96 * paper[sd] / np.sqrt(paper["paper_validation"] / 2)
        low, high, _ = METRICS[mean]
        paper[low], paper[high] = paper[mean] - half_width, paper[mean] + half_width
    return paper
