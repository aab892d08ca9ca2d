"""The smoke profile through every notebook, as a newcomer runs it; the slowest test of the suite."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import papermill
import pytest

from temlib.paths import NOTEBOOKS, RUNS
from temlib.settings import notebook_parameters, notebook_paths

RUN_DIR = RUNS / "smoke"
COMMAND = [sys.executable, "-m", "temlib.run", "smoke"]


@pytest.fixture(scope="module")
def smoke():
    """A finished smoke run, made anew."""
    shutil.rmtree(RUN_DIR, ignore_errors=True)
    run = subprocess.run(COMMAND, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def results(suffix):
    return {file.stem: file for file in (RUN_DIR / "figures").glob(f"*.{suffix}")}


def test_every_result_that_a_notebook_saves_is_there(smoke):
    for notebook in notebook_paths():
        stems = re.findall(r'record\.save\([^"]*?"(\w+)"', notebook.read_text().replace('\\"', '"'))
        optional = {"04_real_frames"}  # only where the real frames are beside this clone
        missing = set(stems) - optional - results("csv").keys()
        assert not missing, f"{notebook.name}: {missing}"


def test_every_figure_and_table_tells_where_it_comes_from(smoke):
    assert results("csv").keys() == results("json").keys() >= results("png").keys()
    for file in results("json").values():
        provenance = json.loads(file.read_text())
        assert provenance["profile"] == "smoke"
        assert provenance["parameters"]["seed"] == 1


def test_every_notebook_was_executed_without_an_error(smoke):
    for notebook in notebook_paths():
        cells = json.loads((RUN_DIR / "notebooks" / notebook.name).read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert outputs, notebook.name
        assert not [output for output in outputs if output["output_type"] == "error"]


def test_progress_is_shown_down_to_the_epochs_and_ends_with_the_report(smoke):
    assert "epoch 1/" in smoke.stdout
    assert smoke.stdout.splitlines()[-1].endswith("runs/smoke/figures/report.html")


def test_the_report_is_one_page_of_at_most_8_mb(smoke):
    report = RUN_DIR / "figures" / "report.html"
    assert report.stat().st_size < 8e6
    page = report.read_text()
    assert not re.search(r'(src|href)="(?!data:|#|https?://)', page)  # nothing but itself is needed to see it


def test_simulated_data_look_like_the_paper_s(smoke):
    table = pd.read_csv(results("csv")["01_checks"])
    assert table["ok"].mean() > 0.8


def test_going_on_from_a_finished_run_gives_the_same_tables(smoke):
    times = {"table_3_latency", "99_report"}  # and what quotes them
    before = {stem: file.read_bytes() for stem, file in results("csv").items() if stem not in times}
    for number in ("02", "04", "06"):
        run = subprocess.run([*COMMAND, "--only", number], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    assert {stem: results("csv")[stem].read_bytes() for stem in before} == before


def test_faithful_mode_goes_through_training_evaluation_and_measurement(smoke, tmp_path):
    for name in ("data", "pairs", "camera.json"):
        (tmp_path / name).symlink_to(RUN_DIR / name)
    for number in ("03", "04", "05", "06"):
        notebook = next(path for path in notebook_paths() if path.name.startswith(number))
        known = notebook_parameters(notebook)
        tiny = {"run_dir": str(tmp_path), "mode": "faithful", "epochs": 1, "tuning_fields": 1}
        given = {key: value for key, value in tiny.items() if key in known}
        papermill.execute_notebook(
            notebook, tmp_path / notebook.name, given, cwd=str(NOTEBOOKS), progress_bar=False, kernel_name="python3"
        )
    assert (tmp_path / "models" / "unet_faithful.safetensors").is_file()
    assert (tmp_path / "outputs" / "unet_faithful" / "silicate_val_000.npz").is_file()
    table = pd.read_csv(tmp_path / "figures" / "table_2_quality.csv").query("method == 'output'")
    # a faithful output is on the scale of the HDE image already: both readings of the paper's MAE are one
    assert table["mae"].tolist() == pytest.approx(table["mae_on_hde_scale"].tolist())
