"""Microscope files that people recorded; skipped where a checkout has no such files beside it."""

import numpy as np
import pytest
import tifffile
from rsciio.digitalmicrograph import file_reader as read_dm

from temlib import gatan
from temlib.errors import FrameError
from temlib.fields import index_folder
from temlib.frames import read_frame, write_gatan_tiff
from temlib.paths import ROOT

REAL = ROOT.parent / "shared" / "real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no folder ../shared/real with real microscope files")

LDE_FRAMES = ["train_0001.tif", "train_0002.tif", "val_0001.tif", "val_0002.tif"]


@pytest.mark.parametrize("name", LDE_FRAMES)
def test_the_papers_frames_read_in_electrons_with_pixel_size_and_exposure(name):
    frame = read_frame(REAL / "katsuno" / name)
    # Paper: 4.7 e-/px in Fig. 4, 5-10 elsewhere; DigitalMicrograph: binning 8, 2.9885 nm, 3.31 ms
    assert frame.unit == "e-"
    assert frame.image.shape == (512, 512)
    assert 4.1 < frame.image.mean() < 4.7
    assert frame.pixel_size_nm == pytest.approx((2.9885, 2.9885), abs=5e-5)
    assert frame.exposure_s == pytest.approx(3.31e-3, abs=5e-6)
    assert frame.counts_per_e == pytest.approx(44, rel=1e-6)
    assert frame.notes == ()


@pytest.mark.parametrize("name", LDE_FRAMES)
def test_electrons_of_the_papers_frames_are_their_counts_over_44(name):
    counts = tifffile.imread(REAL / "katsuno" / name)
    np.testing.assert_allclose(read_frame(REAL / "katsuno" / name).image, counts / 44, rtol=1e-6)


def test_the_two_exposures_of_a_field_were_recorded_in_the_order_of_their_names():
    for field in ("train", "val"):
        first, second = (read_frame(REAL / "katsuno" / f"{field}_{i:04d}.tif").recorded_at for i in (1, 2))
        assert first.date().isoformat() == "2021-02-26"
        assert 0 < (second - first).total_seconds() < 10


def test_a_simulated_frame_has_the_tags_of_a_real_one(tmp_path):
    write_gatan_tiff(
        tmp_path / "a.tif", np.eye(3), pixel_size_nm=2.9885, exposure_s=0.00331, counts_per_e=44, title="a"
    )
    ours, real = (
        {tag.code: tag for tag in tifffile.TiffFile(path).pages[0].tags if tag.code >= 65000}
        for path in (tmp_path / "a.tif", REAL / "katsuno" / "val_0001.tif")
    )
    assert ours.keys() == real.keys()
    for code, tag in ours.items():
        assert tag.dtype == real[code].dtype
        if isinstance(tag.value, str | int):
            assert tag.value == real[code].value
    exposure = {code: gatan.tag_tree(tags[65027].value) for code, tags in (("ours", ours), ("real", real))}
    for path in (
        ["DataBar", "Exposure Time (s)"],
        ["Acquisition", "Parameters", "High Level", "Exposure (s)"],
    ):
        found = dict(exposure)
        for key in path:
            found = {code: tree[key] for code, tree in found.items()}
        assert found == pytest.approx({"ours": 0.00331, "real": 0.003309568})


def test_the_papers_lde_frames_alone_are_told_about_denoise():
    fields, [sentence] = index_folder(REAL / "katsuno")
    assert fields.empty
    assert "temlib denoise" in sentence


# shape, pixel edges [nm], smallest and largest count, as the folder's README and the files' makers say
DM_IMAGES = {
    "test-1.dm3": ((2, 2), None, 1, 4),
    "test-1.dm4": ((2, 2), None, 1, 4),
    "test-2.dm3": ((2, 2), None, 1, 4),
    "test-2.dm4": ((2, 2), None, 1, 4),
    "test-10.dm3": ((2, 2), None, 1, 4),
    "test-10.dm4": ((2, 2), None, 1, 4),
    "dmTest_float32_nonSquare_diffPixelSize.dm3": ((64, 128), (0.2, 1.0), 0, 127),  # 2 angstrom and 1 nm
    "dmTest_float32_nonSquare_diffPixelSize.dm4": ((64, 128), (0.2, 1.0), 0, 127),
    "multi_signal.dm3": ((512, 512), (0.01775158, 0.01775158), 0, 9739),  # the image, not the plot
    "JEOL HAADF Image.dm4": ((112, 112), (1.24901359, 1.24901359), 36932012, 137575296),
    "DMReader_Image_SI-Survey.dm3": ((512, 512), None, 2833418, 3235793),
}


