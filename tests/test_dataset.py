import os

import numpy as np
import pandas as pd
import pytest

from temlib import dataset
from temlib.camera import ONEVIEW_BIN8, expose
from temlib.errors import TemlibError
from temlib.fields import read_fields
from temlib.frames import write_gatan_tiff
from temlib.paths import load_npz


@pytest.fixture
def data_dir(tmp_path):
    """Two sets of one material as a camera records them, with a particle each, and their fields.csv."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    rows = []
    row, col = np.indices((64, 96))
    specimen = 1 - 0.6 * (np.hypot(row - 30, col - 50) < 15)
    for name, split in (("a", "train"), ("b", "val")):
        hde = np.kron(specimen, np.ones((4, 4))) * 1000 * 44 + rng.normal(0, 400, (256, 384))
        write_gatan_tiff(
            folder / f"{name}0.tif", hde.astype(np.uint16), pixel_size_nm=1.0, exposure_s=5.0, counts_per_e=44.0
        )
        for i in (1, 2):
            counts = expose(specimen, dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=rng)
            write_gatan_tiff(folder / f"{name}{i}.tif", counts, pixel_size_nm=4.0, exposure_s=0.0033, counts_per_e=44.0)
            rows.append(
                {"field": name, "material": "Ni", "split": split, "hde": f"{name}0.tif", "lde": f"{name}{i}.tif"}
            )
    pd.DataFrame(rows).to_csv(folder / "fields.csv", index=False)
    return folder


def test_images_are_counted_as_pairs_and_as_fields(data_dir):
    counts = dataset.count_images(read_fields(data_dir / "fields.csv")).iloc[0].to_dict()
    assert counts == {
        "material": "Ni",
        "training_pairs": 2,
        "validation_pairs": 2,
        "training_fields": 1,
        "validation_fields": 1,
    }


def test_prepared_pairs_are_in_electrons_with_their_calibration(data_dir):
    table = dataset.prepare(read_fields(data_dir / "fields.csv"), data_dir.parent, ONEVIEW_BIN8)
    pair = load_npz(data_dir.parent / "pairs" / "a.npz")
    assert pair["lde"].shape == (2, 64, 96)
    assert pair["hde"].shape == pair["hde_faithful"].shape == (64, 96)
    assert pair["background_e"] == pytest.approx(4.7, rel=0.05)  # 4.5 electrons read 4.7 after clipping
    assert pair["hde_background_e"] == pytest.approx(1000, rel=0.01)
    assert pair["pixel_size_nm"] == pytest.approx(4.0)
    assert "transmission" not in pair
    assert table["field"].tolist() == ["a", "b"]
    assert np.all(table["found_px"] < 3 * table["bound_px"])  # nothing moved


def test_a_bad_set_is_told_and_the_other_prepared(data_dir):
    pairs = read_fields(data_dir / "fields.csv")
    (data_dir / "a1.tif").write_bytes(b"no frame")
    told = []
    table = dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8, report=told.append)
    assert table["field"].tolist() == ["b"]
    assert len(told) == 1 and "a1.tif" in told[0]


def test_no_usable_set_is_an_error(data_dir):
    pairs = read_fields(data_dir / "fields.csv")
    for name in ("a1.tif", "b0.tif"):
        (data_dir / name).write_bytes(b"no frame")
    with pytest.raises(TemlibError, match="No set could be prepared"):
        dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8, report=lambda line: None)


def test_a_prepared_set_is_not_prepared_again(data_dir):
    pairs = read_fields(data_dir / "fields.csv")
    dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8)
    file = data_dir.parent / "pairs" / "a.npz"
    before = file.stat().st_mtime_ns
    dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8)
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["number", "frames"])
def test_a_set_of_other_frames_or_numbers_is_prepared_anew(data_dir, change):
    pairs = read_fields(data_dir / "fields.csv")
    dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8)
    file = data_dir.parent / "pairs" / "a.npz"
    before = file.stat().st_mtime_ns
    if change == "number":
        pairs["pixel_size_nm"] = 1.5
    else:  # older ones under the names of the newer
        for frame in {*pairs["hde"], *pairs["lde"]}:
            os.utime(frame, (1e9, 1e9))
    dataset.prepare(pairs, data_dir.parent, ONEVIEW_BIN8)
    assert file.stat().st_mtime_ns != before


def test_repeated_exposures_are_the_stored_counts(data_dir):
    sets, gain = dataset.repeated_exposures(read_fields(data_dir / "fields.csv"), 5)
    assert gain == pytest.approx(44)
    assert [pair.shape for pair in sets] == [(2, 64, 96)] * 2
    np.testing.assert_allclose(sets[0], np.rint(sets[0]), atol=1e-3)
    assert sets[0].max() > 400


def test_a_folder_of_ones_own_is_collected_into_a_run(data_dir, tmp_path):
    (data_dir / "fields.csv").unlink()
    refusals = dataset.collect(str(data_dir), tmp_path / "run" / "data")
    pairs = read_fields(tmp_path / "run" / "data" / "fields.csv")
    assert refusals == []
    assert len(pairs) == 4
    assert set(pairs["split"]) == {"train", "val"}
