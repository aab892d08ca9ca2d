"""The smoke profile through every notebook, as a newcomer runs it, and a smaller one that is killed and goes on."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import papermill
import pytest
import yaml
from test_notebooks import saved_results

from temlib.paths import NOTEBOOKS, PARAMS, ROOT, RUNS
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
        optional = {"04_real_frames"}  # only where the real frames are beside this clone
        missing = saved_results(notebook).keys() - optional - results("csv").keys()
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


# Notebooks 01 to 06 on two materials and fields of 96 px, in a copy of the project. None of their tables
# holds a time, so all are compared; 07 measures times, and 99 quotes them.

TINY = {
    "threads": 1,  # two runs share two cores
    "train_fields": {"SiC": 1, "silicate": 1},
    "validation_fields": {"SiC": 1, "silicate": 1},
    "lde_size_px": 96,
    "pixel_size_nm": 6.0,
    "hde_binning": 4,
    "camera_fields": 1,
    "epochs": 4,
    "batch_size": 2,
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with its first six notebooks and two profiles of one content."""
    house = tmp_path_factory.mktemp("copy")
    for folder in ("temlib", "data/paper"):
        shutil.copytree(ROOT / folder, house / folder)
    for folder in ("notebooks", "params"):
        (house / folder).mkdir()
    known = set()
    for notebook in notebook_paths()[:6]:
        shutil.copy(notebook, house / "notebooks")
        known |= notebook_parameters(notebook).keys()
    profile = yaml.safe_load((PARAMS / "smoke.yaml").read_text()) | TINY
    for name in ("whole", "killed"):
        (house / f"params/{name}.yaml").write_text(
            yaml.safe_dump({key: profile[key] for key in profile if key in known})
        )
    return house


@pytest.fixture
def start(copy):
    """A function that starts the runner on a profile; nothing of it is left running."""
    begun = []

    def run(profile):
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "temlib.run", profile],
                cwd=copy,
                env=os.environ | {"PYTHONPATH": str(copy)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # a process group of its own
            )
        )
        return begun[-1]

    yield run
    for run in begun:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def kill_after(run, word, wait):
    """Kill a run's process group some time after a line that begins with `word`; what it printed.

    The notebook's kernel has its own group and lives on for up to a second, as it would for a user.
    """
    said = ""
    for line in run.stdout:
        said += line
        if line.strip().startswith(word):
            break
    time.sleep(wait(line))
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, said
    return said + run.stdout.read()


def tables(copy, profile):
    return {file.name: file.read_bytes() for file in (copy / "runs" / profile / "figures").glob("*.csv")}


def test_two_runs_of_which_one_is_killed_three_times_give_the_same_tables(copy, start):
    whole = start("whole")
    rng = random.Random(7)
    kill_after(start("killed"), "01_data", lambda line: rng.uniform(0, 8))
    first_epoch_s = re.compile(r"([\d.]+) s, ")
    said = kill_after(start("killed"), "epoch 1/", lambda line: rng.uniform(0, float(first_epoch_s.search(line)[1])))
    assert "03_training took" not in said  # it was killed inside the training
    kill_after(start("killed"), "05_histograms", lambda line: rng.uniform(0, 4))
    for run in (start("killed"), whole):
        said, _ = run.communicate()
        assert run.returncode == 0, said
    expected = tables(copy, "whole")
    assert len(expected) >= 20
    assert tables(copy, "killed") == expected
