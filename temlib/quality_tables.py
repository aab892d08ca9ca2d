"""From scores of single frames to Table 2: means, intervals over fields, orderings.

Tables in, tables out. Two frames of one field share its specimen, so intervals are over
fields.
"""

import itertools
from operator import itemgetter

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
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


def ratio_interval(numerator, denominator):
    """95 % interval of sum(numerator) / sum(denominator) over fields.

    Parameters
    ----------
    numerator, denominator : array_like of shape (n_fields,)
        One entry a field; for a mean over frames their sum and their number.

    Returns
    -------
    low, high : float
        NaN for a single field, which says nothing about others.

    Notes
    -----
    Student's, by the delta method, of the logarithm of a positive ratio. A bootstrap of few fields is too narrow: of
    three, its ends are the best and the worst of them.
    """
    ratio, error, degrees = _ratio(numerator, denominator)
    if ratio <= 0:
        half = error * _student(degrees)
        return ratio - half, ratio + half
    half = error / ratio * _student(degrees)
    return ratio * np.exp(-half), ratio * np.exp(half)


def _ratio(numerator, denominator):
    """Ratio of two sums over fields, its standard error (Cochran 1977, section 6.4), and the degrees of freedom."""
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    ratio, degrees = top.sum() / bottom.sum() if bottom.sum() else np.nan, len(top) - 1
    if degrees < 1:
        return ratio, np.nan, degrees
    residuals = top - ratio * bottom
    return ratio, np.sqrt(len(top) / degrees * np.sum(residuals**2)) / bottom.sum(), degrees


def _student(degrees):
    return stats.t.ppf((1 + CONFIDENCE) / 2, degrees) if degrees > 0 else np.nan


def summarise(scores):
    """Table 2: one row for each material and method, and for all frames together.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row a frame and method: field, material, method, reference, parameter and the
        numbers of `quality.paper_scores` (also with the ending `_on_hde_scale`) and of
        `quality.fitted_scores`.

    Returns
    -------
    pandas.DataFrame
        Materials and methods in the order of `scores`, "overall" last.
    """
    both = pd.concat([scores, scores.assign(material="overall", parameter=np.nan)])
    return pd.DataFrame(
        [
            {"material": material, "method": method, **_summary(group)}
            for (material, method), group in both.groupby(["material", "method"], sort=False)
        ]
    )


def _summary(group):
    fields = group.groupby("field", sort=False)
    frames = fields.size().to_numpy()
    row = {name: group[name].mean() for name in PER_FRAME}
    for name in ("mae", "psnr_db", "mae_on_hde_scale", "psnr_db_on_hde_scale"):
        stem = name.removesuffix("_db")
        unit = name.removeprefix(stem)
        row[f"{stem}_sd{unit}"] = group[name].std()
        low, high = ratio_interval(fields[name].sum().to_numpy(), frames)
        row |= {f"{stem}_low{unit}": low, f"{stem}_high{unit}": high}
    error, variance = (fields[name].sum().to_numpy() for name in ("mse", "variance"))
    row["nrmse"] = np.sqrt(error.sum() / variance.sum()) if variance.sum() > 0 else np.nan
    row["nrmse_low"], row["nrmse_high"] = np.sqrt(ratio_interval(error, variance))
    return row | {
        "n_fields": len(frames),
        "n_frames": len(group),
        "parameter": group["parameter"].iloc[0],
        "reference": " and ".join(group["reference"].unique()),
    }


def gains(scores, filters):
    """By how much the output beats the best filter, for each material and on average.

    The best filter is the one with the lowest nRMSE on these very frames, which favours it.

    Parameters
    ----------
    scores : pandas.DataFrame
        As for `summarise`, with the methods "output" and `filters`.
    filters : list of str

    Returns
    -------
    pandas.DataFrame
        material, best_filter, filter_nrmse, output_nrmse, gain_db (20 log10 of their ratio) with
        its interval over fields, and `verdict`; the last row, "average", is the mean over materials, with the
        degrees of freedom of Welch and Satterthwaite.
    """
    rows, errors = [], []
    for material, group in scores.groupby("material", sort=False):
        mse = group.pivot_table(index="field", columns="method", values="mse", aggfunc="sum", sort=False)
        best = mse[filters].sum().idxmin()
        variance = group.loc[group["method"] == "output", "variance"].sum()
        ratio, error, degrees = _ratio(mse[best], mse["output"])
        rows.append(
            {
                "material": material,
                "best_filter": best,
                "filter_nrmse": np.sqrt(mse[best].sum() / variance),
                "output_nrmse": np.sqrt(mse["output"].sum() / variance),
            }
            | _gain(10 * np.log10(ratio), 10 / np.log(10) * error / ratio, degrees)
        )
        errors.append((10 / np.log(10) * error / ratio, degrees))
    table = pd.DataFrame(rows)
    variances, degrees = (np.array(column) for column in zip(*((e**2, d) for e, d in errors), strict=True))
    of_all = variances.sum()
    welch = of_all**2 / np.sum(variances**2 / np.maximum(degrees, 1)) if of_all > 0 else degrees.sum()
    average = {"material": "average"} | _gain(table["gain_db"].mean(), np.sqrt(of_all) / len(table), welch)
    return pd.concat([table, pd.DataFrame([average])], ignore_index=True)


def _gain(gain_db, error_db, degrees):
    """A gain with Student's interval, and whether it is resolved."""
    half = error_db * _student(degrees)
    verdict = "better" if gain_db - half > 0 else "worse" if gain_db + half < 0 else "not resolved"
    ends = {"gain_low_db": gain_db - half, "gain_high_db": gain_db + half}
    return {"gain_db": gain_db, **ends, "verdict": verdict}


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
