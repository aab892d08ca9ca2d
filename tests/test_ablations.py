import numpy as np
import pandas as pd
import pytest
import yaml

from temlib import ablation_verdicts, ablations
from temlib.errors import ProfileError
from temlib.paths import PARAMS
from temlib.phantom import MATERIALS

ROUNDS = 5  # of a training; `ablation_runs` needs torch


def scores(rows):
    table = pd.DataFrame(rows, columns=["variant", "test", "seed", "field", "mse", "variance"])
    return table.assign(dark_bias=np.nan)


def of_decibels(values):
    """Scores of two fields, alike, whose quality is what is asked for: {(variant, test): decibels of each seed}."""
    rows = [
        (*side, seed, field, 10 ** (-db / 10), 1.0)
        for side, dbs in values.items()
        for seed, db in enumerate(dbs)
        for field in "ab"
    ]
    return scores(rows)


def comparison(variant, test, against, against_test, question="target"):
    row = (question, "some", variant, test, against, against_test, "")
    return pd.DataFrame([row], columns=ablations.COLUMNS)


def test_fields_are_pooled_before_the_logarithm():
    # (0.1 + 0.3) / (1 + 3) = 1/10, that is 10 dB
    table = ablation_verdicts.pooled_db(scores([("a", "usual", 1, "x", 0.1, 1.0), ("a", "usual", 1, "y", 0.3, 3.0)]))
    assert table["quality_db"].tolist() == pytest.approx([10.0])


def test_the_interval_of_three_values_is_student_s():
    # standard error of 1, 2, 3: 1 / sqrt(3); t of 97.5 % with 2 degrees of freedom, from a printed table: 4.303
    mean, low, high = ablation_verdicts.mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2.0 - 4.303 / 3**0.5, 2.0 + 4.303 / 3**0.5), rel=1e-3)


def test_one_seed_has_no_interval_and_resolves_nothing():
    found = ablation_verdicts.verdicts(
        comparison("L2", "usual", "corrected", "usual"),
        of_decibels({("L2", "usual"): [9.0], ("corrected", "usual"): [3.0]}),
    ).iloc[0]
    assert np.isnan(found["low_db"]) and found["verdict"] == "not resolved"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ([5.5, 8.5, 2.5], "better"),  # by half a decibel in each seed, though seeds differ by six
        ([4.5, 7.5, 1.5], "worse"),
        ([6.0, 7.6, 2.4], "not resolved"),  # by 1.0, -0.4 and 0.4
    ],
)
def test_differences_are_taken_within_each_seed(changed, verdict):
    values = {("L2", "usual"): changed, ("corrected", "usual"): [5.0, 8.0, 2.0]}
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), of_decibels(values)).iloc[0]
    assert found["verdict"] == verdict
    assert found["difference_db"] == pytest.approx(np.mean(changed) - 5.0)


def test_what_one_field_decides_is_not_resolved():
    # in each seed 3 dB better on one of two fields and 1 dB worse on the other: which are drawn decides the sign
    rows = [("corrected", "usual", seed, field, 1.0, 10.0) for seed in range(3) for field in "ab"]
    rows += [("L2", "usual", seed, "a", 10**-0.3, 10.0) for seed in range(3)]
    rows += [("L2", "usual", seed, "b", 10**0.1, 10.0) for seed in range(3)]
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), scores(rows)).iloc[0]
    assert found["low_db"] > 0  # alike in all seeds
    assert (found["fields_low_db"], found["fields_high_db"]) == pytest.approx((-1.0, 3.0))
    assert found["verdict"] == "not resolved"


def test_the_bias_of_dark_places_is_compared_seed_by_seed():
    table = of_decibels({("L2", "usual"): [9.0, 9.0, 9.0], ("corrected", "usual"): [9.0, 9.0, 9.0]})
    table["dark_bias"] = np.where(table["variant"] == "L2", 0.04, 0.01) + 0.01 * table["seed"]
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), table).iloc[0]
    assert (found["dark_bias"], found["against_dark_bias"]) == pytest.approx((0.05, 0.02))
    assert (found["dark_low"], found["dark_high"]) == pytest.approx((0.03, 0.03))
    assert (found["dark_fields_low"], found["dark_fields_high"]) == pytest.approx((0.03, 0.03))


