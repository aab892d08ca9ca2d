"""Standard errors, on errors that are drawn from what is to be found."""

import numpy as np
import pandas as pd
import pytest

from temlib import standard_errors

SHARES = {"floor_nm": 0.0, "of_diameter": 0.03}


def found(spread, number, seed=0, **columns):
    """Particles of 100 nm whose errors are normal, and which the fit states as 1."""
    errors_nm = np.random.default_rng(seed).normal(0, spread, number)
    told = {"specimen": "sized", "diameter_error_nm": 1.0, "diameter_nm": 100.0, "touching": False, "misfit": 1.0}
    return pd.DataFrame({"error_nm": errors_nm, "d_prime": 6.0, "shown": 1.0, "significant": True} | told | columns)


def test_a_factor_makes_ninety_per_cent_intervals_of_spheres_hold():
    [row] = standard_errors.calibration(found(3.0, 5000)).to_dict("records")
    assert row["factor"] == pytest.approx(3, rel=0.05) and row["least_d_prime"] == 5
    assert (row["spheres"], row["bodies"]) == (5000, 0) and np.isnan(row["of_diameter"])  # nothing is known of these


def test_what_other_bodies_need_beside_it_is_a_share_of_their_diameter():
    bodies = found(np.hypot(3, 4), 5000, seed=1, specimen="second")
    [row] = standard_errors.calibration(pd.concat([found(3.0, 5000), bodies])).to_dict("records")
    assert row["of_diameter"] == pytest.approx(0.04, rel=0.1)
    known = standard_errors.calibration(pd.concat([found(3.0, 5000), bodies]))
    told = standard_errors.stated(bodies, known)
    assert (told["error_nm"].abs() < 1.645 * told["diameter_error_any_shape_nm"]).mean() == pytest.approx(0.9, abs=0.01)


def test_what_touches_and_what_the_denoised_image_does_not_show_is_in_classes_of_its_own():
    several = [found(1.0, 2000), found(4.0, 2000, touching=True), found(2.0, 2000, shown=0.5)]
    table = standard_errors.calibration(pd.concat(several))
    assert table[["touching", "least_d_prime"]].to_numpy().tolist() == [[False, 0], [False, 5], [True, 5]]
    assert table["factor"].tolist() == pytest.approx([2, 1, 4], rel=0.1)


def test_what_no_dose_makes_smaller_is_asked_of_strong_spheres_alone():
    # noise as stated, beside a bias of 2 nm: little in what is stated as 20 nm, all in what is stated as 0.01
    weak = found(20.0, 5000, diameter_error_nm=20.0, d_prime=20.0)
    strong = found(0.01, 5000, seed=1, diameter_error_nm=0.01, d_prime=50.0)
    both = pd.concat([weak, strong], ignore_index=True)
    both["error_nm"] -= 2.0
    known = standard_errors.calibration(both)
    assert known["factor"].tolist() == pytest.approx([1, 1], rel=0.05) and known["spheres"].tolist() == [5000, 5000]
    assert known["floor_nm"].tolist() == pytest.approx([0, 2 / 1.645], rel=0.02)
    holds = both["error_nm"].abs() < 1.645 * standard_errors.stated(both, known)["diameter_error_nm"]
    assert holds[:5000].mean() == pytest.approx(0.9, abs=0.01) and holds[5000:].mean() == pytest.approx(0.9, abs=0.01)


def test_a_class_that_is_not_known_takes_the_next_lower_one():
    known = pd.DataFrame({"touching": False, "least_d_prime": [5.0, 15.0], "factor": [2.0, 1.5]} | SHARES)
    table = found(1.0, 4).assign(d_prime=[3.0, 9, 20, 20], touching=[False, False, False, True])
    told = standard_errors.stated(table, known)
    np.testing.assert_allclose(told["diameter_error_nm"], [2, 2, 1.5, np.nan])
    np.testing.assert_allclose(told["diameter_error_any_shape_nm"], [13**0.5, 13**0.5, 11.25**0.5, np.nan])


def test_what_has_an_error_as_large_as_itself_is_not_significant():
    known = pd.DataFrame({"touching": [False], "least_d_prime": 0.0, "factor": 120.0} | SHARES)
    assert not standard_errors.stated(found(1.0, 1), known)["significant"].any()


def test_what_spheres_do_not_describe_has_no_standard_error():
    known = pd.DataFrame({"touching": [False], "least_d_prime": 0.0, "factor": 2.0} | SHARES)
    told = standard_errors.stated(found(1.0, 2).assign(misfit=[1.9, 2.1]), known)
    np.testing.assert_equal(told["diameter_error_nm"].to_numpy(), [2, np.nan])
