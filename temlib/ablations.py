"""Which choice matters? What is varied, one thing at a time.

No torch, no plotting, no files. A *variant* is a training recipe, told by what it changes of
`CORRECTED`; a *test* is how the held-out fields are exposed; a *comparison* sets one variant on one test against
another, which differ in one thing.
"""

import numpy as np
import pandas as pd

from temlib.errors import ProfileError
from temlib.trials import OTHER_DOSE_E_PER_PX

USUAL_DOSE_E_PER_PX = 4.5  # of the paper's LDE frames; they are simulated with 4.1 to 4.7
DOSES_E_PER_PX = (USUAL_DOSE_E_PER_PX, 2.0, 10.0, 20.0)
# cameras as `trials.expose` knows them, and the dose that they take
OTHER_CAMERAS = dict.fromkeys(["unclipped", "counting"], USUAL_DOSE_E_PER_PX) | {"other": OTHER_DOSE_E_PER_PX}
SEGMENT_PX = 32  # of the paper's camera: columns that share an offset

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
