import shutil
from importlib import metadata

import pytest
from typer.testing import CliRunner

from temlib import zenodo
from temlib.cli import app
from temlib.errors import DownloadError


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "sets"
    assert call("simulate", folder, "--fields", 1, "--validation", 1, "--size", 128, "--pixel-size-nm", 4.5)[0] == 0
    return folder


def test_the_version_is_told():
    assert call("--version") == (0, f"temlib {metadata.version('temlib')}\n", "")


def test_simulated_sets_are_indexed_without_their_table(simulated):
    (simulated / "fields.csv").unlink()
    status, output, _ = call("index", simulated)
    assert status == 0
    assert "20 pairs" in output
    assert (simulated / "fields.csv").is_file()


def test_one_bad_set_is_told_and_the_others_are_kept(simulated, tmp_path):
    folder = shutil.copytree(simulated, tmp_path / "sets")
    (folder / "fields.csv").unlink(missing_ok=True)
    bad = folder / "train/Ni/Ni_train_000_0000.tif"
    bad.write_bytes(bad.read_bytes()[:5000])
    status, output, errors = call("index", folder)
    assert status == 1
    assert "18 pairs" in output
    assert errors.startswith("error: Ni_train_000_0000.tif")
    assert "Traceback" not in errors


def test_a_table_that_is_there_already_is_checked_and_said_and_not_written_again(simulated, tmp_path):
    folder = shutil.copytree(simulated, tmp_path / "sets")
    (folder / "fields.csv").unlink(missing_ok=True)
    status, output, _ = call("index", folder)
    assert (status, "already" in output) == (0, False)
    (folder / "train/Ni/Ni_train_000_0000.tif").write_bytes(b"")
    written = (folder / "fields.csv").read_bytes()
    status, output, errors = call("index", folder)
    assert (status, errors.count("\n")) == (1, 1)
    assert output.startswith(f"{folder / 'fields.csv'} is there already, so its sets are checked")
    assert output.endswith(f"18 pairs in {folder / 'fields.csv'} can be used\n")
    assert (folder / "fields.csv").read_bytes() == written


def test_a_folder_of_lde_frames_is_sent_to_denoise(simulated, tmp_path):
    for number in (1, 2):
        shutil.copy(simulated / f"val/SiC/SiC_val_000_000{number}.tif", tmp_path)
    status, _, errors = call("index", tmp_path)
    assert status == 2
    assert "temlib denoise" in errors


@pytest.mark.parametrize("name", ["nosuch", "empty"])
def test_a_folder_without_frames_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    status, _, errors = call("index", tmp_path / name)
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_a_field_too_small_is_refused(tmp_path):
    status, _, errors = call("simulate", tmp_path / "sets", "--size", 64)
    assert status == 2
    assert "nm wide" in errors


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    for command in ("simulate", "index"):
        status, _, errors = call(command, tmp_path / "notes.txt")
        assert status == 2
        assert errors.startswith("error: ") and "notes.txt" in errors and errors.count("\n") == 1


def test_the_units_of_options_are_shown():
    assert "[px]" in call("simulate", "--help")[1]


def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch):
    def refuse(folder, doi):
        raise DownloadError("The record could not be read: check the network.")

    monkeypatch.setattr(zenodo, "fetch", refuse)
    status, _, errors = call("fetch", tmp_path)
    assert status == 2
    assert errors == "error: The record could not be read: check the network.\n"
