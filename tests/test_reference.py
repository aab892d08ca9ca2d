import numpy as np
import pandas as pd
import pytest

from temlib.paths import FIGURES
from temlib.reference import claims, compare, paper_table, source_of


def compared(folder, *, source="simulated"):
    return compare(folder, source=source).set_index("id")


def write_table_2(folder, **columns):
    pd.DataFrame({"method": "output"} | columns).to_csv(folder / "table_2_quality.csv", index=False)


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


def test_a_number_within_the_papers_spread_is_reproduced_on_the_authors_data_only(tmp_path):
    # the paper: 0.075 +- 0.026; a blank image: 0.08
    methods = {"material": ["Ni", "Ni"], "method": ["output", "blank"]}
    write_table_2(tmp_path, **methods, mae_on_hde_scale=[0.09, 0.08], mae_on_hde_scale_sd=0.01)
    assert compared(tmp_path, source="zenodo").verdict["mae_ni"] == "reproduced"
    assert compared(tmp_path).verdict["mae_ni"] == "not comparable, claim differs"  # farther than the blank image


def test_a_number_outside_the_papers_spread_differs_on_the_authors_data(tmp_path):
    methods = {"material": ["Ni", "Ni"], "method": ["output", "blank"]}
    write_table_2(tmp_path, **methods, mae_on_hde_scale=[0.04, 0.08], mae_on_hde_scale_sd=0.01)
    assert compared(tmp_path, source="zenodo").verdict["mae_ni"] == "differs"
    assert compared(tmp_path).verdict["mae_ni"] == "not comparable, claim holds"


def test_a_material_that_a_run_does_not_have_is_not_measured(tmp_path):
    write_table_2(tmp_path, material=["gold"], mae_on_hde_scale=[0.04], mae_on_hde_scale_sd=[0.01])
    found = compared(tmp_path)
    assert found.verdict["mae_ni"] == "not measured"
    assert np.isnan(found.run["mae_ni"])


def test_an_empty_cell_is_not_measured(tmp_path):
    write_table_2(tmp_path, material=["Ni"], mae_on_hde_scale=[None], mae_on_hde_scale_sd=[None])
    assert compared(tmp_path).verdict["mae_ni"] == "not measured"


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


def test_times_of_another_computer_are_not_comparable_even_on_the_authors_data(tmp_path):
    row = {"source": "this run", "kind": "GPU", "input_px": 512, "mean_ms": 2.0, "sd_ms": 0.1}
    measures = [row | {"measure": measure} for measure in ("calculation", "with transfer")]
    pd.DataFrame(measures).to_csv(tmp_path / "table_3_latency.csv", index=False)
    found = compared(tmp_path, source="zenodo")
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


def test_a_run_without_a_profile_has_an_unknown_source(tmp_path):
    assert source_of(tmp_path) == "unknown"


@pytest.mark.skipif(not any(FIGURES.glob("table_2*.csv")), reason="no reference run is committed")
def test_every_number_finds_its_column_in_the_committed_run():
    assert "not run" not in set(compare(FIGURES, source="simulated").verdict)
    table = claims()
    for claim in table[table.formula == ""].itertuples():
        assert claim.column in pd.read_csv(FIGURES / f"{claim.stem}.csv"), claim.id
