"""A result is a figure, its numbers and their origin under one stem."""

import hashlib
import json
import os
import subprocess

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from temlib import provenance, record


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "runs" / "smoke"
    folder.mkdir(parents=True)
    (folder / "profile.json").write_text(json.dumps({"name": "smoke", "parameters": {"seed": 1}}))
    return folder


@pytest.fixture
def table():
    return pd.DataFrame({"material": ["Ni", "FeNi"], "psnr_db": [1 / 3, 25.0], "frames": [36, 40]})


def figure_of(table):
    figure = Figure(figsize=(3.0, 2.0))
    figure.subplots().plot(table["psnr_db"])
    return figure


def test_figure_numbers_and_origin_lie_under_one_stem(run_dir, table):
    record.save(figure_of(table), table, "table_2_quality", run_dir / "figures")
    assert sorted(os.listdir(run_dir / "figures")) == [f"table_2_quality.{kind}" for kind in ("csv", "json", "png")]


def test_numbers_are_written_with_ten_digits_and_without_an_index(run_dir, table):
    record.save(None, table, "table_2_quality", run_dir / "figures")
    written = (run_dir / "figures" / "table_2_quality.csv").read_text().splitlines()
    assert written == ["material,psnr_db,frames", "Ni,0.3333333333,36", "FeNi,25,40"]


def test_the_same_result_gives_the_same_bytes(run_dir, table):
    contents = []
    for _ in range(2):
        record.save(figure_of(table), table, "table_2_quality", run_dir / "figures")
        paths = sorted((run_dir / "figures").iterdir())
        contents.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    assert contents[0] == contents[1]


def test_a_figure_is_fine_enough_to_print(run_dir, table):
    record.save(figure_of(table), table, "table_2_quality", run_dir / "figures")
    with Image.open(run_dir / "figures" / "table_2_quality.png") as image:
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)  # stored in dots a metre
        assert 400 < image.width < 700  # about 3 in at 200 dpi


def test_a_table_without_a_figure_makes_no_png(run_dir, table):
    record.save(None, table, "table_1_images", run_dir / "figures")
    assert not (run_dir / "figures" / "table_1_images.png").exists()


def test_the_origin_names_profile_parameters_and_the_inputs_by_their_hash(run_dir, table):
    (run_dir / "pairs").mkdir()
    (run_dir / "pairs" / "field.npz").write_bytes(b"abc")
    record.save(None, table, "t", run_dir / "figures", inputs=[run_dir / "pairs" / "field.npz"])
    origin = json.loads((run_dir / "figures" / "t.json").read_text())
    assert origin["profile"] == "smoke" and origin["parameters"] == {"seed": 1}
    # SHA-256 of "abc": the first example of FIPS 180-2
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert origin["inputs"] == {"pairs/field.npz": digest}
    assert origin["versions"]["numpy"] and origin["hardware"]["cores"] >= 1


def test_a_result_outside_of_a_checkout_and_a_run_says_that_it_knows_no_origin(tmp_path, table, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)  # no git checkout
    provenance.git_state.cache_clear()
    try:
        record.save(None, table, "t", tmp_path / "figures")
    finally:
        provenance.git_state.cache_clear()
    origin = json.loads((tmp_path / "figures" / "t.json").read_text())
    assert origin["git_commit"] is None and origin["profile"] is None


def test_an_installed_temlib_does_not_take_the_checkout_around_it_for_its_own(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    about = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(tmp_path), *about, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "venv").mkdir()
    for root, known in ((tmp_path / "venv", False), (tmp_path, True)):
        monkeypatch.setattr(provenance, "ROOT", root)
        provenance.git_state.cache_clear()
        assert (provenance.git_state()[0] is not None) == known
    provenance.git_state.cache_clear()


def test_a_figure_that_cannot_be_drawn_leaves_nothing(run_dir, table):
    class Broken:
        def savefig(self, path, **options):
            path.write_bytes(b"half a picture")
            raise ValueError("no such colour")

    with pytest.raises(ValueError, match="no such colour"):
        record.save(Broken(), table, "figure_5_histograms", run_dir / "figures")
    assert os.listdir(run_dir / "figures") == []
