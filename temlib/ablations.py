"""Which choice matters? What is varied, one thing at a time, and what a difference is worth.

Tables in, tables out: no torch, no plotting, no files. A *variant* is a training recipe, told by what it changes of
`CORRECTED`; a *test* is how the held-out fields are exposed; a *comparison* sets one variant on one test against
another, which differ in one thing.
"""

import numpy as np
import pandas as pd
from scipy import stats

from temlib.bootstrap import ENDS
from temlib.errors import ProfileError
from temlib.trials import OTHER_DOSE_E_PER_PX

USUAL_DOSE_E_PER_PX = 4.5  # of the paper's LDE frames; they are simulated with 4.1 to 4.7
DOSES_E_PER_PX = (USUAL_DOSE_E_PER_PX, 2.0, 10.0, 20.0)
# cameras as `trials.expose` knows them, and the dose that they take
OTHER_CAMERAS = dict.fromkeys(["unclipped", "counting"], USUAL_DOSE_E_PER_PX) | {"other": OTHER_DOSE_E_PER_PX}
SEGMENT_PX = 32  # of the paper's camera: columns that share an offset
CONFIDENCE = 0.95
LEAST_DB = 1.0  # of a network that learnt anything; a blank image has 0
NOT_LEARNT = "nothing learnt"
DRAWS = 2000  # of the fields

CORRECTED = {
    "architecture": "Unet",  # a name of segmentation_models.pytorch
    "encoder": "random",  # or "pretrained"
    "target": "area mean",  # or "authors' resize", of the HDE frame
    "aligned": True,  # the HDE frame's drift removed
    "input_scale": "background",  # or "extremes": the authors' scale, of percentiles
    "target_scale": "background",  # or "extremes": the authors', from the least to the most
    "statistics_kept": True,  # batch normalisation keeps its statistics at the end; or those of each batch throughout
    "averaged": True,  # the moving average of the weights; or the last step's
    "rate_falls": True,  # the learning rate, to 0; or it is the same in all steps
    "steps": 1,  # times those of the profile
    "augmentation": "flips",  # and "crops at 32", "crops anywhere" or "quarter turns"
    "exposures": "both",  # LDE frames of a field: each is a sample; "first": one only; "summed": one of both
    "loss": "L1",  # or "L2"; "clipped L2" compares what the camera would read of the output
    "learns_from": "HDE",  # or "LDE": the other exposure
    "fields_share": 1.0,  # of the training fields
    "doses_e_per_px": None,  # as recorded; or those that fields are exposed with anew, in turn
    "camera": "clipped",  # of fields that are exposed anew, as `trials.expose` knows it
}
FAITHFUL = {
    "target": "authors' resize",
    "aligned": False,
    "input_scale": "extremes",
    "target_scale": "extremes",
}
UNSETTLED = {"statistics_kept": False, "averaged": False, "rate_falls": False}
VARIANTS = {
    "corrected": {},
    "authors' code": FAITHFUL | UNSETTLED,
    "authors' preprocessing": FAITHFUL,
    **{
        f"authors' preprocessing, {word}": FAITHFUL | {key: CORRECTED[key]}
        for key, word in [
            ("target", "area mean"),
            ("aligned", "drift removed"),
            ("input_scale", "input on the film"),
            ("target_scale", "target on the film"),
        ]
    },
    "authors' resize": {"target": "authors' resize"},
    "drift left in": {"aligned": False},
    "input on its extremes": {"input_scale": "extremes"},
    "target on its extremes": {"target_scale": "extremes"},
    "statistics of batches": {"statistics_kept": False},
    "constant rate": {"rate_falls": False},
    "last weights": {"rate_falls": False, "averaged": False},
    "twice the steps": {"steps": 2},
    "crops at 32": {"augmentation": "crops at 32"},
    "crops anywhere": {"augmentation": "crops anywhere"},
    "quarter turns": {"augmentation": "quarter turns"},
    "U-Net++": {"architecture": "UnetPlusPlus"},
    "FPN": {"architecture": "FPN"},
    "Linknet": {"architecture": "Linknet"},
    "MAnet": {"architecture": "MAnet"},
    "pretrained": {"encoder": "pretrained"},
    "one exposure": {"exposures": "first"},
    "summed exposures": {"exposures": "summed"},
    "L2": {"loss": "L2"},
    "noise2noise": {"loss": "L2", "learns_from": "LDE"},
    "noise2noise, clipped": {"loss": "clipped L2", "learns_from": "LDE"},
    "1/8 of the fields": {"fields_share": 1 / 8},
    "1/4 of the fields": {"fields_share": 1 / 4},
    "1/2 of the fields": {"fields_share": 1 / 2},
    **{f"{dose:g} e⁻/px": {"doses_e_per_px": [dose], "steps": 2} for dose in DOSES_E_PER_PX},
    "all doses": {"doses_e_per_px": sorted(DOSES_E_PER_PX), "steps": 2},
    **{
        f"{network}, {camera}": recipe | {"camera": camera, "doses_e_per_px": [dose]}
        for network, recipe in {"authors' preprocessing": FAITHFUL, "corrected": {}}.items()
        for camera, dose in OTHER_CAMERAS.items()
    },
    "Gaussian filter": {"architecture": None},  # no network: the best width for the very frames
}

