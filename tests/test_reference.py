import numpy as np
import pandas as pd
import pytest

from temlib.dataset import ZENODO_FOLDER
from temlib.paths import FIGURES
from temlib.reference import claims, compare, origin_of, paper_table

LOST = "not comparable, claim differs (not measurable)"


def compared(folder, *, source="simulated", mode="corrected"):
    return compare(folder, source=source, mode=mode).set_index("id")


def write_table_2(folder, **columns):
    pd.DataFrame({"method": "output"} | columns).to_csv(folder / "table_2_quality.csv", index=False)


def write_sizes(folder, *, hde, output, edges=((5.0, 0.1), (8.0, 0.1))):
    """Figure 6 with a diameter and its standard error, or None, in each image; edges alike."""
    rows = [
        {"figure": 6, "image": image, "particle": 1, "diameter_nm": diameter, "diameter_se_nm": se}
        | {"edge_width_nm": edge, "edge_width_se_nm": edge_se}
        for image, (diameter, se), (edge, edge_se) in zip(("HDE", "output"), (hde, output), edges, strict=True)
    ]
    pd.DataFrame(rows).to_csv(folder / "06_sizes.csv", index=False)


def write_pair(folder, **sizes):
    """Figure 7 with (diameter 1, diameter 2, distance), the distance None where a diameter is."""
    rows = [
        {"figure": 7, "image": image, "particle": number, "diameter_nm": diameters[number - 1], "diameter_se_nm": 1.0}
        | {"separation_nm": distance, "separation_se_nm": 1.0, "edge_width_nm": 5.0, "edge_width_se_nm": 1.0}
        for image, (*diameters, distance) in sizes.items()
        for number in (1, 2)
    ]
    pd.DataFrame(rows).to_csv(folder / "06_sizes.csv", index=False)


def test_every_id_is_there_once_and_can_stand_in_a_formula():
    ids = claims().id
    assert ids.is_unique
    assert all(name.isidentifier() for name in ids)


def test_the_papers_own_number_lies_within_its_spread():
    table = claims().dropna(subset=["value", "low", "high"])
    assert len(table) > 60
    assert (table.low <= table.value).all() and (table.value <= table.high).all()


def test_derived_numbers_follow_from_the_papers_own():
    table = claims().set_index("id")
    numbers = pd.DataFrame({name: [value] for name, value in table.value.items()})
    # "swapped" is the paper's pair read the other way round; worked out here from the printed diameters
    derived = table[(table.formula != "") & table.low.notna() & table.value.notna()]
    derived = derived[~derived.index.str.endswith("_swapped")]
    assert {"faster1", "faster2", "pair1_change", "pair2_change", "gap_change"} <= set(derived.index)
    for claim in derived.itertuples():
        assert claim.low <= numbers.eval(claim.formula).item() <= claim.high, claim.Index
    assert table.value["pair1_swapped"] == pytest.approx(100 * (53.8 / 58.3 - 1), abs=0.05)
    assert table.value["pair2_swapped"] == pytest.approx(100 * (72.5 / 73.0 - 1), abs=0.05)


def test_table_2_is_the_same_in_claims_and_in_its_own_file():
    table = claims().set_index("id")
    for row in paper_table("table_2_quality").itertuples():
        for name, mean, sd in (("mae", row.mae, row.mae_sd), ("psnr", row.psnr_db, row.psnr_sd_db)):
            claim = table.loc[f"{name}_{row.material.lower()}"]
            assert (claim.value, claim.low, claim.high) == pytest.approx((mean, mean - sd, mean + sd))


def test_an_empty_run_is_not_run(tmp_path):
    assert set(compare(tmp_path, source="simulated").verdict) == {"not run"}


def write_mae_of_ni(folder, mae):
    # the paper: 0.075 +- 0.026; a blank image: 0.08
    methods = {"material": ["Ni", "Ni"], "method": ["output", "blank"]}
    write_table_2(folder, **methods, mae_on_hde_scale=[mae, 0.08], mae_on_hde_scale_sd=0.01)


