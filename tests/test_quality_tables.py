import numpy as np
import pandas as pd
import pytest

from temlib.quality_tables import PER_FRAME, gains, orderings, paper_intervals, ratio_interval, summarise
from temlib.reference import paper_table


def frame_scores(**columns):
    """Scores with harmless values for what a test does not look at."""
    rest = dict.fromkeys([*PER_FRAME, "mse", "variance"], 1.0)
    rest |= {"material": "Ni", "method": "output", "reference": "truth", "parameter": np.nan}
    return pd.DataFrame(rest | columns)


def test_the_interval_of_a_mean_over_many_fields_is_the_normal_one():
    values = np.random.default_rng(4).normal(5, 2, 400)
    low, high = ratio_interval(values, np.ones(400))
    half_width = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_the_interval_of_three_fields_holds_as_often_as_it_says():
    rng = np.random.default_rng(1)
    draws = rng.normal(5, 1, (4000, 3))
    ends = np.array([ratio_interval(values, np.ones(3)) for values in draws])
    assert np.mean((ends[:, 0] < 5) & (ends[:, 1] > 5)) == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_ratio_is_student_s():
    # ratio 2; residuals of the tops -1, 0, 1: standard error sqrt(3 / 2 x 2) / 6; t of two degrees from a table: 4.303
    low, high = ratio_interval([3.0, 4.0, 5.0], [2.0, 2.0, 2.0])
    assert np.log([low, high]) == pytest.approx(np.log(2) + np.array([-1, 1]) * 4.303 * 3**0.5 / 6 / 2, rel=1e-3)


def test_a_constant_ratio_has_an_interval_of_no_width():
    top = np.array([1.0, 2.0, 6.0])
    assert ratio_interval(top, 4 * top) == pytest.approx((0.25, 0.25))


def test_one_field_has_no_interval():
    assert np.isnan(ratio_interval([1.0], [2.0])).all()


def test_nrmse_pools_errors_and_variances_of_all_frames():
    scores = frame_scores(field=["a", "a", "b"], mse=[1.0, 2.0, 3.0], variance=[10.0, 10.0, 4.0])
    table = summarise(scores).set_index("material")
    assert table.loc["Ni", "nrmse"] == pytest.approx(np.sqrt(6 / 24))
    assert table.loc["Ni", ["n_fields", "n_frames"]].to_list() == [2, 3]


def test_means_and_deviations_are_over_frames_and_the_overall_row_is_over_all_of_them():
    scores = frame_scores(field=["a", "a", "b", "b"], material=["Ni", "Ni", "SiC", "SiC"], mae=[0.1, 0.3, 0.5, 0.7])
    table = summarise(scores).set_index("material")
    assert table.loc["Ni", "mae"] == pytest.approx(0.2)
    assert table.loc["Ni", "mae_sd"] == pytest.approx(np.sqrt(2) * 0.1)
    assert table.loc["overall", "mae"] == pytest.approx(0.4)
    assert list(table.index) == ["Ni", "SiC", "overall"]


def test_half_the_error_of_the_best_filter_is_a_gain_of_6_db():
    methods = ["output", "gaussian", "median"]
    scores = frame_scores(field=np.repeat(["a", "b"], 3), method=methods * 2, mse=[1.0, 4.0, 9.0, 2.0, 8.0, 8.5])
    row = gains(scores, ["gaussian", "median"]).iloc[0]
    assert row["best_filter"] == "gaussian"
    assert row["gain_db"] == pytest.approx(6.02, abs=0.001)
    assert row["verdict"] == "better"


def test_a_gain_in_one_field_and_a_loss_in_another_is_not_resolved():
    scores = frame_scores(field=["a", "a", "b", "b"], method=["output", "median"] * 2, mse=[1.0, 2.0, 2.0, 1.0])
    assert gains(scores, ["median"])["verdict"].iloc[0] == "not resolved"


def test_only_an_ordering_whose_intervals_do_not_overlap_is_resolved():
    table = pd.DataFrame(
        {
            "material": ["a", "b", "c"],
            "mae": [0.1, 0.2, 0.3],
            "mae_low": [0.05, 0.14, 0.26],
            "mae_high": [0.15, 0.25, 0.35],
        }
    )
    found = orderings(table).set_index(["better", "worse"])["resolved"]
    assert found.to_dict() == {("a", "b"): False, ("a", "c"): True, ("b", "c"): True}


def test_in_the_paper_only_feni_is_told_from_the_others():
    paper = paper_intervals(paper_table("table_2_quality"), pd.DataFrame(VALIDATION_IMAGES))
    found = orderings(paper)
    assert (found["resolved"] == (found["better"] == "FeNi")).all()
    assert set(found["metric"]) == {"mae", "psnr_db"}


VALIDATION_IMAGES = {  # the paper's Table 1
    "material": ["Ni", "FeNi", "SiC", "silicate", "alumina"],
    "paper_validation": [36, 40, 20, 24, 40],
}