# kind of camera as `trials.expose` knows it, dose, and the first column of the crop that the network is given
TESTS = {
    "usual": {"kind": "clipped", "dose_e_per_px": USUAL_DOSE_E_PER_PX, "first_col_px": 0},
    "off 32": {"kind": "clipped", "dose_e_per_px": USUAL_DOSE_E_PER_PX, "first_col_px": SEGMENT_PX // 2},
    **{camera: {"kind": camera, "dose_e_per_px": dose, "first_col_px": 0} for camera, dose in OTHER_CAMERAS.items()},
    **{f"{dose:g} e⁻/px": {"kind": "clipped", "dose_e_per_px": dose, "first_col_px": 0} for dose in DOSES_E_PER_PX[1:]},
}
MATCHED = {"usual": f"{USUAL_DOSE_E_PER_PX:g} e⁻/px"} | {test: test for test in VARIANTS if test in TESTS}

COLUMNS = ["question", "comparison", "variant", "test", "against", "against_test", "paper"]
NUMBERS = ["quality_db", "against_db", "difference_db", "low_db", "high_db", "fields_low_db", "fields_high_db"]
DARK_NUMBERS = ["dark_bias", "against_dark_bias", "dark_low", "dark_high", "dark_fields_low", "dark_fields_high"]
NUMBERS += ["seeds_db", *DARK_NUMBERS, "n_seeds", "verdict"]
USES, NOT_EFFECTIVE, NO_GAIN = "did this", "not effective", "no improvement"
_PREPROCESSING = [
    ("the authors' code", "authors' code", "corrected", "its code does this"),
    ("the authors' preprocessing", "authors' preprocessing", "corrected", "its code does this"),
    ("authors' resize instead of the area mean", "authors' resize", "corrected", "its code does this"),
    ("drift left in", "drift left in", "corrected", "its code does this, the paper not"),
    ("input on the scale of its extremes", "input on its extremes", "corrected", USES),
    ("target on the scale of its extremes", "target on its extremes", "corrected", USES),
    *(
        (f"the authors' preprocessing, but {word}", f"authors' preprocessing, {word}", "authors' preprocessing", "")
        for word in ("area mean", "drift removed", "input on the film", "target on the film")
    ),
    ("statistics of each batch to the end", "statistics of batches", "corrected", USES),
    ("constant learning rate", "constant rate", "corrected", USES),
    ("and last weights instead of their average", "last weights", "constant rate", USES),
]
_TRAINING = [
    ("augmentation", "quarter turns", "quarter turns", "corrected", NOT_EFFECTIVE),
    ("augmentation", "crops at any multiple of 32 instead of the corners", "crops at 32", "corrected", ""),
    ("augmentation", "crops anywhere instead of at multiples", "crops anywhere", "crops at 32", NOT_EFFECTIVE),
    *(
        ("architecture", f"{name} instead of U-Net", name, "corrected", "no significant difference")
        for name in ("U-Net++", "FPN", "Linknet", "MAnet")
    ),
    ("start", "ImageNet instead of random weights", "pretrained", "corrected", USES),
    ("exposures", "one LDE frame a field instead of two", "one exposure", "corrected", ""),
    ("exposures", "two LDE frames summed, here and in the test", "summed exposures", "corrected", ""),
    ("target", "squared instead of absolute error", "L2", "corrected", ""),
    ("target", "the other LDE frame instead of HDE", "noise2noise", "L2", ""),
    ("target", "the other LDE frame, clipping corrected", "noise2noise, clipped", "L2", ""),
    ("target", "clipping corrected instead of not", "noise2noise, clipped", "noise2noise", ""),
    ("budget", "twice the steps", "twice the steps", "corrected", ""),
    *(
        ("fields", f"{share} of the training fields, as many steps", f"{share} of the fields", "corrected", "")
        for share in ("1/2", "1/4", "1/8")
    ),
]
_CROPS = [
    ("test crop off 32 px", "corrected"),
    *(
        (f"the same for a network of {variant}", variant)
        for variant in ("crops at 32", "crops anywhere", "quarter turns")
    ),
]
_CAMERAS = {
    "unclipped": "unclipped",
    "counting": "camera that counts",
    "other": f"noisier camera at {OTHER_DOSE_E_PER_PX:g} e⁻/px",
}


def comparisons(chosen=("all",)):
    """What is compared.

    Parameters
    ----------
    chosen : sequence of str
        Values of the column `comparison`, or "all".

    Returns
    -------
    pandas.DataFrame
        question, comparison (its name), variant and test, against and against_test, and what the paper says.

    Raises
    ------
    ProfileError
        If there is no such comparison.
    """
    alike = [("preprocessing", *row) for row in _PREPROCESSING] + _TRAINING
    rows = [(question, name, one, "usual", other, "usual", paper) for question, name, one, other, paper in alike]
    rows += [("augmentation", name, one, "off 32", one, "usual", "") for name, one in _CROPS]
    for network in ("authors' preprocessing", "corrected"):
        rows += [
            ("cameras", f"{network}, {words}", network, camera, f"{network}, {camera}", camera, "")
            for camera, words in _CAMERAS.items()
        ]
    for network in ("authors' preprocessing", "corrected"):
        for camera, words in {"usual": "its own camera", **_CAMERAS}.items():
            says = NO_GAIN if network != "corrected" and camera in _CAMERAS else ""
            name = f"{network} against a Gaussian filter, {words}"
            rows.append(("cameras", name, network, camera, "Gaussian filter", camera, says))
    for test, matched in MATCHED.items():
        at = f"{TESTS[test]['dose_e_per_px']:g} e⁻/px"
        for variant in [*MATCHED.values(), "all doses"]:
            if variant != matched:
                rows.append(("dose", f"trained at {variant}, tested at {at}", variant, test, matched, test, ""))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.sort_values("question", key=lambda names: names.map(_order(table["question"])), kind="stable")
    if "all" in chosen:
        return table.reset_index(drop=True)
    if unknown := sorted(set(chosen) - set(table["comparison"])):
        raise ProfileError(
            f"ablation_comparisons has {unknown[0]!r}, which is none: choose from the column comparison of the "
            "first table of notebook 10, or take all."
        )
    return table[table["comparison"].isin(chosen)].reset_index(drop=True)


def _order(names):
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def what_to_judge(table):
    """The tests that each variant must take for some comparisons: dict of variant to list of test."""
    sides = [table[["variant", "test"]].to_numpy(), table[["against", "against_test"]].to_numpy()]
    wanted = {}
    for variant, test in np.concatenate(sides):
        wanted.setdefault(variant, set()).add(test)
    return {variant: [test for test in TESTS if test in wanted[variant]] for variant in VARIANTS if variant in wanted}


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
        Of `comparisons`.
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