def test_a_number_within_the_papers_spread_is_reproduced_on_the_authors_data(tmp_path):
    write_mae_of_ni(tmp_path, 0.09)
    assert compared(tmp_path, source="zenodo", mode="faithful").verdict["mae_ni"] == "reproduced"


def test_a_number_outside_the_papers_spread_differs_on_the_authors_data(tmp_path):
    write_mae_of_ni(tmp_path, 0.04)
    assert compared(tmp_path, source="zenodo", mode="faithful").verdict["mae_ni"] == "differs"


@pytest.mark.parametrize(("mae", "expected"), [(0.09, "differs"), (0.04, "holds")])
def test_on_other_data_a_quality_is_held_against_a_blank_image_only(tmp_path, mae, expected):
    write_mae_of_ni(tmp_path, mae)
    found = compared(tmp_path, source="simulated", mode="faithful")
    assert found.verdict["mae_ni"] == f"not comparable, claim {expected}"


@pytest.mark.parametrize("mode", ["corrected", "unknown"])
def test_a_quality_is_not_reproduced_in_another_mode_than_the_authors(tmp_path, mode):
    write_mae_of_ni(tmp_path, 0.075)
    assert compared(tmp_path, source="zenodo", mode=mode).verdict["mae_ni"] == "not comparable, claim holds"


def test_what_was_recorded_is_reproduced_in_any_mode(tmp_path):
    counts = pd.DataFrame({"material": ["Ni"], "training_pairs": [224], "validation_pairs": [35]})
    counts.to_csv(tmp_path / "table_1_images.csv", index=False)
    verdicts = compared(tmp_path, source="zenodo", mode="corrected").verdict
    assert (verdicts["images_ni_training"], verdicts["images_ni_validation"]) == ("reproduced", "differs")


def test_a_number_that_the_paper_does_not_print_neither_differs_nor_is_reproduced(tmp_path):
    write_table_2(tmp_path, material=["overall"], mae=[0.2], mae_sd=[0.1])
    found = compared(tmp_path, source="zenodo", mode="faithful")
    assert (found.run["mae_own_scale"], found.verdict["mae_own_scale"]) == (0.2, "not comparable")


def test_a_particle_that_a_run_picked_for_its_size_reproduces_nothing(tmp_path):
    write_sizes(tmp_path, hde=(95.2, 0.01), output=(96.0, 0.01))  # the paper's very numbers
    verdicts = compared(tmp_path, source="zenodo", mode="faithful").verdict
    assert (verdicts["single_hde"], verdicts["single_change"]) == ("not comparable", "not comparable, claim holds")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("data/zenodo", "reproduced"),
        ("data/../data/zenodo/", "reproduced"),
        (str(ZENODO_FOLDER), "reproduced"),
        ("data", "not comparable"),
        ("data/zenodo/Ni", "not comparable"),
        ("/elsewhere/zenodo", "not comparable"),
        ("unknown", "not comparable"),
    ],
)
def test_a_folder_is_the_authors_data_only_where_they_are_fetched_to(tmp_path, source, expected):
    counts = pd.DataFrame({"material": ["Ni"], "training_pairs": [224]})
    counts.to_csv(tmp_path / "table_1_images.csv", index=False)
    assert compared(tmp_path, source=source).verdict["images_ni_training"] == expected


def test_a_material_that_a_run_does_not_have_is_not_measured(tmp_path):
    write_table_2(tmp_path, material=["gold"], mae_on_hde_scale=[0.04], mae_on_hde_scale_sd=[0.01])
    found = compared(tmp_path)
    assert found.verdict["mae_ni"] == "not measured"
    assert np.isnan(found.run["mae_ni"])


