"""A profile is checked, key by key, before anything runs."""

import json

import pytest

from temlib import settings
from temlib.errors import ProfileError

PARAMETERS = """\
run_dir = "../runs/laptop"  # the run's folder
epochs = 40  # passes over the training pairs
learning_rate = 1.0e-4  # Adam's step
mode = "corrected"  # faithful or corrected
doses_e_per_px = [4.5, 10.0]  # electrons a pixel
flips = True  # augmentation
"""
GOOD = {
    "epochs": "60",
    "learning_rate": "1.0e-4",
    "mode": "faithful",
    "doses_e_per_px": "[5.0, 7.5]",
    "flips": "false",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one notebook and one profile; call it with the lines to change."""
    cells = [
        {"cell_type": "code", "metadata": {}, "source": ["other = 1\n"]},
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]},
            "source": PARAMETERS.splitlines(keepends=True),
        },
    ]
    (tmp_path / "03_training.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(settings, "PARAMS", tmp_path)
    monkeypatch.setattr(settings, "NOTEBOOKS", tmp_path)

    def write(without=None, text=None, **changed):
        lines = {key: value for key, value in (GOOD | changed).items() if key != without}
        text = text if text is not None else "".join(f"{key}: {value}\n" for key, value in lines.items())
        (tmp_path / "laptop.yaml").write_text(text)

    write()
    return write


def test_a_good_profile_comes_back_as_it_is_written(project):
    assert settings.load_profile("laptop") == {
        "epochs": 60,
        "learning_rate": 1e-4,
        "mode": "faithful",
        "doses_e_per_px": [5.0, 7.5],
        "flips": False,
    }


def test_an_unknown_profile_is_refused_with_the_known_names(project):
    with pytest.raises(ProfileError, match="no profile 'labtop': choose one of laptop"):
        settings.load_profile("labtop")


def test_a_misspelt_key_is_refused_with_the_near_match(project):
    project(epochss="60")
    with pytest.raises(ProfileError, match=r"laptop\.yaml has the key 'epochss'.*did you mean 'epochs'\?"):
        settings.load_profile("laptop")


def test_a_key_like_no_other_is_refused_with_what_to_do(project):
    project(zeppelin="60")
    with pytest.raises(ProfileError, match="'zeppelin', which no notebook knows: remove it"):
        settings.load_profile("laptop")


def test_a_key_that_yaml_reads_as_something_else_is_refused(project):
    project(text="on: 1\n")  # YAML 1.1 reads on, off, yes and no as truth values
    with pytest.raises(ProfileError, match="has the key True, which no notebook knows"):
        settings.load_profile("laptop")


def test_a_missing_key_is_refused_by_name(project):
    project(without="mode")
    with pytest.raises(ProfileError, match=r"laptop\.yaml lacks mode: copy from params/laptop\.yaml"):
        settings.load_profile("laptop")


def test_the_folder_of_a_run_is_the_runners_to_give(project):
    project(run_dir="elsewhere")
    with pytest.raises(ProfileError, match="'run_dir', which no notebook knows"):
        settings.load_profile("laptop")


@pytest.mark.parametrize(
    ("key", "value", "came"),
    [
        ("epochs", "many", "str"),
        ("epochs", "2.5", "float"),
        ("epochs", "true", "bool"),
        ("epochs", "", "NoneType"),
        ("learning_rate", "1e-4", "str"),  # YAML 1.1 wants 1.0e-4
        ("learning_rate", "true", "bool"),
        ("mode", "1", "int"),
        ("doses_e_per_px", "5.0", "float"),
        ("flips", "1", "int"),
    ],
)
def test_a_value_of_another_type_is_refused_with_an_example_of_the_right_one(project, key, value, came):
    project(**{key: value})
    with pytest.raises(ProfileError, match=rf"gives {key} = .*, a {came}: a \w+ like .* is needed"):
        settings.load_profile("laptop")


def test_a_whole_number_will_do_where_a_fraction_may_stand(project):
    project(learning_rate="1")
    assert settings.load_profile("laptop")["learning_rate"] == 1


def test_a_broken_file_is_refused(project):
    project(text="epochs: [1, 2\nmode: faithful\n")
    with pytest.raises(ProfileError, match=r"laptop\.yaml is no valid YAML"):
        settings.load_profile("laptop")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- epochs\n- mode\n", "epochs\n"])
def test_a_file_that_holds_no_table_is_refused(project, text):
    project(text=text)
    with pytest.raises(ProfileError, match=r"laptop\.yaml"):
        settings.load_profile("laptop")


def test_notebooks_come_in_the_order_of_their_numbers(project, tmp_path):
    for name in ("10_ablations.ipynb", "01_data.ipynb", "draft.ipynb"):
        (tmp_path / name).write_text("{}")
    names = [path.name for path in settings.notebook_paths()]
    assert names == ["01_data.ipynb", "03_training.ipynb", "10_ablations.ipynb"]


def test_a_notebook_without_a_parameters_cell_has_no_parameters(tmp_path):
    path = tmp_path / "01_data.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "metadata": {}, "source": ["x = 1\n"]}]}))
    assert settings.notebook_parameters(path) == {}
