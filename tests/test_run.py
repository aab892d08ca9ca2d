import fcntl
import json

import pytest
import yaml
from typer.testing import CliRunner

from temlib import publishing, run, settings

PARAMETERS = 'run_dir = "../runs/laptop"  # folder\nnumber = 1  # -\nthreads = 1  # -\n'


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A project of two notebooks and one profile."""
    for name in ("notebooks", "params", "runs", "figures"):
        if name != "figures":  # git keeps no empty folder: a clone may have none
            (tmp_path / name).mkdir()
        for module in (run, settings, publishing):
            if hasattr(module, name.upper()):
                monkeypatch.setattr(module, name.upper(), tmp_path / name)
    write_notebook(tmp_path, "01_first", "open(f'{run_dir}/01.txt', 'w').write(str(number)); print('epoch 1/1')")
    write_notebook(tmp_path, "02_second", "open(f'{run_dir}/02.txt', 'w').write(open(f'{run_dir}/01.txt').read())")
    write_profile(tmp_path, number=7)
    return tmp_path


def state(monkeypatch, commit, dirty=False):
    """What git tells of the code."""
    for module in (run, publishing):
        monkeypatch.setattr(module, "git_state", lambda: (commit, dirty))


def write_notebook(house, stem, code):
    cells = [
        {"id": id, "cell_type": "code", "source": source, "metadata": {"tags": tags}, "outputs": []}
        | {"execution_count": None}
        for id, source, tags in (("one", PARAMETERS, ["parameters"]), ("two", code, []))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (house / "notebooks" / f"{stem}.ipynb").write_text(json.dumps(notebook))


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
    assert status == 2
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
        (["tiny", "--from", "01", "--only", "02"], "give one of the two"),
        (["tiny", "--publish"], "--publish"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(house, monkeypatch, arguments, words):
    state(monkeypatch, "abc", dirty=True)
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


def test_sets_that_were_left_out_give_status_1_and_one_line_after_all_is_done(house):
    write_notebook(house, "01_first", "print('left out: a.tif is empty: copy it anew.')\nprint('left out: b.tif too')")
    write_notebook(house, "02_second", "print('left out: b.tif too'); open(f'{run_dir}/02.txt', 'w').write('2')")
    status, output, errors = call("tiny")
    assert status == 1
    assert (house / "runs/tiny/02.txt").exists()
    assert output.splitlines()[-1] == "Done."
    assert errors.startswith("error: 2 of the input's files or sets are left out")
    assert "01_first.ipynb" in errors and "02_second.ipynb" in errors
    assert errors.count("\n") == 1


def test_what_an_earlier_notebook_left_out_still_counts_when_a_later_one_is_run_alone(house):
    write_notebook(house, "01_first", "open(f'{run_dir}/01.txt', 'w').write('1')\nprint('left out: a.tif is empty.')")
    assert call("tiny")[0] == 1
    assert call("tiny", "--only", "02")[0] == 1


def test_what_a_killed_run_was_writing_is_cleared_away(house):
    assert call("tiny", "--only", "01")[0] == 0
    half = house / "runs/tiny/figures/.table_2.77.partial.csv"
    half.parent.mkdir()
    half.write_text("field,ma")
    assert call("tiny", "--only", "02")[0] == 0
    assert not half.exists()


# Publishing


def provenance(commit="abc", dirty=False):
    return json.dumps({"git_commit": commit, "git_dirty": dirty})


@pytest.fixture
def finished(house, monkeypatch):
    """A run whose one result was made by commit abc, which is the code's; its notebooks are not executed again."""
    state(monkeypatch, "abc")
    monkeypatch.setattr(run, "_execute", lambda *_: None)
    assert call("tiny")[0] == 0
    (house / "runs/tiny/minutes.json").write_text('{"01_first": 0.1, "02_second": 0.2}')
    (house / "runs/tiny/figures").mkdir()
    (house / "runs/tiny/figures/new.json").write_text(provenance())
    return house


def publish():
    return call("tiny", "--publish")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_what_was_run_is_published(house, monkeypatch):
    state(monkeypatch, "abc")
    save = "import os; os.makedirs(f'{run_dir}/figures'); open(f'{run_dir}/figures/new.json', 'w').write("
    write_notebook(house, "01_first", save + repr(provenance()) + ")")
    write_notebook(house, "02_second", "number + threads")
    assert publish()[0] == 0
    assert (house / "figures/new.json").read_text() == provenance()


