"""`temlib validate` on sets whose truth is known, as a microscope writes them."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from temlib.cli import app
from temlib.simulate import simulate


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    options = {"seed": 3, "size_px": 192, "binning": 8, "pixel_size_nm": 2.9885, "max_drift_px": 2.0}
    fields = {"train_fields": {"FeNi": 2}, "validation_fields": {"FeNi": 1}, "hde_frames_kept": 2}
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


def test_a_folder_without_sets_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["validate", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "error:" in result.stderr
