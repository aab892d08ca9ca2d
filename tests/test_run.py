import fcntl
import json

import nbformat
import pytest
import yaml
from typer.testing import CliRunner

from temlib import run, settings

PARAMETERS = 'run_dir = "../runs/laptop"  # folder\nnumber = 1  # -\nthreads = 1  # -\n'


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A project of two notebooks and one profile."""
    for name in ("notebooks", "params", "runs", "figures"):
        if name != "figures":  # git keeps no empty folder: a clone may have none
            (tmp_path / name).mkdir()
        for module in (run, settings):
            if hasattr(module, name.upper()):
                monkeypatch.setattr(module, name.upper(), tmp_path / name)
    write_notebook(tmp_path, "01_first", "open(f'{run_dir}/01.txt', 'w').write(str(number)); print('epoch 1/1')")
    write_notebook(tmp_path, "02_second", "open(f'{run_dir}/02.txt', 'w').write(open(f'{run_dir}/01.txt').read())")
    write_profile(tmp_path, number=7)
    return tmp_path


def write_notebook(house, stem, code):
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, house / "notebooks" / f"{stem}.ipynb")


def write_profile(house, **values):
    (house / "params" / "tiny.yaml").write_text(yaml.safe_dump({"threads": 1} | values))


def call(*arguments):
    """Exit status, standard output and standard error of the runner."""
    result = CliRunner().invoke(run.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_notebooks_run_in_order_with_the_profile_s_values(house):
    status, output, _ = call("tiny")
    assert status == 0
    assert (house / "runs/tiny/02.txt").read_text() == "7"
    assert "epoch 1/1" in output
    assert sorted(json.loads((house / "runs/tiny/minutes.json").read_text())) == ["01_first", "02_second"]


def test_only_runs_one_notebook_and_from_runs_the_rest(house):
    assert call("tiny", "--only", "01")[0] == 0
    assert not (house / "runs/tiny/02.txt").exists()
    assert call("tiny", "--from", "02")[0] == 0
    assert (house / "runs/tiny/02.txt").exists()


def test_a_failing_notebook_is_named_in_one_sentence_and_stops_the_run(house):
    write_notebook(house, "01_first", "number / 0")
    status, _, errors = call("tiny")
    assert status == 1
    # of the executed notebook: papermill adds a cell after the parameters
    assert errors.startswith("error: 01_first stopped in cell [3] of ")
    assert "01_first.ipynb: ZeroDivisionError: division by zero (more in" in errors
    assert errors.count("\n") == 1
    assert "Traceback" in (house / "runs/tiny/log.txt").read_text()
    assert not (house / "runs/tiny/02.txt").exists()


def test_a_sentence_of_temlib_is_passed_on_as_it_is(house):
    write_notebook(
        house, "01_first", "from temlib.errors import FrameError\nraise FrameError('a.tif is empty: copy it anew.')"
    )
    assert "01_first.ipynb: a.tif is empty: copy it anew. (more in" in call("tiny")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "There is no profile 'nosuch'"),
        (["tiny", "--only", "12"], "there is no such notebook; choose one of 01, 02"),
        (["tiny", "--publish"], "--publish"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(house, monkeypatch, arguments, words):
    monkeypatch.setattr(run, "git_state", lambda: ("abc", True))
    status, _, errors = call(*arguments)
    assert status == 2
    assert errors.startswith("error: ") and words in errors
    assert not (house / "runs/tiny/01.txt").exists()


def test_a_misspelt_key_is_refused_with_the_right_one(house):
    write_profile(house, numbr=7)
    status, _, errors = call("tiny")
    assert status == 2
    assert "did you mean 'number'?" in errors


def test_other_values_are_not_mixed_into_a_run(house):
    assert call("tiny", "--only", "01")[0] == 0
    write_profile(house, number=8)
    status, _, errors = call("tiny")
    assert status == 2
    assert "other values of number" in errors


def test_two_runs_of_one_profile_are_refused(house):
    (house / "runs/tiny").mkdir()
    with open(house / "runs/tiny/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, errors = call("tiny")
    assert status == 2
    assert "Another run of 'tiny' is at work" in errors


def test_publish_replaces_the_reference_results(house, monkeypatch):
    monkeypatch.setattr(run, "git_state", lambda: ("abc", False))
    (house / "figures").mkdir()
    (house / "figures/old.png").write_bytes(b"old")
    write_notebook(
        house,
        "01_first",
        "import os; os.makedirs(f'{run_dir}/figures'); open(f'{run_dir}/figures/new.csv', 'w').write('a')",
    )
    write_notebook(house, "02_second", "number + threads")
    assert call("tiny", "--publish")[0] == 0
    assert [file.name for file in (house / "figures").iterdir()] == ["new.csv"]


def test_publish_makes_the_folder_of_the_reference_results(house, monkeypatch):
    monkeypatch.setattr(run, "git_state", lambda: ("abc", False))
    code = "import os; os.makedirs(f'{run_dir}/figures'); open(f'{run_dir}/figures/new.csv', 'w').write('a')"
    write_notebook(house, "01_first", code)
    write_notebook(house, "02_second", "number + threads")
    assert call("tiny", "--publish")[0] == 0
    assert (house / "figures/new.csv").is_file()


def test_publish_refuses_a_run_that_other_code_began(house, monkeypatch):
    monkeypatch.setattr(run, "git_state", lambda: ("abc", False))
    assert call("tiny", "--only", "01")[0] == 0
    monkeypatch.setattr(run, "git_state", lambda: ("def", False))
    status, _, errors = call("tiny", "--publish")
    assert status == 2
    assert "begun by commit abc" in errors


def test_a_kernel_that_dies_is_one_sentence(house):
    write_notebook(house, "01_first", "import os\nos.kill(os.getpid(), 9)")
    status, _, errors = call("tiny")
    assert status == 1
    assert errors.startswith("error: 01_first was cut off")
    assert errors.count("\n") == 1


def test_results_of_unknown_parameters_are_not_gone_on_from(house):
    (house / "runs/tiny").mkdir()
    (house / "runs/tiny/01.txt").write_text("7")
    status, _, errors = call("tiny")
    assert status == 2
    assert "no profile.json" in errors
