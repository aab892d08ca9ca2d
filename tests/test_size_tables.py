"""What is said of a method, from tables that are written by hand."""

import numpy as np
import pandas as pd
import pytest

from temlib import bootstrap, found_tables, size_tables, standard_errors


def matched(errors_nm, bound_nm=2.0, **columns):
    told = {"kind": "matched", "true_diameter_nm": 100.0, "true_bound_nm": bound_nm, "diameter_error_nm": 1.0}
    told |= {
        "true_centre_bound_nm": 1.5,
        "edge_width_nm": 3.0,
        "specimen": "sized",
        "field": "a",
        "method": "raw",
        "dose_e_per_px": 5.0,
        "material": "FeNi",
    }
    told |= {"true_d_prime": 7.0, "true_at_border": False, "true_gap_nm": np.inf, "significant": True}
    told |= {"true_gap_bound_nm": np.nan}
    told |= {"diameter_error_any_shape_nm": 2.0, "misfit": 1.0} | columns
    return pd.DataFrame({"error_nm": errors_nm} | told)


def test_bias_spread_and_coverage_are_those_of_the_errors():
    [row] = size_tables.errors(matched([-3.0, -1, 0, 1, 2, 4, 1]), ["method"], seed=0).to_dict("records")
    assert row["bias_nm"] == 1 and row["bias_by_bound"] == 0.5
    assert row["spread_nm"] == pytest.approx(1 / 0.6745)  # |error| sorted: 0 1 1 1 2 3 4
    assert row["coverage"] == pytest.approx(4 / 7)  # within 1.645
    assert row["coverage_any_shape"] == pytest.approx(6 / 7)  # within twice that
    assert np.isnan(row["bias_by_bound_low"])  # one field has no interval


def test_what_was_not_found_is_infinitely_wrong():
    rows = pd.concat([matched([1.0] * 5), matched([np.nan] * 6).assign(kind="missed")])
    [row] = size_tables.errors(rows, ["method"], seed=0).to_dict("records")
    assert np.isinf(row["spread_nm"]) and row["found"] == pytest.approx(5 / 11) and row["bias_nm"] == 1


def test_one_that_is_missed_is_not_significant():
    rows = pd.concat([matched([1.0] * 2).astype({"significant": "boolean"}), matched([np.nan]).assign(kind="missed")])
    rows["significant"] = rows["significant"].astype("boolean").where(rows["kind"] == "matched")
    [row] = size_tables.errors(rows, ["method"], seed=0).to_dict("records")
    assert row["significant"] == pytest.approx(2 / 3)


def test_without_a_true_particle_there_are_no_errors():
    table = size_tables.errors(matched([1.0], true_diameter_nm=np.nan), ["method"], seed=0)
    assert table.empty and "spread_nm" in table


def test_what_the_frame_cuts_and_what_has_a_neighbour_is_not_alone():
    rows = matched([1.0, 2, 3, 4], true_at_border=[True, False, False, False], true_gap_nm=[50.0, 5, 15, np.inf])
    assert size_tables.alone(rows)["error_nm"].tolist() == [3, 4]
    near = size_tables.neighbours(rows)
    assert near["error_nm"].tolist() == [2, 3] and near["gap_nm"].tolist() == [5, 15]  # from 0 to 10, and to 20


def test_the_interval_is_over_fields_and_not_over_particles():
    values = np.concatenate([np.zeros(50), np.ones(50)])
    fields = np.repeat(["a", "b"], 50)
    assert bootstrap.interval(values, fields, np.mean, seed=0) == (0, 1)  # both draws may be of one field


def test_the_smallest_diameter_is_on_the_power_law_between_two_bins():
    # relative errors of 10 % at 40 nm and of 2.5 % at 160 nm: 5 % at 80 nm, as 1 / diameter
    table = pd.DataFrame({"diameter_nm": [40.0, 160], "spread_nm": [4.0, 4.0]})
    assert size_tables.smallest_sized(table, 0.05) == pytest.approx(80)
    assert np.isnan(size_tables.smallest_sized(table, 0.02))
    assert size_tables.smallest_sized(table, 0.2) == 40
    lost = pd.DataFrame({"diameter_nm": [40.0, 80, 160], "spread_nm": [np.inf, 3.0, 2.0]})
    assert size_tables.smallest_sized(lost, 0.05) == 80  # what lies below the first that is found is not known


