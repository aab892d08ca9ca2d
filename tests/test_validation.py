"""`temlib validate` on sets whose truth is known, as a microscope writes them."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from temlib import validation
from temlib.cli import app
from temlib.found_tables import BEAM_FIELD_NM
from temlib.simulate import simulate


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    options = {"seed": 3, "size_px": 192, "binning": 8, "pixel_size_nm": 2.9885, "max_drift_px": 2.0}
    fields = {"train_fields": {"FeNi": 1}, "validation_fields": {"FeNi": 1}, "hde_frames_kept": 2}
    simulate(folder, report=lambda _: None, **fields, **options)
    return folder


def test_diameters_of_lde_frames_are_near_those_of_their_hde_frames(sets, tmp_path):
    result = CliRunner().invoke(app, ["validate", str(sets), "-o", str(tmp_path), "--model", "fast"])
    assert result.exit_code in (0, 1), result.stderr
    table = pd.read_csv(tmp_path / "validation.csv")
    sure = table[(table["d_prime"] == "6 and more") & (table["method"] == "raw")].iloc[0]
    assert sure["found"] > 0.7 and abs(sure["bias_nm"]) < 5
    particles = pd.read_csv(tmp_path / "validation_particles.csv")
    assert {"raw", "fast"} == set(particles["method"]) and particles["exposure"].nunique() == 2


def test_a_folder_without_sets_is_refused_and_the_sentence_says_why(tmp_path):
    result = CliRunner().invoke(app, ["validate", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "No set of" in result.stderr and "above" not in result.stderr


def rows(kind, **columns):
    told = {"method": "raw", "field": "a", "error_nm": 1.0, "diameter_error_nm": 1.0, "true_bound_nm": 1.0}
    told |= {"true_diameter_nm": 60.0, "true_d_prime": 7.0, "true_transmission": 0.5, "true_at_border": False}
    told |= {
        "diameter_error_any_shape_nm": 1.0,
        "diameter_nm": 60.0,
        "contrast": 0.5,
        "significant": True,
        "at_border": False,
    }
    return pd.DataFrame([told | {"kind": kind} | columns])


def test_what_the_frame_cuts_is_neither_wrong_nor_invented():
    nothing = dict.fromkeys(["true_diameter_nm", "true_d_prime", "true_transmission", "true_at_border"], np.nan)
    several = [rows("matched"), rows("matched", true_at_border=True), rows("matched", true_transmission=0.99)]
    several += [rows("invented", **nothing), rows("invented", at_border=True, **nothing)]
    several += [rows("invented", significant=False, **nothing)]
    table = validation._table(pd.concat(several, ignore_index=True), area_nm2=2 * BEAM_FIELD_NM**2)
    columns = ["n", "found", "false_per_field", "significant_false_per_field"]
    assert table[columns].to_numpy().tolist() == [[1, 1.0, 1.0, 0.5]]