def test_the_bias_of_dark_places_that_one_field_decides_has_a_wide_interval():
    table = of_decibels({("L2", "usual"): [9.0, 9.0, 9.0], ("corrected", "usual"): [9.0, 9.0, 9.0]})
    only_a = (table["variant"] == "L2") & (table["field"] == "a")
    table["dark_bias"] = np.where(only_a, 0.2, 0.0)
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), table).iloc[0]
    assert found["dark_low"] == pytest.approx(0.1) and found["dark_fields_low"] == pytest.approx(0.0)


def test_a_network_that_learnt_nothing_is_no_reference():
    values = {("L2", "usual"): [5.0, 8.0, 2.0], ("corrected", "usual"): [4.0, 0.3, 1.5]}
    values |= {("corrected", "off 32"): [4.0, 0.2, 1.0]}
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), of_decibels(values)).iloc[0]
    assert found["verdict"] == ablation_verdicts.NOT_LEARNT
    values |= {("corrected", "off 32"): [4.0, 3.0, 1.0]}  # in its own test it shows something
    found = ablation_verdicts.verdicts(comparison("L2", "usual", "corrected", "usual"), of_decibels(values)).iloc[0]
    assert found["verdict"] == "not resolved"


def test_a_variant_that_could_not_be_had_is_told():
    values = {("corrected", "usual"): [5.0, 8.0, 2.0]}
    found = ablation_verdicts.verdicts(
        comparison("pretrained", "usual", "corrected", "usual"), of_decibels(values)
    ).iloc[0]
    assert found["verdict"] == "not available here" and found["n_seeds"] == 0


def test_the_two_sides_of_a_comparison_differ_in_one_thing():
    in_several = {
        "the authors' code": 7,
        "the authors' preprocessing": 4,
        "the other LDE frame, clipping corrected": 2,  # the target, and the loss that suits it
        # what is exposed anew has a camera and a dose
        **{
            f"{name}, {words}": 2
            for name in ("authors' preprocessing", "corrected")
            for words in ablations._CAMERAS.values()
        },
    }
    table = ablations.comparisons()
    for row in table[table["against"] != "Gaussian filter"].itertuples():
        one, other = (ablations.CORRECTED | ablations.VARIANTS[name] for name in (row.variant, row.against))
        differing = sum(one[key] != other[key] for key in one) + (row.test != row.against_test)
        assert differing == in_several.get(row.comparison, 1), row.comparison


def test_a_comparison_has_a_name_of_its_own():
    assert ablations.comparisons()["comparison"].is_unique


def test_what_is_chosen_comes_in_the_order_of_the_table_with_the_tests_that_it_needs():
    table = ablations.comparisons(["test crop off 32 px", "the authors' code"])
    assert table["comparison"].tolist() == ["the authors' code", "test crop off 32 px"]
    assert ablations.what_to_judge(table) == {"corrected": ["usual", "off 32"], "authors' code": ["usual"]}


def test_an_unknown_comparison_is_refused_in_one_sentence():
    with pytest.raises(ProfileError, match="ablation_comparisons has 'colour', which is none: choose from"):
        ablations.comparisons(["colour"])


def test_the_matrix_of_doses_tells_the_loss_against_training_at_the_dose_of_the_test():
    # tested at 4.5: trained there 9 dB, trained at 2 only 6
    values = {("4.5 e⁻/px", "usual"): [9.0, 9.1, 8.9], ("2 e⁻/px", "usual"): [6.0, 6.1, 5.9]}
    table = ablations.comparisons(["trained at 2 e⁻/px, tested at 4.5 e⁻/px"])
    cells = ablation_verdicts.dose_matrix(ablation_verdicts.verdicts(table, of_decibels(values)))
    cells = cells.set_index(["trained_at", "tested_at"])
    assert cells.loc[("2", "4.5"), "loss_db"] == pytest.approx(3.0)
    assert cells.loc[("2", "4.5"), "resolved"]
    assert cells.loc[("4.5", "4.5"), "loss_db"] == 0
    assert len(cells) == 2


@pytest.mark.parametrize("profile", ["laptop", "study"])
def test_a_round_shows_the_corners_of_all_fields_equally_often(profile):
    told = yaml.safe_load((PARAMS / f"{profile}.yaml").read_text())
    seen = told["ablation_steps"] // ROUNDS * told["batch_size"]
    corners = 4 * 2 * told["ablation_train_fields"] * len(MATERIALS)  # of two frames a field
    assert seen % corners == 0