def invented(d_prime, **columns):
    told = {"kind": "invented", "method": "raw", "d_prime": d_prime, "shown": 1.0, "diameter_nm": 40.0, "contrast": 0.1}
    return pd.DataFrame(told | {"specimen": "sized", "significant": True, "at_border": False} | columns)


def test_the_curve_counts_false_ones_in_fields_of_the_papers_size():
    rows = matched([0.0] * 4, d_prime=[9.0, 7, 6.5, 3], diameter_nm=100.0, contrast=0.5, shown=1.0)
    # counted are two, one of them a piece of a true one: the third is too small, the fourth too faint, the fifth cut
    false = invented([6.0, 8, 8, 8, 8], shown=[1.2, 0.5, 1, 1, 1], diameter_nm=[40.0, 40, 20, 40, 40])
    false = false.assign(contrast=[0.1, 0.1, 0.1, 0.02, 0.1], kind=["invented", "split", *["invented"] * 3])
    false["at_border"] = [False] * 4 + [True]
    false["specimen"] = "second"  # whose particles reach in from outside
    tried = {"area_nm2": 2 * found_tables.BEAM_FIELD_NM**2, "edge_nm": 80.0, "specimen": "second"}  # in which half fits
    curve = found_tables.froc(rows, false, pd.DataFrame(tried, ["raw"]), "method").set_index("least_d_prime")
    assert curve.loc[0.0, "false_per_field"] == 4 and curve.loc[0.0, "recall"] == 1  # two of four times their number
    assert curve.loc[5.0, "false_per_field"] == 2 and curve.loc[5.0, "recall"] == 0.75
    none = -np.log(0.05) / 2  # in two fields, Poisson
    assert curve.loc[12.0, "false_at_most"] == pytest.approx(none * (80 / 50) ** 2)  # of 30 nm
    best = found_tables.at_false_rate(curve.reset_index(), 0.05, "method").iloc[0]
    assert best["recall"] == 0.75 and 6 < best["least_d_prime"] <= 6.5


def test_a_curve_is_told_by_its_corners():
    steps = pd.DataFrame({"false_per_field": [3, 2, 2, 1, 1, 1, 1], "recall": [0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.7]})
    two = pd.concat([steps.assign(method=name, least_d_prime=range(7)) for name in "ab"], ignore_index=True)
    table = found_tables.corners(two, ["method"])
    of_one = list(zip(table["false_per_field"], table["recall"], table["least_d_prime"], strict=True))[:3]
    assert of_one == [(3, 0.9, 0), (1, 0.9, 3), (1, 0.7, 5)]  # of one place the least d'
    assert list(table["method"]) == list("aaabbb")


def test_invented_particles_are_counted_by_specimen_in_fields_of_the_papers_size():
    rows = invented(5.0, diameter_nm=[40.0, 40, 20, 40], contrast=[0.1, 0.1, 0.1, 0.02])
    rows = rows.assign(
        specimen=["sized", "sized", "sized", "empty"], kind=["invented", "split", "invented", "invented"]
    )
    rows = rows.assign(significant=[True, False, True, True], field=["a", "b", "c", "a"])
    areas = np.array([2, 4.5]) * found_tables.BEAM_FIELD_NM**2  # of four and nine half fields
    told = {"method": "raw", "specimen": ["sized", "empty"], "n_fields": [4, 9], "area_nm2": areas, "edge_nm": 80.0}
    fields = pd.DataFrame(told)
    table = found_tables.invented_per_field(rows, fields)
    # two in four half fields, one of them a piece, the other significant; the others are too small or too faint
    columns = ["without_partner", "pieces", "significant"]
    assert table[columns].to_numpy().tolist() == [[1, 0.5, 0.5], [0, 0, 0]]
    assert table["without_partner_high"][1] == pytest.approx(-np.log(0.025) / 4.5)  # none in 4.5 fields: Poisson


