"""What one exposure can tell of particles that are there."""

import numpy as np
import pandas as pd
import pytest

from temlib import sizing
from temlib.camera import ONEVIEW_BIN8
from temlib.limits import with_limits


def particles(*rows):
    return pd.DataFrame(rows, columns=["row_px", "col_px", "diameter_nm"]).assign(transmission=0.5)


def test_the_bound_of_a_pair_is_that_of_both_together():
    truth = particles((60.0, 40.0, 90.0), (60.0, 64.0, 90.0), (100.0, 120, 60))
    told = with_limits(truth, (128, 128), dose_e_per_px=5.0, pixel_size_nm=3.0)
    absorption = np.log(2) / 30  # transmission 0.5 through 30 px
    alone, pair = (
        sizing.bound(spheres, [5.0, 0, 0], (60, 80), ONEVIEW_BIN8)[0, 2] * 3
        for spheres in ([[30.0, 24, 30, absorption]], [[30.0, 24, 30, absorption], [30, 48, 30, absorption]])
    )
    assert told["bound_nm"][0] == pytest.approx(pair, rel=0.03) and pair > 1.02 * alone
    assert told["gap_nm"][0] == pytest.approx(-18) and list(told["at_border"]) == [False, False, True]


@pytest.mark.parametrize(("diameter_nm", "mean_free_path_nm", "expected"), [(100, 112, 12), (150, 764, 4.9)])
def test_d_prime_of_a_sphere_is_that_of_the_table_in_the_notes_on_the_camera(diameter_nm, mean_free_path_nm, expected):
    # Ni and silicate at an aperture of 40 mrad, 4.5 e-/px; the table leaves position and background free
    truth = particles((64.0, 80, diameter_nm)).assign(transmission=np.exp(-diameter_nm / mean_free_path_nm))
    told = with_limits(truth, (128, 160), dose_e_per_px=4.5, pixel_size_nm=2.9885)
    assert told["d_prime"][0] == pytest.approx(expected, rel=0.1)


def test_the_centre_is_known_as_well_as_along_both_axes():
    truth, absorption = particles((60.0, 64.0, 90.0)), np.log(2) / 30  # transmission 0.5 through 30 px
    told = with_limits(truth, (128, 128), dose_e_per_px=5.0, pixel_size_nm=3.0)
    along = sizing.bound([[30.0, 32, 30, absorption]], [5.0, 0, 0], (60, 64), ONEVIEW_BIN8)[0, :2] * 3
    # a segment's offset is shared along rows, so the two are not alike
    assert told["centre_bound_nm"][0] == pytest.approx(np.sqrt(np.mean(along**2)), rel=0.03)


def test_the_gap_between_two_that_do_not_touch_is_known_as_well_as_their_places_and_sizes():
    truth = particles((60.0, 40.0, 90.0), (60.0, 80.0, 90.0), (60.0, 150.0, 90.0))  # 30 and 120 nm between them
    told = with_limits(truth, (128, 192), dose_e_per_px=5.0, pixel_size_nm=3.0)
    absorption = np.log(2) / 30  # transmission 0.5 through 30 px
    _, along, diameter, _ = sizing.bound([[30.0, 40, 30, absorption]], [5.0, 0, 0], (60, 96), ONEVIEW_BIN8)[0] * 3
    # of the centres' distance that of both, of half of two diameters that of half of each
    assert told["gap_bound_nm"][0] == pytest.approx(np.sqrt(2 * along**2 + diameter**2 / 2), rel=0.05)
    assert told["gap_bound_nm"].isna().tolist() == [False, False, True]