@pytest.mark.parametrize("name", DM_IMAGES)
def test_dm_images_read_as_counts_with_their_pixel_size(name):
    shape, edges, smallest, largest = DM_IMAGES[name]
    frame = read_frame(REAL / "dm" / name)
    assert frame.image.shape == shape
    assert frame.unit == "counts"
    assert frame.pixel_size_nm == (edges and pytest.approx(edges, rel=1e-6))
    assert (frame.image.min(), frame.image.max()) == pytest.approx((smallest, largest), rel=1e-7)


@pytest.mark.parametrize("name", ["test-1.dm3", "test-2.dm4", "test-10.dm3"])
def test_the_first_axis_of_a_dm_image_is_the_row(name):
    np.testing.assert_array_equal(read_frame(REAL / "dm" / name).image, [[1, 2], [3, 4]])


def test_a_dm_stack_is_a_movie_in_the_electrons_that_its_file_claims():
    name = "test_stackbuilder_imagestack.dm3"
    frame = read_frame(REAL / "dm" / name)
    assert frame.image.shape == (3, 2, 16)
    assert frame.pixel_size_nm == pytest.approx((59.983, 59.983), rel=1e-5)
    # Origin 2228741.5 and scale 0.1567497 by the file: far below zero, so the frame warns of itself
    [stored] = read_dm(str(REAL / "dm" / name))
    expected = (stored["data"].astype(float) - 2228741.5) * 0.15674974024295807
    np.testing.assert_allclose(frame.image, expected, rtol=1e-6)
    assert "negative" in frame.notes[0]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("test-8.dm3", "a colour image"),
        ("test-8.dm4", "a colour image"),
        ("test-EELS_spectrum.dm3", "a spectrum"),
    ],
)
def test_dm_files_without_an_image_are_refused(name, what):
    with pytest.raises(FrameError, match=f"^{name} holds {what}"):
        read_frame(REAL / "dm" / name)


@pytest.mark.parametrize("name", ["64x64x5_TEM_preview_1.ser", "64x64x5_TEM_preview.emi"])
def test_a_tia_movie_reads_from_either_of_its_files(name):
    frame = read_frame(REAL / "other" / name)
    assert frame.image.shape == (5, 64, 64)
    assert frame.pixel_size_nm == pytest.approx((6.2818336, 6.2818336))
    assert (frame.image.min(), frame.image.max()) == pytest.approx((345.9388, 2818.538))


def test_panels_are_grey_pngs_and_colour_pngs_are_refused():
    assert read_frame(REAL / "katsuno" / "val_0000_hde_panel.png").image.shape == (246, 247)
    with pytest.raises(FrameError, match=r"image_0\.png holds a colour image"):
        read_frame(REAL / "segmentation" / "image_0.png")


def test_every_cut_of_a_real_file_is_refused_or_complete(tmp_path):
    for path in (REAL / "katsuno" / "val_0001.tif", REAL / "dm" / "JEOL HAADF Image.dm4"):
        content, whole = path.read_bytes(), read_frame(path)
        for part in (0.1, 0.6, 0.97, 0.99, 0.999):
            cut = tmp_path / path.name
            cut.write_bytes(content[: int(part * len(content))])
            try:
                frame = read_frame(cut)
            except FrameError as error:
                assert str(error).startswith(path.name)
            else:
                np.testing.assert_array_equal(frame.image, whole.image)
                assert (frame.unit, frame.pixel_size_nm) == (whole.unit, whole.pixel_size_nm)
