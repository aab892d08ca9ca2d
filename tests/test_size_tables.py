"""What is said of a method, from tables that are written by hand."""

import numpy as np
import pandas as pd
import pytest

from temlib import size_tables


def matched(errors_nm, bound_nm=2.0, **columns):
    told = {"kind": "matched", "true_diameter_nm": 100.0, "true_bound_nm": bound_nm, "diameter_error_nm": 1.0}
    told |= {"centre_error_nm": 0.5, "edge_width_nm": 3.0, "field": "a", "method": "raw"} | columns
    return pd.DataFrame({"error_nm": errors_nm} | told)


def test_bias_spread_and_coverage_are_those_of_the_errors():
    [row] = size_tables.errors(matched([-3.0, -1, 0, 1, 2, 4, 1]), ["method"], seed=0).to_dict("records")
    assert row["bias_nm"] == 1 and row["bias_by_bound"] == 0.5
    assert row["spread_nm"] == pytest.approx(1 / 0.6745)  # |error| sorted: 0 1 1 1 2 3 4
    assert row["coverage"] == pytest.approx(4 / 7)  # within 1.645
    assert np.isnan(row["bias_by_bound_low"])  # one field has no interval


def test_what_was_not_found_is_infinitely_wrong():
    rows = pd.concat([matched([1.0, 1, 1]), matched([np.nan] * 4).assign(kind="missed")])
    [row] = size_tables.errors(rows, ["method"], seed=0).to_dict("records")
    assert np.isinf(row["spread_nm"]) and row["found"] == pytest.approx(3 / 7) and row["bias_nm"] == 1


def test_the_interval_is_over_fields_and_not_over_particles():
    values = np.concatenate([np.zeros(50), np.ones(50)])
    fields = np.repeat(["a", "b"], 50)
    assert size_tables.interval(values, fields, np.mean, seed=0) == (0, 1)  # both draws may be of one field


def test_the_smallest_diameter_is_on_the_power_law_between_two_bins():
    # relative errors of 10 % at 40 nm and of 2.5 % at 160 nm: 5 % at 80 nm, as 1 / diameter
    table = pd.DataFrame({"diameter_nm": [40.0, 160], "spread_nm": [4.0, 4.0]})
    assert size_tables.smallest_sized(table, 0.05) == pytest.approx(80)
    assert np.isnan(size_tables.smallest_sized(table, 0.02))
    assert size_tables.smallest_sized(table, 0.2) == 40
    assert size_tables.smallest_sized(table.replace({"spread_nm": {4.0: np.inf}}), 0.05) != 40


def test_the_curve_counts_false_ones_in_fields_of_the_papers_size():
    rows = pd.concat(
        [
            matched([0.0] * 4, d_prime=[9.0, 7, 6.5, 3], true_d_prime=7.0, diameter_nm=100.0, contrast=0.5, shown=1.0),
            # counted are two, as the third is too small and the fourth too faint
            pd.DataFrame(
                {
                    "kind": "invented",
                    "method": "raw",
                    "d_prime": [6.0, 8, 8, 8],
                    "shown": [1.2, 0.5, 1, 1],
                    "diameter_nm": [40.0, 40, 20, 40],
                }
                | {"contrast": [0.1, 0.1, 0.1, 0.02]}
            ),
        ]
    )
    area = {"raw": 2 * size_tables.BEAM_FIELD_NM**2}
    curve = size_tables.froc(rows, area, "method").set_index("least_d_prime")
    assert curve.loc[0.0, "false_per_field"] == 1 and curve.loc[0.0, "recall"] == 1
    assert curve.loc[5.0, "false_per_field"] == 0.5 and curve.loc[5.0, "recall"] == 0.75
    best = size_tables.at_false_rate(curve.reset_index(), 0.05, "method").iloc[0]
    assert best["recall"] == 0.75 and 6 < best["least_d_prime"] <= 6.5


def test_pairs_are_told_apart_by_their_gap():
    rows = matched([0.0] * 4, true_d_prime=7.0, true_gap_nm=[-5.0, -5, 15, 200])
    rows["kind"] = ["matched", "merged", "matched", "missed"]
    table = size_tables.pairs_apart(rows, ["method"]).set_index("gap_nm")
    assert table.loc[-5, ["told_apart", "merged", "n"]].tolist() == [0.5, 0.5, 2]
    assert table.loc[15, "told_apart"] == 1 and len(table) == 2


def test_recall_is_the_share_found_by_d_prime():
    rows = matched([0.0] * 4, true_d_prime=[1.5, 1.6, 7, 7]).assign(kind=["missed", "matched", "matched", "matched"])
    assert list(size_tables.recall(rows, ["method"])["recall"]) == [0.5, 1.0]


def test_the_factor_makes_ninety_per_cent_intervals_hold():
    rng = np.random.default_rng(0)
    rows = matched(rng.normal(0, 3.0, 5000))  # stated: 1
    assert size_tables.calibration(rows, ["method"])["factor"][0] == pytest.approx(3, rel=0.05)


def test_the_gap_between_two_found_neighbours_is_off_by_what_their_places_and_sizes_are():
    # true: 40 px = 120 nm apart, diameters of 100 nm; found 1 px = 3 nm farther apart and 4 nm smaller: 7 nm too wide
    places = {"true_row_px": [10.0, 50, 300], "true_col_px": 10.0, "true_gap_nm": [20.0, 20, 500]}
    found = {"row_px": [10.0, 51, 300], "col_px": 10.0, "diameter_nm": 96.0, "dose_e_per_px": 5.0}
    [row] = size_tables.gap_errors(matched([0.0] * 3, **places, **found), ["method"], pixel_size_nm=3.0).to_dict(
        "records"
    )
    assert (row["n"], row["gap_bias_nm"]) == (1, 7) and row["gap_spread_nm"] == pytest.approx(7 / 0.6745)