def test_where_the_border_is_left_out_the_others_count_for_more():
    rows = invented([5.0, 5.0], specimen=["second", "sized"], diameter_nm=100.0, field="a")
    told = {"method": "raw", "specimen": ["second", "sized"], "n_fields": 2, "edge_nm": 300.0}
    table = found_tables.invented_per_field(rows, pd.DataFrame(told | {"area_nm2": found_tables.BEAM_FIELD_NM**2}))
    assert table["without_partner"].tolist() == pytest.approx([1.5**2, 1])  # 200 of 300 nm each way are left to centres


def test_what_becomes_of_particles_is_counted_with_an_interval_over_fields():
    rows = matched([0.0] * 4, field=["a", "a", "b", "b"], specimen="sized").assign(
        kind=["matched", "merged", "split", "matched"]
    )
    [row] = found_tables.counts(rows, ["specimen", "method"], seed=0).to_dict("records")
    assert [row[kind] for kind in found_tables.KINDS] == [2, 1, 0, 1, 0]
    assert (row["merged_low"], row["merged_high"]) == pytest.approx(
        (0, 5.57), abs=0.01
    )  # Poisson's for 1; 0 of b and b


def test_recall_at_a_rate_of_false_ones_has_an_interval_over_fields():
    rows = matched([0.0] * 6, d_prime=[9.0, 9, 9, 4, 4, 4], shown=1.0, field=list("aaabbb"), specimen="sized")
    point = pd.DataFrame({"specimen": ["sized"], "method": "raw", "least_d_prime": 5.0, "recall": 0.5})
    told = found_tables.with_recall_interval(point, rows, seed=0).iloc[0]
    assert (told["recall_low"], told["recall_high"]) == (0, 1)  # both draws may be of one field


def test_a_heap_of_false_ones_in_one_field_is_less_sure_than_as_many_in_several():
    counts = [np.array([12, 0, 0, 0]), np.array([3, 3, 3, 3])]
    heap, spread = (bootstrap.count_interval(of_fields, seed=0) for of_fields in counts)
    assert heap == (0, 36)  # of four draws none, or three, of that field
    assert spread == pytest.approx((6.201, 20.96), abs=0.01)  # Poisson's for 12


def test_at_the_border_of_a_field_into_which_nothing_reaches_a_particle_is_invented():
    rows = pd.concat([invented([5.0], at_border=True, specimen=name) for name in ("sized", "empty", "second")])
    assert found_tables.without_partner(rows).tolist() == [True, True, False]


def test_where_all_of_few_fields_agree_the_interval_is_wilsons():
    truths, fields = np.ones(40), np.repeat(np.arange(10), 4)
    low, high = bootstrap.share_interval(truths, fields, seed=0)
    assert (low, high) == (pytest.approx(10 / (10 + 1.96**2), abs=1e-3), 1)  # 1 / (1 + z^2 / n) of ten fields


def test_a_share_has_the_interval_of_its_bootstrap():
    rng = np.random.default_rng(0)
    truths, fields = (rng.random(90) < 0.4).astype(float), np.repeat(np.arange(30), 3)
    both = [
        bootstrap.share_interval(truths, fields, seed=1),
        bootstrap.interval(truths, fields, np.mean, seed=1),
    ]
    np.testing.assert_allclose(*both)


def test_an_aim_is_reached_if_its_whole_interval_is():
    table = pd.DataFrame({"value": [1.0, 1.0, 2.0], "low": [0.9, 0.9, 1.5], "high": [1.2, 1.4, 2.5]})
    verdicts = size_tables.verdicts(table, np.zeros(3), np.full(3, 1.3))
    assert verdicts.tolist() == ["reached", "not resolved", "missed"]


PAIR = {"true_row_px": [10.0, 50, 300], "true_col_px": 10.0, "true_gap_nm": [20.0, 20, 500]}  # and one far away
FOUND = {"row_px": [10.0, 51, 300], "col_px": 10.0, "diameter_nm": 96.0}


