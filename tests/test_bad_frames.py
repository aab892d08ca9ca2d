"""Files of no use: each gives one sentence with its name, and none a traceback of a reader."""

import mrcfile
import numpy as np
import pytest
import rsciio.hspy
import tifffile
from skimage.io import imsave
from test_frames import hyperspy_signal, write

from temlib.errors import FrameError, TemlibError
from temlib.frames import read_frame

IMAGE = np.random.default_rng(0).integers(1, 5000, (60, 81)).astype(np.uint16)
WRITERS = {
    "gatan.tif": lambda path: write(path, IMAGE),
    "lzw.tif": lambda path: tifffile.imwrite(path, IMAGE, compression="lzw", rowsperstrip=8),
    "imagej.tif": lambda path: tifffile.imwrite(path, np.stack([IMAGE] * 3), imagej=True),
    "a.mrc": lambda path: mrcfile.write(path, IMAGE),
    "a.hspy": lambda path: rsciio.hspy.file_writer(str(path), hyperspy_signal(IMAGE)),
    "a.png": lambda path: imsave(path, (IMAGE // 20).astype(np.uint8), check_contrast=False),
}


def refusal(path):
    """The sentence; checks that it is one a person can use."""
    with pytest.raises(FrameError) as raised:
        read_frame(path)
    sentence = str(raised.value)
    assert sentence.startswith(path.name) or path.name in sentence.split(" does not exist")[0]
    assert ": " in sentence and sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, name, part):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    assert "again" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_whose_second_half_was_never_written_is_refused(tmp_path, name):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    half = len(whole) // 2
    (tmp_path / name).write_bytes(whole[:half] + bytes(len(whole) - half))
    assert name in refusal(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("content", [b"", bytes(9000)], ids=["empty", "zeros"])
def test_an_empty_and_a_zero_filled_file_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "not written or copied whole" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "suffixes"),
    [
        ("gatan.tif", "TIFF", "dm3 dm4 mrc ser emi emd hspy zspy png"),
        ("a.hspy", "HDF5", "dm3 dm4 tif mrc ser emi zspy png"),
        ("a.png", "PNG", "dm3 dm4 tif mrc ser emi emd hspy zspy"),
    ],
)
def test_a_file_with_the_wrong_extension_is_told_what_it_is(tmp_path, name, content, suffixes):
    for suffix in suffixes.split():
        WRITERS[name](tmp_path / name)
        renamed = (tmp_path / name).rename(tmp_path / f"renamed.{suffix}")
        assert f"holds {content} data" in refusal(renamed)


@pytest.mark.parametrize("suffix", "dm3 dm4 tif mrc ser emi emd hspy zspy png".split())
def test_a_text_file_is_refused_under_every_extension(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_text("These are notes on a session at the microscope.\n" * 99)
    assert f"a.{suffix}" in refusal(tmp_path / f"a.{suffix}")


def test_an_hdf5_file_of_another_kind_is_refused_as_emd(tmp_path):
    WRITERS["a.hspy"](tmp_path / "a.hspy")
    assert "a.emd" in refusal((tmp_path / "a.hspy").rename(tmp_path / "a.emd"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_refused(tmp_path, bad):
    image = IMAGE.astype(np.float32)
    image[5, 7] = bad
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert "NaN or infinite" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_frame_is_refused(tmp_path, value):
    imsave(tmp_path / "a.png", np.full((60, 81), value, np.uint8), check_contrast=False)
    assert f"value {value} in every pixel" in refusal(tmp_path / "a.png")


def test_a_frame_that_ends_in_rows_of_zeros_is_read_with_a_note(tmp_path):
    image = IMAGE.copy()
    image[-4:] = 0
    frame = read_frame(write(tmp_path / "a.tif", image))
    assert frame.notes == ("its last 4 rows are zero, so it may not be whole",)


def test_a_missing_file_and_an_unknown_extension_are_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "a.tif")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 a jpeg")
    assert ".dm3" in refusal(tmp_path / "a.jpg")
    assert "(none)" in refusal(tmp_path / "noextension")


def test_a_tiff_cut_in_its_calibration_is_not_read_as_if_it_had_none(tmp_path):
    # As in the paper's frames the tags stand behind the image: what is cut off is the calibration.
    write(tmp_path / "a.tif", IMAGE)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tag = tiff.pages[0].tags[65027]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    # points the tag's value behind the end of the file
    data[tag.offset + 8 : tag.offset + 12] = (len(data) + 1).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    assert "truncated" in refusal(tmp_path / "a.tif")


def test_the_writer_leaves_nothing_where_the_disk_is_full(tmp_path, monkeypatch):
    def no_space(path, *_, **__):
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", no_space)
    with pytest.raises(TemlibError, match="No space left"):
        write(tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []
