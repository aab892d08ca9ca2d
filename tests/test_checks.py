import numpy as np
import pandas as pd
import pytest

from temlib.checks import check_table, set_numbers


def test_numbers_of_a_set_worked_by_hand():
    hde = np.full((40, 60), 1000.0)
    hde[10:21, 20:31] = 500.0  # a dark square of 11 px about (15, 25)
    hde[0, 0] = 1250.0
    lde = np.tile([0.0, 8.0], (40, 30))
    particles = pd.DataFrame({"row_px": [15.0], "col_px": [25.0], "diameter_nm": [20.0]})
    numbers = set_numbers(hde, hde, lde, pixel_size_nm=2.0, exposure_s=0.01, particles=particles)
    assert numbers["LDE mean [e-/px]"] == 4
    assert numbers["LDE maximum [e-]"] == 8
    assert numbers["LDE pixels at zero"] == 0.5
    assert numbers["LDE dose rate [e-/nm2/s]"] == pytest.approx(4 / 4 / 0.01)
    assert numbers["HDE background [e-/px]"] == pytest.approx(1000, rel=0.01)
    assert numbers["HDE background, min-max scale"] == pytest.approx(500 / 750, rel=0.02)
    assert numbers["particle / background"] == pytest.approx(0.5, rel=0.01)


def test_a_set_without_calibration_has_no_dose_rate():
    rng = np.random.default_rng(0)
    hde = rng.normal(1000, 10, (20, 30))
    numbers = set_numbers(hde, hde, rng.uniform(0, 9, (20, 30)), pixel_size_nm=None, exposure_s=0.1)
    assert "LDE dose rate [e-/nm2/s]" not in numbers
    assert "particle / background" not in numbers


def test_the_median_over_sets_is_what_is_checked():
    numbers = pd.DataFrame(
        {
            "field": list("abc"),
            "material": ["FeNi"] * 3,
            "LDE mean [e-/px]": [4.4, 4.5, 90.0],
            "particle / background": [0.3, 0.9, 0.8],
        }
    )
    table = check_table(numbers).set_index("quantity")
    assert table.loc["LDE mean [e-/px]", "value"] == 4.5
    assert table.loc["LDE mean [e-/px]", "ok"]
    assert not table.loc["particle / background", "ok"]  # 0.8, where FeNi is below 0.5