def test_a_pair_is_told_apart_if_both_are_found():
    rows = matched([0.0] * 3, **PAIR, **FOUND)
    merged = rows.assign(field="b", kind=["matched", "merged", "matched"])
    table = size_tables.pairs(pd.concat([rows, merged]), 3.0)
    assert table["told_apart"].tolist() == [True, False] and table["gap_nm"].tolist() == [20, 20]
    [apart] = found_tables.pairs_apart(table, ["method"], seed=0).to_dict("records")
    assert (apart["gap_nm"], apart["n"], apart["told_apart"]) == (25, 2, 0.5)
    assert (apart["told_apart_low"], apart["told_apart_high"]) == (0, 1)  # two fields, one of each


def test_a_pair_of_which_the_frame_cuts_one_is_no_pair():
    rows = matched([0.0] * 3, **PAIR, **FOUND, true_at_border=[True, False, False])
    assert size_tables.pairs(rows, 3.0).empty


def test_recall_is_the_share_found_by_d_prime():
    rows = matched([0.0] * 4, true_d_prime=[1.5, 1.6, 7, 7]).assign(kind=["missed", "matched", "matched", "matched"])
    assert list(found_tables.recall(rows, ["method"], seed=0)["recall"]) == [0.5, 1.0]


def pulls(spread, number, seed=0, **columns):
    """Particles whose errors are normal, stated as 1."""
    errors_nm = np.random.default_rng(seed).normal(0, spread, number)
    fields = np.arange(number) % 20
    return matched(
        errors_nm, **{"specimen": "sized", "d_prime": 6.0, "shown": 1.0, "touching": False, "field": fields, **columns}
    )


def test_intervals_are_judged_on_fields_that_the_factors_are_not_from():
    rows = pulls(2.0, 4000, diameter_nm=100.0).drop(columns="diameter_error_any_shape_nm")
    stated = standard_errors.held(standard_errors.cross_calibrated(rows), ["method"], seed=0)
    assert stated["held"][0] == pytest.approx(0.9, abs=0.02)
    odd = rows["field"] % 2 == 1
    rows["error_nm"] = np.where(odd, 10.0, 1.0)  # each half is wrong about the other
    assert standard_errors.held(standard_errors.cross_calibrated(rows), ["method"], seed=0)["held"][0] == pytest.approx(
        0.5
    )


def test_the_smallest_diameter_has_an_interval_over_fields():
    # 5 % of 40 nm are 2 nm: one field is right to 1 nm, the other to 3; both are right to 5 % at 100 nm
    rows = [matched([1.0] * 20, true_diameter_nm=size, field="a", diameter_bin=b) for b, size in enumerate([40.0, 100])]
    rows += [
        matched([3.0] * 20, true_diameter_nm=size, field="b", diameter_bin=b) for b, size in enumerate([40.0, 100])
    ]
    [row] = size_tables.smallest(pd.concat(rows), ["method"], {"to_5_nm": 0.05}, seed=0).to_dict("records")
    assert row["to_5_nm_low"] == 40 and 40 < row["to_5_nm_high"] < 100


def test_the_bound_of_several_is_the_spread_that_they_would_show():
    bounds = np.array([1.0, 5.0])
    errors = np.random.default_rng(0).normal(0, np.repeat(bounds, 20_000))
    told = matched([1.0, 1], bound_nm=bounds)
    [row] = size_tables.errors(told, ["method"], seed=0).to_dict("records")
    assert row["bound_nm"] == pytest.approx(np.median(np.abs(errors)) / 0.6745, rel=0.03)


def test_the_gap_between_two_found_neighbours_is_off_by_what_their_places_and_sizes_are():
    # true: 40 px = 120 nm apart, diameters of 100 nm; found 1 px = 3 nm farther apart and 4 nm smaller: 7 nm too wide
    table = size_tables.quantities(matched([-4.0] * 3, **PAIR, **FOUND), pixel_size_nm=3.0)
    assert table.loc[table["quantity"] == "gap", "error_nm"].tolist() == [7]