def test_an_empty_cell_of_something_that_the_paper_found_differs(tmp_path):
    write_sizes(tmp_path, hde=(95.0, 1.0), output=(None, None))
    assert compared(tmp_path).verdict["single_output"] == LOST


def test_an_empty_cell_of_which_the_paper_says_nothing_to_check_is_not_measurable(tmp_path):
    write_sizes(tmp_path, hde=(None, None), output=(95.0, 1.0))
    assert compared(tmp_path).verdict["single_hde"] == "not measurable"


def test_an_empty_cell_differs_on_the_authors_data(tmp_path):
    write_mae_of_ni(tmp_path, None)
    assert compared(tmp_path, source="zenodo", mode="faithful").verdict["mae_ni"] == "differs"


def test_a_formula_over_a_lost_particle_differs_where_the_paper_says_something_with_it(tmp_path):
    write_pair(tmp_path, HDE=(58.0, 73.0, 78.0), output=(None, 54.0, None))
    verdicts = compared(tmp_path).verdict
    assert (verdicts["pair1_change"], verdicts["gap_change"], verdicts["resolved_output"]) == (LOST, LOST, LOST)
    assert verdicts["pair1_swapped"] == "not measurable"
    assert verdicts["resolved_hde"] == "not comparable, claim holds"


def test_a_change_is_not_the_networks_fault_where_the_hde_image_gave_no_diameter(tmp_path):
    write_pair(tmp_path, HDE=(None, 73.0, None), output=(72.0, 54.0, 73.0))
    verdicts = compared(tmp_path).verdict
    assert (verdicts["pair1_hde"], verdicts["pair1_change"]) == ("not measurable", "not measurable")
    assert verdicts["pair1_output"] == "not comparable, claim holds"


def test_a_particle_that_neither_image_shows_is_lost_all_the_same(tmp_path):
    write_sizes(tmp_path, hde=(None, None), output=(None, None))
    assert compared(tmp_path).verdict["single_change"] == LOST


def test_a_change_is_not_measured_where_there_is_no_hde_image_to_compare_with(tmp_path):
    lost = {"figure": [6], "image": ["output"], "particle": [1], "diameter_nm": [None], "diameter_se_nm": [None]}
    pd.DataFrame(lost).to_csv(tmp_path / "06_sizes.csv", index=False)
    verdicts = compared(tmp_path).verdict
    assert (verdicts["single_output"], verdicts["single_change"]) == (LOST, "not measured")


def test_a_pair_that_no_field_holds_is_not_measured_and_nor_are_its_formulas(tmp_path):
    write_sizes(tmp_path, hde=(95.0, 1.0), output=(None, None))  # no row of Figure 7
    verdicts = compared(tmp_path).verdict
    assert (verdicts["pair1_output"], verdicts["pair1_change"]) == ("not measured", "not measured")


def test_an_exposure_that_the_frames_do_not_tell_is_not_measured(tmp_path):
    frames = pd.DataFrame({"material": ["Ni", "SiC"], "hde_exposure_s": np.nan, "lde_exposure_s": [np.nan, 0.004]})
    frames.to_csv(tmp_path / "01_frames.csv", index=False)
    found = compared(tmp_path, source="zenodo")
    assert (found.verdict["hde_exposure"], found.run["lde_exposure"]) == ("not measured", 0.004)


def test_a_csv_without_any_column_is_not_measured(tmp_path):
    (tmp_path / "06_sizes.csv").write_text("\n")
    assert compared(tmp_path).verdict["single_hde"] == "not measured"