def test_publish_replaces_the_reference_results(finished):
    (finished / "figures").mkdir()
    (finished / "figures/old.png").write_bytes(b"old")
    assert publish()[0] == 0
    assert names(finished / "figures") == ["new.json"]
    assert names(finished) == ["figures", "notebooks", "params", "runs"]


def test_publish_makes_the_folder_of_the_reference_results(finished):
    assert publish()[0] == 0
    assert names(finished / "figures") == ["new.json"]


def test_publish_leaves_the_reference_results_as_they_are_where_copying_fails(finished, monkeypatch):
    def half(source, folder):
        (folder / "new.json").write_text("{")
        raise OSError(28, "No space left on device")

    (finished / "figures").mkdir()
    (finished / "figures/old.png").write_bytes(b"old")
    monkeypatch.setattr(publishing.shutil, "copy2", half)
    status, _, errors = publish()
    assert status == 2
    assert errors.startswith("error: --publish: ") and "No space left" in errors
    assert names(finished / "figures") == ["old.png"]


def test_publish_takes_up_what_a_killed_publishing_left(finished):
    (finished / ".figures.partial").mkdir()
    (finished / ".figures.partial/stale.png").write_bytes(b"stale")
    assert publish()[0] == 0
    assert names(finished / "figures") == ["new.json"]


def test_the_studys_results_stand_apart_and_are_replaced_notebook_by_notebook(finished):
    (finished / "runs/tiny").rename(finished / "runs/study")
    (finished / "params/tiny.yaml").rename(finished / "params/study.yaml")
    for name in ("figures/table_1.csv", "figures/study/01_old.csv", "figures/study/02_kept.csv"):
        (finished / name).parent.mkdir(parents=True, exist_ok=True)
        (finished / name).write_text("old")
    for name in ("01_new.json", "02_not_chosen.json"):
        (finished / "runs/study/figures" / name).write_text(provenance())
    assert call("study", "--only", "01", "--publish")[0] == 0
    assert names(finished / "figures/study") == ["01_new.json", "02_kept.csv"]
    assert names(finished / "figures") == ["study", "table_1.csv"]


def test_what_measure_states_is_the_calibration_of_the_published_study(finished, monkeypatch):
    stated = finished / "diameter_errors.csv"
    monkeypatch.setattr(publishing.standard_errors, "FILE", stated)
    monkeypatch.setattr(publishing, "CALIBRATION", "01_new.json")
    (finished / "runs/tiny").rename(finished / "runs/study")
    (finished / "params/tiny.yaml").rename(finished / "params/study.yaml")
    (finished / "runs/study/figures/01_new.json").write_text(provenance())
    assert call("study", "--only", "01", "--publish")[0] == 0
    assert stated.read_text() == provenance()


def test_publish_keeps_the_results_of_the_study(finished):
    (finished / "figures/study").mkdir(parents=True)
    (finished / "figures/study/10_ablations.csv").write_text("hours")
    assert publish()[0] == 0
    assert names(finished / "figures") == ["new.json", "study"]
    assert (finished / "figures/study/10_ablations.csv").read_text() == "hours"


def test_publish_refuses_a_run_that_other_code_began(finished, monkeypatch):
    state(monkeypatch, "def")
    status, _, errors = publish()
    assert status == 2
    assert "begun by commit abc" in errors


@pytest.mark.parametrize(
    ("made_by", "words"), [(("def", False), "commit def,"), (("abc", True), "commit abc with changes,")]
)
def test_publish_names_the_first_result_that_other_code_made(finished, made_by, words):
    for stem in ("table_3", "table_2"):
        (finished / f"runs/tiny/figures/{stem}.json").write_text(provenance(*made_by))
    status, _, errors = publish()
    assert status == 2
    assert f"table_2 was made by {words} the code is now abc" in errors
    assert not (finished / "figures").exists()


def test_publish_refuses_a_run_with_a_notebook_missing(finished):
    write_notebook(finished, "03_third", "number + threads")
    status, _, errors = publish()
    assert status == 2
    assert "03_third has not run in tiny" in errors
    assert not (finished / "figures").exists()


def test_a_kernel_that_dies_is_one_sentence(house):
    write_notebook(house, "01_first", "import os\nos.kill(os.getpid(), 9)")
    status, _, errors = call("tiny")
    assert status == 2
    assert errors.startswith("error: 01_first was cut off")
    assert errors.count("\n") == 1


def test_results_of_unknown_parameters_are_not_gone_on_from(house):
    (house / "runs/tiny").mkdir()
    (house / "runs/tiny/01.txt").write_text("7")
    status, _, errors = call("tiny")
    assert status == 2
    assert "no profile.json" in errors