def test_the_bound_of_a_gap_is_that_of_the_one_whose_nearest_neighbour_is_meant():
    # a row of three: 100 nm across, with 20 and 26 nm between them; the middle one's nearest is the first
    columns = [40 * np.array([0, 1, 2.05]) + 10, 10.0, np.array([20.0, 20, 26])]
    places = dict(zip(("true_row_px", "true_col_px", "true_gap_nm"), columns, strict=True)) | FOUND
    rows = matched([0.0] * 3, **places, true_gap_bound_nm=[1.0, 1, 2])
    table = size_tables.pairs(rows, 3.0)
    assert table["gap_nm"].tolist() == pytest.approx([20, 26]) and table["bound_nm"].tolist() == [1, 2]


def test_diameters_are_of_those_that_are_alone():
    rows = matched([1.0, 2, 3], true_gap_nm=[-5.0, 5, 15])
    for name in ("row_px", "col_px"):
        rows[f"true_{name}"] = rows[name] = 0.0
    table = size_tables.quantities(rows.assign(diameter_nm=100.0), pixel_size_nm=3.0)
    assert table.loc[table["quantity"] == "diameter", "error_nm"].tolist() == [3]


def test_centres_are_off_along_each_axis():
    places = {"true_row_px": 10.0, "true_col_px": 10.0, "row_px": 12.0, "col_px": 9.0, "diameter_nm": 100.0}
    table = size_tables.quantities(matched([0.0], **places), pixel_size_nm=3.0)
    assert table.loc[table["quantity"] == "centre", "error_nm"].tolist() == [6, -3]


def test_bias_and_scatter_of_each_quantity():
    told = {"method": "raw", "quantity": "gap", "field": "a", "bound_nm": 2.0}
    errors_nm = pd.DataFrame(told | {"error_nm": [-1.0, 2, 2, 4, 7]})
    [row] = size_tables.spreads(errors_nm, ["method", "quantity"], seed=0).to_dict("records")
    assert row["bias_nm"] == 2 and (row["n"], row["fields"]) == (5, 1)
    assert row["scatter_nm"] == pytest.approx(1.206 * 2 / 0.6745)  # |x|: 0 0 2 3 5; times what so few are too small by
    assert row["bound_nm"] == pytest.approx(2.0, rel=1e-3)
    assert size_tables.spreads(errors_nm[:4], ["method"], seed=0).empty  # too few to have a spread


@pytest.mark.parametrize("n", [5, 8, 12])
def test_the_spread_of_few_errors_has_the_mean_of_that_of_many(n):
    many = np.random.default_rng(0).normal(size=(4000, n))
    assert np.mean([size_tables._scatter(errors) for errors in many]) == pytest.approx(1, abs=0.03)


def test_an_edge_that_no_fit_tells_is_infinitely_wide():
    assert np.isinf(size_tables._scatter([1.0, np.inf, np.inf])) and size_tables._scatter([1.0, 1, np.inf]) == 0


def test_a_bias_is_no_scatter():
    [row] = size_tables.errors(matched([-4.0] * 6), ["method"], seed=0).to_dict("records")
    assert row["scatter_nm"] == 0 and row["spread_nm"] == pytest.approx(4 / 0.6745)


def test_a_bin_that_is_too_small_is_too_small_in_what_is_drawn():
    # three of 40 nm in one field: that field drawn twice has six; nothing smaller than 100 nm is known
    rows = [matched([1.0] * 20, true_diameter_nm=100.0, field=f, diameter_bin=1) for f in "abcd"]
    rows.append(matched([1.0] * 3, true_diameter_nm=40.0, field="a", diameter_bin=0))
    [row] = size_tables.smallest(pd.concat(rows), ["method"], {"to_5_nm": 0.05}, seed=0).to_dict("records")
    assert row["smallest_nm"] == row["to_5_nm_low"] == row["to_5_nm_high"] == 100


def test_diameters_are_compared_with_what_the_hde_image_shows():
    told = {"true_row_px": [10.0, 20], "true_col_px": 10.0}
    rows = pd.concat(
        [
            matched([-4.0, 0.0], **told, diameter_nm=[96.0, 100]),
            matched([-3.0], **(told | {"true_row_px": 10.0}), diameter_nm=97.0).assign(method="hde"),
        ]
    )
    both = size_tables.against_hde(rows)
    raw = both[both["method"] == "raw"]
    assert raw["true_diameter_nm"].tolist() == [97] and raw["error_nm"].tolist() == [-1]  # the HDE image lost one
