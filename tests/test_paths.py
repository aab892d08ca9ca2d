"""Files are whole when they exist, and a damaged one is told in a sentence."""

import errno
import os
import pickle

import numpy as np
import pytest

from temlib.errors import TemlibError
from temlib.paths import load_npz, rounded, save_npz, whole_file


def test_a_file_appears_under_its_name_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    with whole_file(path) as partial:
        partial.write_text("field,dose_e_per_px\n")
        assert not path.exists()
        assert partial.suffix == ".csv" and partial.parent == path.parent
    assert path.read_text() == "field,dose_e_per_px\n"
    assert os.listdir(path.parent) == ["table.csv"]


@pytest.mark.parametrize("interruption", [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_a_crash_inside_the_block_leaves_nothing(interruption, tmp_path):
    with pytest.raises(type(interruption)), whole_file(tmp_path / "frame.tif") as partial:
        partial.write_bytes(b"half")
        raise interruption
    assert os.listdir(tmp_path) == []


def test_a_crash_inside_the_block_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "model.json"
    path.write_text("finished yesterday")
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("hal")
        raise RuntimeError("a bug")
    assert path.read_text() == "finished yesterday"
    assert os.listdir(tmp_path) == ["model.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing(code, tmp_path):
    with pytest.raises(TemlibError, match=r"No space left while writing pair\.npz to .*: free some space"):
        with whole_file(tmp_path / "pair.npz") as partial:
            partial.write_bytes(b"half")
            raise OSError(code, os.strerror(code))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_the_systems_own_full_disk_is_told_too(tmp_path):
    with pytest.raises(TemlibError, match="No space left"), whole_file(tmp_path / "pair.npz"):
        with open("/dev/full", "wb") as full:  # every write to it ends with ENOSPC
            full.write(b"half")


def test_another_error_of_the_system_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), whole_file(tmp_path / "pair.npz"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_arrays_come_back_with_their_shape_type_and_values(tmp_path):
    rng = np.random.default_rng(7)
    stored = {
        "lde": rng.poisson(4.5, (2, 3, 5)).astype(np.float32),
        "drift_px": np.array([0.25, -1.5]),
        "pixel_size_nm": np.array(2.9885),
    }
    save_npz(tmp_path / "pair.npz", **stored)
    found = load_npz(tmp_path / "pair.npz")
    assert found.keys() == stored.keys()
    for name, array in stored.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_missing_file_leads_to_the_notebook_that_makes_it(tmp_path):
    with pytest.raises(TemlibError, match=r"pair\.npz is missing: run the notebook"):
        load_npz(tmp_path / "pair.npz")


@pytest.mark.parametrize(
    "content",
    [b"", bytes(1000), b"not an archive at all", b"PK\x03\x04"],
    ids=["empty", "zeros", "text", "start"],
)
def test_a_file_that_is_no_npz_is_told(content, tmp_path):
    path = tmp_path / "pair.npz"
    path.write_bytes(content)
    with pytest.raises(TemlibError, match=r"pair\.npz cannot be read .*: delete it and run the notebook"):
        load_npz(path)


def test_a_file_cut_anywhere_is_told(tmp_path):
    path = tmp_path / "pair.npz"
    save_npz(path, lde=np.arange(15.0).reshape(3, 5))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(TemlibError, match="cannot be read"):
            load_npz(path)


def test_a_damaged_byte_anywhere_gives_the_arrays_or_the_sentence(tmp_path):
    path = tmp_path / "pair.npz"
    stored = np.zeros((5, 7), np.float32)
    save_npz(path, lde=stored)
    whole = path.read_bytes()
    told = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = load_npz(path)
        except TemlibError:
            told += 1
        else:  # a byte that carries nothing, such as a date; never other numbers
            np.testing.assert_array_equal(next(iter(found.values())), stored)
    assert told > len(whole) / 2


def test_a_bare_array_under_the_name_of_an_archive_is_told(tmp_path):
    np.save(tmp_path / "array.npy", np.arange(3))
    os.rename(tmp_path / "array.npy", tmp_path / "pair.npz")
    with pytest.raises(TemlibError, match="cannot be read"):
        load_npz(tmp_path / "pair.npz")


class _Trap:
    """Unpickling one makes the file `sprung`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_objects_are_refused_and_not_run(tmp_path):
    trap = np.array([_Trap(tmp_path / "sprung")], dtype=object)
    np.savez(tmp_path / "objects.npz", lde=trap)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(trap))
    for name in ("objects.npz", "pickle.npz"):
        with pytest.raises(TemlibError, match="cannot be read"):
            load_npz(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_rounding_is_far_below_what_is_typical():
    values = np.random.default_rng(0).normal(1000, 10, (30, 40))
    stored = rounded(values, 1000.0)
    assert stored.dtype == np.float32
    assert np.abs(stored - values).max() <= 1000 / 2048 / 2
    assert len(np.unique(stored)) < 400
