"""Movies from every format, image by image. Expected values are those that the test put into the file."""

import json
import shutil
import threading
import time
import tracemalloc

import h5py
import mrcfile
import numpy as np
import pytest
import rsciio.digitalmicrograph
import rsciio.emd
import rsciio.hspy
import rsciio.zspy
import tifffile
from test_frames import hyperspy_signal, write

from temlib import formats
from temlib.errors import FrameError
from temlib.inputs import find
from temlib.movies import ahead, marks_of, open_movie
from temlib.paths import ROOT

REAL = ROOT.parent / "shared" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no folder ../shared/real with real microscope files")

STACK = np.random.default_rng(5).integers(0, 60000, (7, 5, 6), dtype=np.uint16)


def signal(data, time_unit="s", **metadata):
    made = hyperspy_signal(data, navigate=1, **metadata)
    made["axes"][0] |= {"name": "time", "scale": 0.25, "units": time_unit}
    return made


def write_mrc(path):
    with mrcfile.new(path) as mrc:
        mrc.set_data(STACK)
        mrc.set_image_stack()
        mrc.voxel_size = (30, 20, 0)  # angstrom along x, y


def write_emd(path):
    rsciio.emd.file_writer(str(path), signal(STACK))


def write_velox(path):
    """As Thermo Fisher's Velox stores a camera's movie: the frames' axis last, one chunk a frame."""
    about = {
        "BinaryResult": {"PixelSize": {"width": "3e-9", "height": "2e-9"}, "PixelUnitX": "m", "DetectorIndex": "0"},
        "Detectors": {"Detector-0": {"DetectorName": "BM-Ceta", "ExposureTime": "0.25"}},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1600000000"}},
        "Scan": {},
    }
    said = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with h5py.File(path, "w") as emd:
        emd["Version"] = [json.dumps({"format": "Velox", "version": "1.10"}).encode()]
        image = emd.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        image.create_dataset("Data", data=np.moveaxis(STACK, 0, 2), chunks=(*STACK.shape[1:], 1))
        image["Metadata"] = np.repeat(said[:, None], len(STACK), axis=1)


WRITERS = {
    "pages.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "packed.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", compression="lzw"),
    "imagej.tif": lambda path: tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TYX"}),
    "one_by_one.tif": lambda path: [
        tifffile.imwrite(path, image, append=number > 0, metadata=None) for number, image in enumerate(STACK)
    ],
    "stack.mrc": write_mrc,
    "stack.emd": write_emd,
    "velox.emd": write_velox,
    "stack.hspy": lambda path: rsciio.hspy.file_writer(str(path), signal(STACK)),
    "folder.zspy": lambda path: rsciio.zspy.file_writer(str(path), signal(STACK)),
    "archive.zspy": lambda path: rsciio.zspy.file_writer(str(path), signal(STACK), store_type="zip"),
}