@pytest.mark.parametrize(
    ("feni", "others", "expected"),
    [
        ((0.02, 0.04), (0.05, 0.07), "holds"),
        ((0.02, 0.06), (0.05, 0.07), "not resolved"),
        ((0.08, 0.09), (0.05, 0.07), "differs"),
    ],
)
def test_an_ordering_inside_the_intervals_is_not_resolved(tmp_path, feni, others, expected):
    intervals = [feni, others, others]
    low, high = zip(*intervals, strict=True)
    means = [sum(interval) / 2 for interval in intervals]
    write_table_2(
        tmp_path,
        material=["FeNi", "Ni", "SiC"],
        mae_on_hde_scale=means,
        mae_on_hde_scale_sd=0.01,
        mae_on_hde_scale_low=low,
        mae_on_hde_scale_high=high,
        psnr_db_on_hde_scale=[25, 21, 21],
        psnr_db_on_hde_scale_sd=2,
        psnr_db_on_hde_scale_low=[24, 20, 20],
        psnr_db_on_hde_scale_high=[26, 22, 22],
    )
    assert compared(tmp_path).verdict["feni_best_mae"] == f"not comparable, claim {expected}"


def test_an_edge_is_less_than_twice_as_wide_only_beyond_two_standard_errors(tmp_path):
    # output - 2 HDE = 8 - 10 = -2; its standard error with 0.3 and 0.4: sqrt(0.3^2 + 4 x 0.4^2) = 0.854
    write_sizes(tmp_path, hde=(95, 1), output=(95, 1), edges=((5, 0.4), (8, 0.3)))
    assert compared(tmp_path).verdict["edge_output"] == "not comparable, claim holds"
    # with 0.8 and 0.3: sqrt(0.8^2 + 4 x 0.3^2) = 1, so -2 are just two of them
    write_sizes(tmp_path, hde=(95, 1), output=(95, 1), edges=((5, 0.31), (8, 0.8)))
    assert compared(tmp_path).verdict["edge_output"] == "not comparable, claim not resolved"
    write_sizes(tmp_path, hde=(95, 1), output=(95, 1), edges=((5, 0.29), (8, 0.8)))
    assert compared(tmp_path).verdict["edge_output"] == "not comparable, claim holds"


@pytest.mark.parametrize(("edge", "expected"), [(11.9, "not resolved"), (12.1, "differs")])
def test_an_edge_more_than_twice_as_wide_differs_beyond_two_standard_errors(tmp_path, edge, expected):
    # 2 HDE = 10, standard error sqrt(0.8^2 + 4 x 0.3^2) = 1
    write_sizes(tmp_path, hde=(95, 1), output=(95, 1), edges=((5, 0.3), (edge, 0.8)))
    assert compared(tmp_path).verdict["edge_output"] == f"not comparable, claim {expected}"


def test_an_edge_without_a_standard_error_says_nothing(tmp_path):
    write_sizes(tmp_path, hde=(95, 1), output=(95, 1), edges=((5, None), (8, 0.8)))
    assert compared(tmp_path).verdict["edge_output"] == "not comparable"


@pytest.mark.parametrize(
    ("output", "se", "expected"),
    [(100.5, 0.1, "holds"), (100.5, 1.0, "not resolved"), (110.0, 1.0, "differs"), (90.0, 1.0, "differs")],
)
def test_diameters_agree_within_one_per_cent_only_where_their_errors_are_small_enough(tmp_path, output, se, expected):
    # HDE 100 nm, so that nm are per cent: errors of 0.14, 1.4 and 1.5 of the change
    write_sizes(tmp_path, hde=(100.0, se), output=(output, se))
    assert compared(tmp_path).verdict["single_change"] == f"not comparable, claim {expected}"


def test_the_change_of_a_diameter_has_the_error_of_both(tmp_path):
    # 60 +- 4 over 50 +- 2.5: 6.67 % and 5 % of them, 8.33 % together, of 120
    write_sizes(tmp_path, hde=(50.0, 2.5), output=(60.0, 4.0))
    found = compared(tmp_path)
    assert (found.run["single_change"], found.run_spread["single_change"]) == pytest.approx((20.0, 10.0))


