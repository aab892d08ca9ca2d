import hashlib

import numpy as np
import pandas as pd
import pytest

from temlib.errors import ProfileError
from temlib.fields import index_folder, load_set, read_fields
from temlib.frames import read_frame
from temlib.paths import load_npz
from temlib.preprocess import hde_targets
from temlib.simulate import simulate

OPTIONS = dict(
    train_fields={"Ni": 1},
    validation_fields={"silicate": 2},
    hde_frames_kept=1,
    seed=3,
    size_px=144,
    binning=4,
    pixel_size_nm=4.0,
    max_drift_px=3.0,
    report=lambda line: None,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, **OPTIONS)
    return folder


def checksums(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_same_seed_gives_the_same_bytes(folder, tmp_path):
    simulate(tmp_path, **OPTIONS)
    assert checksums(tmp_path) == checksums(folder)


def test_another_seed_gives_other_frames(folder, tmp_path):
    simulate(tmp_path, **(OPTIONS | {"seed": 4}))
    name = "train/Ni/Ni_train_000_0001.tif"
    assert checksums(tmp_path)[name] != checksums(folder)[name]


def test_a_cut_off_run_ends_with_the_same_bytes(folder, tmp_path):
    class Cut(Exception):
        pass

    def cut(line):
        raise Cut

    with pytest.raises(Cut):
        simulate(tmp_path, **(OPTIONS | {"report": cut}))
    assert not (tmp_path / "fields.csv").exists()
    simulate(tmp_path, **OPTIONS)
    assert checksums(tmp_path) == checksums(folder)


def test_frames_carry_the_calibration_of_the_camera(folder):
    lde = read_frame(folder / "train/Ni/Ni_train_000_0001.tif")
    hde = read_frame(folder / "train/Ni/Ni_train_000_0000.tif")
    assert lde.image.shape == (144, 144)
    assert hde.image.shape == (576, 576)
    assert lde.unit == hde.unit == "e-"
    assert lde.pixel_size_nm == pytest.approx((4.0, 4.0))
    assert hde.pixel_size_nm == pytest.approx((1.0, 1.0))
    assert lde.exposure_s == pytest.approx(0.00331)
    assert hde.exposure_s == pytest.approx(5.0)


def test_doses_are_the_paper_s(folder):
    pairs = read_fields(folder / "fields.csv")
    assert pairs["dose_e_per_px"].between(4.1, 4.7).all()
    assert pairs["hde_dose_e_per_px"].between(1000, 1200).all()
    background = np.percentile(read_frame(folder / "train/Ni/Ni_train_000_0000.tif").image, 80)
    assert background == pytest.approx(pairs["hde_dose_e_per_px"].iloc[0], rel=0.06)


def test_transmission_is_that_of_the_particles(folder):
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    particle = truth[truth["group"] == "isolated_95"].iloc[0]
    transmission = load_npz(folder / "truth" / "silicate_val_000.npz")["transmission"]
    centre = transmission[
        round(particle.row_px) - 1 : round(particle.row_px) + 2, round(particle.col_px) - 1 : round(particle.col_px) + 2
    ]
    # 95 nm of silicate with a mean free path of 200 nm
    assert centre.mean() == pytest.approx(np.exp(-95 / 200), rel=0.04)


def test_features_of_the_hde_frame_are_displaced_by_the_drift(folder):
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    row = read_fields(folder / "fields.csv").query("field == 'silicate_val_000'").iloc[0]
    particle = truth[truth["group"] == "isolated_95"].iloc[0]
    hde = read_frame(row["hde"]).image
    expected = [(particle[f"{axis}_px"] + row[f"drift_{axis}_px"] + 0.5) * 4 - 0.5 for axis in ("row", "col")]
    window = tuple(slice(round(x) - 70, round(x) + 71) for x in expected)
    depth = np.clip(0.9 - hde[window] / row["hde_dose_e_per_px"], 0, None)
    places = np.indices(hde.shape)[(slice(None), *window)]
    centre = [(place * depth).sum() / depth.sum() for place in places]
    np.testing.assert_allclose(centre, expected, atol=2)  # half an LDE pixel


def test_stored_targets_stand_for_an_hde_frame_that_was_not_written(folder):
    pairs = read_fields(folder / "fields.csv")
    hde, ldes = load_set(pairs, "silicate_val_001")
    assert isinstance(hde, dict)
    area, faithful = hde_targets(hde, ldes[0].image.shape)
    assert area.shape == faithful.shape == (144, 144)
    assert np.std(area - faithful) < 0.05 * area.mean()


def test_index_finds_the_same_pairs_without_the_table(folder):
    table = read_fields(folder / "fields.csv")
    with_frames = table[table["hde"].str.endswith(".tif")]
    text = (folder / "fields.csv").read_text()
    (folder / "fields.csv").unlink()
    try:
        found, _ = index_folder(folder)
    finally:
        (folder / "fields.csv").write_text(text)
    assert set(zip(found["hde"], found["lde"], found["material"], found["split"], strict=True)) >= set(
        zip(with_frames["hde"], with_frames["lde"], with_frames["material"], with_frames["split"], strict=True)
    )


def test_a_field_too_small_for_the_planted_particles_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="400 nm wide"):
        simulate(tmp_path, **(OPTIONS | {"size_px": 100}))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_seed_is_refused(folder):
    with pytest.raises(ProfileError, match="other options"):
        simulate(folder, **(OPTIONS | {"seed": 4}))


def test_an_unknown_material_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="no material Nickel"):
        simulate(tmp_path, **(OPTIONS | {"train_fields": {"Nickel": 1}}))