@pytest.mark.parametrize("blocks", ["small blocks", "one block"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_movie_of_any_format_gives_its_images_one_by_one(tmp_path, monkeypatch, name, blocks):
    WRITERS[name](tmp_path / name)
    if blocks == "small blocks":
        monkeypatch.setattr("temlib.movies.BLOCK_BYTES", 130)  # two images of 60 bytes
    movie = open_movie(tmp_path / name)
    assert movie.shape == (7, 5, 6)
    np.testing.assert_array_equal(np.stack(list(movie.read())), STACK)
    np.testing.assert_array_equal(next(movie.read(4, 5)), STACK[4])


def test_images_stay_in_the_file_until_they_are_asked_for(tmp_path):
    for name, write_to in WRITERS.items():
        write_to(tmp_path / name)
        assert not isinstance(formats.open_image(tmp_path / name, [], lazy=True)["data"], np.ndarray), name


def test_time_and_pixel_size_of_a_movie_are_those_of_its_file(tmp_path):
    rsciio.hspy.file_writer(str(tmp_path / "a.hspy"), signal(STACK))
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        resolution=(0.5, 0.5),
        metadata={"axes": "TYX", "unit": "nm", "finterval": 0.04},
    )
    write_mrc(tmp_path / "a.mrc")
    write_velox(tmp_path / "a.emd")
    hspy, tif, mrc, velox = (open_movie(tmp_path / f"a.{suffix}") for suffix in ("hspy", "tif", "mrc", "emd"))
    assert (velox.interval_s, velox.about.pixel_size_nm) == (0.25, pytest.approx((2, 3)))
    assert (hspy.interval_s, hspy.about.pixel_size_nm) == (0.25, (2.5, 2.5))
    assert (tif.interval_s, tif.about.pixel_size_nm) == (0.04, (2, 2))
    assert [(axis["units"], axis["scale"]) for axis in tif.axes] == [("s", 0.04), ("nm", 2), ("nm", 2)]
    assert (mrc.interval_s, mrc.about.pixel_size_nm) == (None, pytest.approx((2, 3)))


@pytest.mark.parametrize(("unit", "interval_s"), [("msec", 0.04), ("sec", 40), ("parsec", None)])
def test_imagej_tells_the_unit_of_its_interval(tmp_path, unit, interval_s):
    about = {"axes": "TYX", "finterval": 40, "tunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=about)
    found = open_movie(tmp_path / "a.tif").interval_s
    assert found == (interval_s and pytest.approx(interval_s))


def test_a_word_of_ours_does_not_make_a_raw_file_a_denoised_one(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX", "Info": "Spot intensity = 3"})
    assert marks_of(open_movie(tmp_path / "a.tif")) is None


def test_images_of_zeros_are_told(tmp_path):
    stack = np.concatenate([STACK, np.zeros_like(STACK[:2])])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TYX"})
    movie = open_movie(tmp_path / "a.tif")
    assert len(list(movie.read())) == len(stack)
    told = f"2 of {len(stack)} images hold nothing but zeros, the first of them image {len(STACK)}"
    assert [note for note in movie.notes if "zero" in note] == [told]


def test_milliseconds_are_a_thousandth(tmp_path):
    rsciio.hspy.file_writer(str(tmp_path / "a.hspy"), signal(STACK, time_unit="ms"))
    assert open_movie(tmp_path / "a.hspy").interval_s == pytest.approx(0.00025)


def test_a_single_frame_is_a_movie_of_one_image(tmp_path):
    movie = open_movie(write(tmp_path / "a.tif"))
    assert (movie.shape, movie.about.unit, len(movie.axes)) == ((1, 3, 4), "e-", 2)
    [image] = movie.read()
    np.testing.assert_allclose(image, np.arange(12).reshape(3, 4) * 25, rtol=1e-6)  # 1000 counts at 40 an electron


@real
def test_real_movies_are_read_as_they_are_read_whole():
    for name in (
        "other/64x64x5_TEM_preview_1.ser",
        "other/64x64x5_TEM_preview.emi",
        "dm/test_stackbuilder_imagestack.dm3",
    ):
        signal = formats.open_image(REAL / name, [])
        lazy = formats.open_image(REAL / name, [], lazy=True)
        assert not isinstance(lazy["data"], np.ndarray)
        assert lazy["axes"] == signal["axes"]
        movie = open_movie(REAL / name)
        scale, origin = 1 / (movie.about.counts_per_e or 1), movie.about.origin_counts or 0
        expected = (np.asarray(signal["data"], float) - origin) * scale
        np.testing.assert_allclose(np.stack(list(movie.read())), expected, rtol=1e-6)


# In-situ folders


@pytest.fixture
def in_situ(tmp_path):
    """Five images in seconds 58 to 60 of a recording, two a second; each DM4 is a real one."""
    if not REAL.is_dir():
        pytest.skip("no folder ../shared/real with real microscope files")
    for number, (minute, second) in enumerate([(0, 58), (0, 58), (0, 59), (0, 59), (1, 0)]):
        folder = tmp_path / f"run/Hour_00/Minute_{minute:02d}/Second_{second:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(REAL / "dm/JEOL HAADF Image.dm4", folder / f"run_Frame_{number % 2:04d}.dm4")
    return tmp_path / "run"


def test_files_that_macos_puts_beside_images_are_none(in_situ):
    image = next(in_situ.rglob("*.dm4"))
    image.with_name(f"._{image.name}").write_bytes(b"no image")
    assert all(not file.name.startswith(".") for file in open_movie(in_situ).files)


def test_a_folder_of_hours_minutes_and_seconds_is_one_movie_with_time(in_situ):
    assert find([in_situ.parent]) == ([in_situ], [], [])
    movie = open_movie(in_situ)
    assert movie.shape == (5, 112, 112)
    assert movie.interval_s == 0.5  # two images a second
    assert [axis["units"] for axis in movie.axes] == ["s", "nm", "nm"]
    assert movie.about.title == "run"
    assert [file.parent.name for file in movie.files] == [
        "Second_58",
        "Second_58",
        "Second_59",
        "Second_59",
        "Second_00",
    ]
    assert len(list(movie.read())) == 5


def test_an_image_of_another_size_in_a_movie_is_named(in_situ):
    other = in_situ / "Hour_00/Minute_00/Second_59/run_Frame_0001.dm4"
    shutil.copy(REAL / "dm/test-2.dm4", other)
    with pytest.raises(FrameError, match=r"run_Frame_0001\.dm4 in run is \(2, 2\).*\(112, 112\)"):
        list(open_movie(in_situ).read())


REAL_DM4 = REAL / "dm/JEOL HAADF Image.dm4"


def rewrite(file, *, stored=None, pixel_size_um=None):
    """The DM4 with other numbers in place of its own, all of them float32."""
    [signal] = rsciio.digitalmicrograph.file_reader(str(REAL_DM4))
    content = REAL_DM4.read_bytes()
    if stored is not None:
        content = content.replace(signal["data"].tobytes(), np.full_like(signal["data"], stored).tobytes())
    if pixel_size_um:
        before, after = (np.float32(um).tobytes() for um in (signal["axes"][0]["scale"], pixel_size_um))
        assert content.count(before) == 2  # of x and y
        content = content.replace(before, after)
    file.write_bytes(content)


def test_one_blank_file_is_no_reason_to_refuse_a_folder_of_images_but_all_are(in_situ):
    files = open_movie(in_situ).files
    for number in (0, 3):
        rewrite(files[number], stored=7)
    images = list(open_movie(in_situ).read())
    assert [float(np.ptp(image)) > 0 for image in images] == [False, True, True, False, True]
    for file in files:
        rewrite(file, stored=7)
    with pytest.raises(FrameError, match=r"run has the value 7\.0 in every pixel"):
        list(open_movie(in_situ).read())


def test_another_pixel_size_within_a_movie_is_told(in_situ):
    movie = open_movie(in_situ)
    rewrite(movie.files[2], pixel_size_um=0.005)
    with pytest.raises(
        FrameError, match=r"is \(112, 112\) in .*5 nm x 5 nm, the first image is .*1\.249 nm x 1\.249 nm"
    ):
        list(movie.read())


def test_a_folder_of_one_image_has_no_time(in_situ):
    for file in open_movie(in_situ).files[1:]:
        file.unlink()
    movie = open_movie(in_situ)
    assert (movie.shape, movie.interval_s) == ((1, 112, 112), None)
    assert [axis["name"] for axis in movie.axes] == ["y", "x"]
    [image] = movie.read()
    [signal] = rsciio.digitalmicrograph.file_reader(str(REAL_DM4))
    np.testing.assert_allclose(image, signal["data"])


def test_files_beside_the_hours_of_a_movie_are_found_too(tmp_path):
    for name in (
        "Hour_00/Minute_00/Second_00/a.dm4",
        "Hour_01/Minute_00/Second_00/a.dm4",
        "overview.tif",
        "more/b.dm3",
    ):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).touch()
    paths, refusals, _ = find([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["run", "run/more/b.dm3", "run/overview.tif"]
    assert refusals == []


# What is refused


def test_a_file_whose_description_is_damaged_is_refused_in_one_sentence(tmp_path):
    rsciio.hspy.file_writer(str(tmp_path / "a.hspy"), signal(STACK))
    with h5py.File(tmp_path / "a.hspy", "r+") as file:
        [experiment] = file["Experiments"].values()
        del experiment["metadata/General"]
        experiment["metadata"].attrs["General"] = "a text where a group belongs"
    with pytest.raises(FrameError, match=r"^a\.hspy cannot be read \("):
        open_movie(tmp_path / "a.hspy")


def test_a_movie_with_one_bad_pixel_says_in_which_image(tmp_path):
    bad = STACK.astype(np.float32)
    bad[4, 1, 2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", bad, photometric="minisblack")
    with pytest.raises(FrameError, match=r"a\.tif has pixels that are NaN or infinite in image 4"):
        list(open_movie(tmp_path / "a.tif").read())


def test_one_blank_image_is_no_reason_to_refuse_a_movie_but_all_are(tmp_path):
    blank = STACK.copy()
    blank[2] = 0
    tifffile.imwrite(tmp_path / "a.tif", blank, photometric="minisblack")
    assert len(list(open_movie(tmp_path / "a.tif").read())) == 7
    tifffile.imwrite(tmp_path / "b.tif", 0 * blank + 9, photometric="minisblack")
    with pytest.raises(FrameError, match=r"b\.tif has the value 9 in every pixel"):
        list(open_movie(tmp_path / "b.tif").read())


@pytest.mark.parametrize("name", ["packed.tif", "imagej.tif", "stack.mrc", "stack.hspy"])
def test_a_movie_that_was_cut_is_refused_in_one_sentence(tmp_path, name):
    whole = np.random.default_rng(5).integers(1, 60000, (40, 50, 60), dtype=np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("test_movies.STACK", whole)
        WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(FrameError, match=f"^{name} .*"):
        list(open_movie(tmp_path / name).read())


def test_what_is_denoised_already_and_what_is_no_image_is_passed_over_in_a_folder(tmp_path):
    for name in ("a10.tif", "a9.tif", "a9_denoised.tif", ".hidden.tif", "notes.txt", "sub/b.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths, refusals, _ = find([tmp_path, tmp_path / "a9.tif"])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a9.tif", "a10.tif", "sub/b.tif"]
    assert refusals == []


def test_what_temlib_wrote_is_left_out_of_a_pattern_with_a_note(tmp_path):
    for name in ("a.tif", "a_denoised.tif", "a_denoised.tif.json", "to_be_denoised/b.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths, refusals, [note] = find([str(tmp_path / "*")])
    assert (paths, refusals) == ([tmp_path / "a.tif", tmp_path / "to_be_denoised/b.tif"], [])
    assert "4 files, of which 2 are temlib's own" in note
    paths, [refusal], notes = find([str(tmp_path / "a_*")])
    assert (paths, notes) == ([], [])
    assert "2 files, of which 2 are temlib's own" in refusal


def test_a_pattern_and_a_folder_without_images_are_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a.tif").touch()
    assert find([str(tmp_path / "*.tif")]) == ([tmp_path / "a.tif"], [], [])
    (tmp_path / "a.tif").unlink()
    paths, refusals, _ = find([tmp_path, str(tmp_path / "*.dm4")])
    assert paths == []
    assert "holds no microscope file" in refusals[0] and "matches no file" in refusals[1]


# Streaming


def test_memory_does_not_grow_with_the_length_of_a_movie(tmp_path, monkeypatch):
    monkeypatch.setattr("temlib.movies.BLOCK_BYTES", 2**20)

    def peak_bytes(name, frames, write_to):
        write_to(tmp_path / name, np.ones((frames, 128, 160), np.uint16) + np.eye(128, 160, dtype=np.uint16))
        movie = open_movie(tmp_path / name)  # what is read of the file's tags is not of the images
        tracemalloc.start()
        for _ in movie.read():
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    for name, write_to in {
        "a.tif": lambda path, data: tifffile.imwrite(path, data, photometric="minisblack"),
        "b.tif": lambda path, data: tifffile.imwrite(path, data, photometric="minisblack", compression="zlib"),
        "a.mrc": lambda path, data: mrcfile.write(path, data, overwrite=True),
        "a.hspy": lambda path, data: rsciio.hspy.file_writer(str(path), signal(data), chunks=(5, 128, 160)),
    }.items():
        short, long = (peak_bytes(f"{frames}_{name}", frames, write_to) for frames in (250, 1000))  # 10 and 40 MB
        assert long < short + 8e6, name  # tags of 750 pages are a few MB, their images 31


def test_items_are_made_ahead_of_their_use_but_no_more_than_told():
    made, released = [], threading.Event()

    def items():
        for number in range(10):
            made.append(number)
            yield number

    stream = ahead(items(), 3)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        released.wait(0.01)
    released.wait(0.05)
    assert made == [0, 1, 2, 3]  # the one that was used, and three that wait
    assert list(stream) == list(range(1, 10))


def test_what_fails_ahead_fails_where_it_is_used():
    def items():
        yield 1
        raise FrameError("no more")

    stream = ahead(items(), 4)
    assert next(stream) == 1
    with pytest.raises(FrameError, match="no more"):
        next(stream)