@pytest.mark.parametrize(
    ("diameter", "expected"), [(20.0, "holds"), (100.0, "holds"), (83.0, "not resolved"), (70.0, "differs")]
)
def test_more_than_a_fifth_off_is_said_of_both_signs_beyond_two_standard_errors(tmp_path, diameter, expected):
    # HDE 70 +- 1: changes of -71, +43, +19 and 0 %, errors of about 2
    write_pair(tmp_path, HDE=(70.0, 70.0, 80.0), output=(70.0, diameter, 80.0))
    assert compared(tmp_path).verdict["pair2_change"] == f"not comparable, claim {expected}"


@pytest.mark.parametrize(("distance", "expected"), [(80.0, "holds"), (71.0, "not resolved"), (60.0, "differs")])
def test_two_particles_are_told_apart_only_beyond_two_standard_errors(tmp_path, distance, expected):
    # mean diameter 70 +- 0.7; distances +- 1: ratios 0.875, 0.986 and 1.167, errors 0.014, 0.017 and 0.023
    write_pair(tmp_path, HDE=(60.0, 80.0, distance), output=(60.0, 80.0, distance))
    assert compared(tmp_path).verdict["resolved_output"] == f"not comparable, claim {expected}"


@pytest.mark.parametrize(("error", "expected"), [(0.01, "holds"), (0.05, "not resolved")])
def test_a_second_peak_is_apart_only_beyond_two_standard_errors(tmp_path, error, expected):
    # 0.7 - 0.55 exceeds 0.1 by 0.05; errors of the difference 0.014 and 0.07
    peaks = {"peak": ["background", "particles"], "position": [0.7, 0.55], "position_error": error}
    pd.DataFrame({"image": "output"} | peaks).to_csv(tmp_path / "05_peaks.csv", index=False)
    assert compared(tmp_path).verdict["peak_output_particles"] == f"not comparable, claim {expected}"


def test_times_of_another_computer_are_not_comparable_even_on_the_authors_data(tmp_path):
    row = {"source": "this run", "kind": "GPU", "input_px": 512, "mean_ms": 2.0, "sd_ms": 0.1}
    measures = [row | {"measure": measure} for measure in ("calculation", "with transfer")]
    pd.DataFrame(measures).to_csv(tmp_path / "table_3_latency.csv", index=False)
    found = compared(tmp_path, source="zenodo", mode="faithful")
    assert found.verdict["gpu1"] == "not comparable, claim holds"
    assert found.run["rate"] == 500
    assert found.verdict["margin_300"] == "not comparable, claim differs"  # 2 ms is faster than the paper


def test_a_cpu_alone_says_nothing_about_how_much_faster_a_gpu_is(tmp_path):
    row = {"source": "this run", "kind": "CPU", "measure": "calculation", "input_px": 512}
    table = pd.DataFrame([row | {"mean_ms": 200.0, "sd_ms": 3.0}])
    table.to_csv(tmp_path / "table_3_latency.csv", index=False)
    found = compared(tmp_path)
    assert found.verdict["cpu1"] == "not comparable, claim holds"
    assert (found.run_spread["cpu1"], found.verdict["faster_text"]) == (3.0, "not measured")


def test_a_run_without_a_profile_has_an_unknown_origin(tmp_path):
    assert origin_of(tmp_path) == {"source": "unknown", "mode": "unknown"}


def test_the_origin_of_a_run_stands_in_its_profile(tmp_path):
    (tmp_path / "profile.json").write_text('{"parameters": {"source": "zenodo", "mode": "faithful", "seed": 1}}')
    assert origin_of(tmp_path) == {"source": "zenodo", "mode": "faithful"}


@pytest.mark.skipif(not any(FIGURES.glob("table_2*.csv")), reason="no reference run is committed")
def test_every_number_finds_its_column_in_the_committed_run():
    assert "not run" not in set(compare(FIGURES, source="simulated").verdict)
    table = claims()
    for claim in table[table.formula == ""].itertuples():
        assert claim.column in pd.read_csv(FIGURES / f"{claim.stem}.csv"), claim.id
