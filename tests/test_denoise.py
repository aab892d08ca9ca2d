"""`temlib denoise`: files in, files out. With a network that changes nothing, the output is the input's electrons."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import av
import mrcfile
import numpy as np
import pytest
import rsciio.hspy
import rsciio.tiff
import rsciio.zspy
import tifffile
from test_frames import write
from test_movies import signal
from typer.testing import CliRunner

from temlib import networks, writers
from temlib.camera import ONEVIEW_BIN8, expose
from temlib.cli import app
from temlib.denoising import denoise_file
from temlib.frames import read_frame
from temlib.inference import denoise_image
from temlib.movies import open_movie
from temlib.networks import Network
from temlib.paths import ROOT
from temlib.preview import _caption, scale_bar

COUNTS = np.random.default_rng(8).integers(0, 1000, (6, 5, 7), dtype=np.uint16)
FORMATS = ["tif", "hspy", "zspy", "mrc"]


def call(*arguments):
    result = CliRunner().invoke(app, ["denoise", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def as_it_is(monkeypatch, untouched, tiny_card):
    """The command with a network that changes nothing: what comes out must be what went in."""
    monkeypatch.setattr(networks, "load", lambda model: untouched)
    monkeypatch.setattr(networks, "SHIPPED", ())
    return lambda *arguments: call(*arguments, "--model", tiny_card)


@pytest.fixture
def movie_file(tmp_path):
    """Six images in electrons, four a second, 2.5 nm a pixel."""
    made = signal(COUNTS.astype(np.float32))
    made["axes"][1] |= {"name": "y", "scale": 2.5e-3, "units": "ƒÊm"}  # as read from the paper's files
    made["metadata"] = {
        "General": {"title": "silicate"},
        "Signal": {"signal_type": "", "quantity": "Electrons"},
        "Acquisition_instrument": {"TEM": {"beam_energy": 200.0, "Detector": {"Camera": {"exposure": 0.003}}}},
    }
    rsciio.hspy.file_writer(str(tmp_path / "run.hspy"), made)
    return tmp_path / "run.hspy"


# What is written


def test_a_frame_becomes_a_tif_of_electrons_with_its_calibration_and_provenance(as_it_is, tmp_path):
    source = write(tmp_path / "a.tif", COUNTS[0], pixel_size_nm=(2.5, 3.0), exposure_s=0.004, counts_per_e=40)
    status, output, errors = as_it_is(source, "-o", tmp_path / "out")
    assert (status, errors) == (0, "")
    assert output == f"{tmp_path / 'out' / 'a_denoised.tif'}: 1 x 5 x 7 px, electrons per pixel\n"
    frame = read_frame(tmp_path / "out/a_denoised.tif")
    np.testing.assert_allclose(frame.image, COUNTS[0] / 40, rtol=1e-6)
    assert tifffile.imread(tmp_path / "out/a_denoised.tif").dtype == np.float32
    assert (frame.unit, frame.exposure_s, frame.notes) == ("e-", 0.004, ())
    assert frame.pixel_size_nm == pytest.approx((2.5, 3.0))
    record = json.loads((tmp_path / "out/a_denoised.tif.json").read_text())
    assert record["input"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["pixel_size_nm"] == pytest.approx([2.5, 3.0])
    assert (record["exposure_s"], record["unit"], record["title"]) == (0.004, "electrons per pixel", "a")
    assert record["dose_e_per_nm2_per_image"] == pytest.approx(record["dose_e_per_px_per_image"] / 7.5)  # nm x nm
    assert (record["denoised"], record["model"]["name"], record["model"]["limits"]) == (True, "untouched", "none")


def test_a_frame_without_electrons_stays_in_counts_and_says_so(as_it_is, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS[0])
    status, output, errors = as_it_is(tmp_path / "a.tif", "-o", tmp_path)
    assert (status, output.endswith("counts\n")) == (0, True)
    assert "so they stay counts" in errors
    np.testing.assert_allclose(read_frame(tmp_path / "a_denoised.tif").image, COUNTS[0], rtol=1e-6)
    record = json.loads((tmp_path / "a_denoised.tif.json").read_text())
    assert (record["unit"], record["dose_e_per_px_per_image"]) == ("counts", None)
    assert any("stay counts" in note for note in record["notes"])


@pytest.mark.parametrize("suffix", [None, *FORMATS])
def test_a_movie_keeps_images_axes_title_and_exposure_as_far_as_the_format_can(as_it_is, movie_file, tmp_path, suffix):
    status, _, errors = as_it_is(movie_file, "-o", tmp_path / "out", *(["--format", suffix] if suffix else []))
    assert (status, errors) == (0, "")
    path = tmp_path / f"out/run_denoised.{suffix or 'hspy'}"
    frame = read_frame(path)
    np.testing.assert_allclose(frame.image, COUNTS, rtol=1e-6)
    assert frame.pixel_size_nm == pytest.approx((2.5, 2.5))
    assert frame.unit == ("counts" if suffix == "mrc" else "e-")  # MRC has no place for a unit
    if suffix != "mrc":
        assert open_movie(path).interval_s == pytest.approx(0.25)
        assert frame.exposure_s == 0.003
    if suffix not in ("mrc", "tif"):
        assert frame.title == "silicate"
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, f"{path.name}.json"])
    record = json.loads((tmp_path / f"out/{path.name}.json").read_text())
    assert (record["images"], record["interval_s"], record["exposure_s"]) == (6, 0.25, 0.003)
    assert record["cumulative_dose_e_per_nm2"] == pytest.approx(6 * record["dose_e_per_nm2_per_image"])


def test_the_dose_is_that_of_the_film_without_what_clipping_adds(tmp_path):
    # a third of the field lets 40 % through; where 1.5 electrons fall on a pixel, the clipped frame reads 2.2
    transmission = np.ones((192, 192))
    transmission[:, :64] = 0.4
    right = Network("right", {"stride_px": 4, "halo_px": 4}, lambda frames: transmission[None, None].copy(), "CPU")
    rng = np.random.default_rng(0)
    counts = np.stack([expose(transmission, dose_e_per_px=1.5, camera=ONEVIEW_BIN8, rng=rng) for _ in range(3)])
    electrons = counts.astype(np.float32) / ONEVIEW_BIN8.counts_per_e
    made = signal(electrons, Signal={"signal_type": "", "quantity": "Electrons"})
    rsciio.hspy.file_writer(str(tmp_path / "run.hspy"), made)
    record = denoise_file(tmp_path / "run.hspy", right, tmp_path / "out")
    assert record["dose_e_per_px_per_image"] == pytest.approx(1.5, rel=0.08)


def test_the_preview_of_an_earlier_run_does_not_stay_beside_another_output(as_it_is, movie_file, tmp_path):
    assert as_it_is(movie_file, "-o", tmp_path / "out", "--preview", "mp4")[0] == 0
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 1
    assert as_it_is(movie_file, "-o", tmp_path / "out")[0] == 0
    assert not list((tmp_path / "out").glob("*.mp4"))


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_hyperspy_opens_the_output_with_units_it_understands_and_the_network_s_name(
    as_it_is, movie_file, tmp_path, suffix
):
    hs = pytest.importorskip("hyperspy.api")
    as_it_is(movie_file, "-o", tmp_path, "--format", suffix)
    for lazy in (False, True):
        opened = hs.load(tmp_path / f"run_denoised.{suffix}", lazy=lazy)
        assert opened.axes_manager.navigation_shape == (6,)
        assert [axis.units for axis in opened.axes_manager._axes] == ["s", "µm", "nm"]
        assert opened.axes_manager.signal_axes[1].scale_as_quantity.to("nm").magnitude == pytest.approx(2.5)
        assert opened.metadata.Denoised.denoised_by == "untouched"
        assert opened.metadata.Acquisition_instrument.TEM.beam_energy == 200
        np.testing.assert_allclose(np.asarray(opened.data), COUNTS, rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_a_tif_is_calibrated_for_imagej_and_for_rosettasciio(as_it_is, movie_file, tmp_path, monkeypatch, big):
    if big:
        monkeypatch.setattr(writers, "CLASSIC_TIFF_BYTES", 100)
    as_it_is(movie_file, "-o", tmp_path, "--format", "tif")
    with tifffile.TiffFile(tmp_path / "run_denoised.tif") as tiff:
        assert tiff.is_bigtiff == big
        assert len(tiff.pages) == 6
        told = tiff.imagej_metadata
        assert (told["images"], told["frames"], told["unit"], told["finterval"]) == (6, 6, "micron", 0.25)
        assert "denoised_by = untouched" in told["Info"] and "title = silicate" in told["Info"]
        numerator, denominator = tiff.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(400)  # pixels a micron, as ImageJ counts
    [read] = rsciio.tiff.file_reader(str(tmp_path / "run_denoised.tif"))
    assert [(axis["units"], axis["scale"]) for axis in read["axes"]] == [
        ("s", pytest.approx(0.25)),
        ("µm", pytest.approx(0.0025)),
        ("µm", pytest.approx(0.0025)),
    ]


def test_an_mrc_is_valid_with_its_voxel_size_and_statistics(as_it_is, movie_file, tmp_path):
    as_it_is(movie_file, "-o", tmp_path, "--format", "mrc")
    assert mrcfile.validate(tmp_path / "run_denoised.mrc")
    with mrcfile.open(tmp_path / "run_denoised.mrc") as mrc:
        np.testing.assert_allclose(mrc.data, COUNTS, rtol=1e-6)
        assert mrc.is_image_stack()
        assert (mrc.voxel_size.x, mrc.voxel_size.y) == pytest.approx((25, 25))  # angstrom
        assert float(mrc.header.dmax) == pytest.approx(COUNTS.max())
        assert float(mrc.header.rms) == pytest.approx(COUNTS.std(), rel=1e-5)
        assert "denoised_by = untouched" in "\n".join(mrc.get_labels())


def test_the_provenance_of_a_folder_is_the_hash_of_what_sha256sum_prints(as_it_is, tmp_path):
    folder = tmp_path / "run.zspy"
    rsciio.zspy.file_writer(str(folder), signal(COUNTS))
    assert as_it_is(folder, "-o", tmp_path)[0] == 0
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    record = json.loads((tmp_path / "run_denoised.hspy.json").read_text())
    assert record["input"]["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_every_output_of_a_frame_has_its_own_provenance(untouched, tmp_path):
    source = write(tmp_path / "a.tif")
    denoise_file(source, untouched, tmp_path, suffix="tif")
    denoise_file(source, replace(untouched, name="other"), tmp_path, suffix="mrc")
    for name, model in {"a_denoised.tif": "untouched", "a_denoised.mrc": "other"}.items():
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert (record["output"], record["model"]["name"]) == (name, model)


def test_the_provenance_tells_what_the_network_has_learnt_from(untouched, tmp_path):
    card = json.loads((networks.WEIGHTS / "fast.json").read_text())
    denoise_file(write(tmp_path / "a.tif"), replace(untouched, card=card), tmp_path)
    model = json.loads((tmp_path / "a_denoised.tif.json").read_text())["model"]
    assert model["learnt_from"]["dose_e_per_px"] == [1, 50]  # as the networks were asked for


@pytest.mark.skipif(not (ROOT.parent / "shared/real").is_dir(), reason="no folder ../shared/real")
@pytest.mark.parametrize("suffix", [None, *FORMATS])
def test_a_folder_of_one_image_becomes_an_image(as_it_is, tmp_path, suffix):
    source = ROOT.parent / "shared/real/dm/JEOL HAADF Image.dm4"
    (tmp_path / "run/Hour_00/Minute_00/Second_00").mkdir(parents=True)
    shutil.copy(source, tmp_path / "run/Hour_00/Minute_00/Second_00/run_Frame_0000.dm4")
    assert as_it_is(tmp_path / "run", "-o", tmp_path, *(["--format", suffix] if suffix else []))[0] == 0
    before, after = read_frame(source), read_frame(tmp_path / f"run_denoised.{suffix or 'tif'}")
    np.testing.assert_allclose(after.image, before.image, rtol=1e-6)
    assert after.pixel_size_nm == pytest.approx(before.pixel_size_nm)


# Whole or not at all


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_movie_leaves_nothing_behind(tiny_card, movie_file, tmp_path, untouched, suffix, error):
    def stop(done, total):
        if done == 3:
            raise error

    (tmp_path / "out").mkdir()
    with pytest.raises(error):
        denoise_file(movie_file, untouched, tmp_path / "out", suffix=suffix, preview=True, progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_input_replaces_its_output_and_another_one_does_not(as_it_is, movie_file, tmp_path, suffix):
    out = tmp_path / "out"
    for _ in range(2):
        assert as_it_is(movie_file, "-o", out, "--format", suffix)[0] == 0
    (tmp_path / "other").mkdir()
    other = shutil.copy(movie_file, tmp_path / "other" / "run.hspy")
    status, _, errors = as_it_is(other, "-o", out, "--format", suffix)
    assert (status, errors.count("\n")) == (2, 1)
    assert f"was made from {movie_file}" in errors
    assert sorted(file.name for file in out.iterdir()) == sorted(
        [f"run_denoised.{suffix}{end}" for end in ("", ".json")]
    )


def test_two_inputs_of_one_stem_are_not_written_over_each_other(as_it_is, movie_file, tmp_path):
    write(tmp_path / "run.tif")
    status, output, errors = as_it_is(tmp_path, "-o", tmp_path / "out", "--format", "tif")
    assert (status, output.count("\n"), errors.count("error: ")) == (1, 1, 1)


def test_two_inputs_of_one_stem_lie_side_by_side_in_two_formats(as_it_is, movie_file, tmp_path):
    write(tmp_path / "run.tif")
    assert as_it_is(tmp_path, "-o", tmp_path / "out", "--preview", "mp4")[0] == 0
    for source in (movie_file, tmp_path / "run.tif"):
        output = tmp_path / f"out/run_denoised{source.suffix}"
        assert json.loads(output.with_name(f"{output.name}.json").read_text())["input"]["path"] == str(source)
        assert output.with_name(f"{output.name}.mp4").is_file()


def test_a_file_that_is_not_ours_is_not_replaced(as_it_is, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a_denoised.tif").write_bytes(b"mine")
    status, _, errors = as_it_is(write(tmp_path / "a.tif"), "-o", tmp_path / "out")
    assert (status, "an unknown file" in errors) == (2, True)
    assert (tmp_path / "out/a_denoised.tif").read_bytes() == b"mine"


# What is refused


def test_a_bad_file_is_one_error_line_and_the_rest_goes_on(as_it_is, tmp_path):
    write(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0 cut")
    write(tmp_path / "c.tif")
    status, output, errors = as_it_is(tmp_path, tmp_path / "nosuch.dm4", "-o", tmp_path / "out")
    assert (status, output.count("\n")) == (1, 2)
    assert errors.splitlines()[-2].startswith("error: b.tif ") or errors.startswith("error: b.tif ")
    assert errors.count("error: ") == 2 and "nosuch.dm4 does not exist" in errors


@pytest.mark.parametrize("error", [RuntimeError("Exception from src/core.cpp:\n\nno primitive"), MemoryError()])
def test_what_the_runtime_fails_with_is_one_error_line_and_the_rest_goes_on(monkeypatch, untouched, tmp_path, error):
    def run(frames):
        if frames.shape[-1] > 8:
            raise error
        return frames

    monkeypatch.setattr(networks, "load", lambda model: replace(untouched, run=run))
    write(tmp_path / "a.tif", np.ones((4, 12), np.uint16) + np.eye(4, 12, dtype=np.uint16))
    write(tmp_path / "b.tif")
    status, output, errors = call(tmp_path, "-o", tmp_path / "out")
    assert (status, output.count("\n"), errors.count("\n")) == (1, 1, 1)
    assert errors.startswith(f"error: a.tif was not computed ({type(error).__name__}")
    assert sorted(os.listdir(tmp_path / "out")) == ["b_denoised.tif", "b_denoised.tif.json"]


def test_nothing_usable_is_status_two(as_it_is, tmp_path):
    (tmp_path / "b.tif").write_bytes(b"II*\0 cut")
    for inputs in (tmp_path / "b.tif", tmp_path / "nosuch", tmp_path / "*.dm4"):
        status, output, errors = as_it_is(inputs, "-o", tmp_path / "out")
        assert (status, output, errors.count("error: ")) == (2, "", 1)


def test_a_network_that_is_not_there_is_told_before_any_file_is_read(tmp_path):
    status, _, errors = call(write(tmp_path / "a.tif"), "-o", tmp_path / "out", "--model", "finest")
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: There is no network 'finest'")


def test_a_file_in_place_of_the_folder_is_refused(as_it_is, tmp_path):
    source = write(tmp_path / "a.tif")
    status, _, errors = as_it_is(source, "-o", source)
    assert (status, errors.count("error: ")) == (2, 1)


# Network


@pytest.fixture(scope="module")
def tiny(tiny_card):
    return networks.load(tiny_card, threads=1)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (33, 65), (64, 64), (2, 300)])
def test_frames_of_any_size_come_back_in_their_size(tiny, shape):
    output = denoise_image(np.random.default_rng(1).poisson(5, shape), tiny)
    assert (output.shape, output.dtype) == (shape, np.float32)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("shape", [(300, 170), (129, 513)])
def test_tiles_give_what_the_whole_frame_gives(tiny_card, monkeypatch, shape):
    tiny = networks.load(tiny_card, threads=1, with_gpu=False)  # half precision would be 1e-3 off
    frame = np.random.default_rng(2).poisson(5 + 4 * np.indices(shape).sum(0) / 300).astype(np.float32)
    whole = denoise_image(frame, tiny)
    monkeypatch.setattr("temlib.inference.TILE_PX", 96)
    np.testing.assert_allclose(denoise_image(frame, tiny), whole, rtol=0, atol=1e-5 * whole.max())


@pytest.mark.parametrize(("shape", "given"), [((170, 259), (96, 96)), ((259, 170), (96, 96)), ((40, 259), (40, 96))])
def test_a_large_frame_of_any_size_goes_in_tiles_of_one_shape(untouched, monkeypatch, shape, given):
    monkeypatch.setattr("temlib.inference.TILE_PX", 96)
    shapes = set()

    def run(frames):
        shapes.add(frames.shape)
        return frames

    frame = np.random.default_rng(2).poisson(5, shape).astype(np.float32)
    np.testing.assert_allclose(denoise_image(frame, replace(untouched, run=run)), frame, rtol=1e-5)
    assert shapes == {(1, 1, *given)}


def test_the_scale_does_not_flicker_with_the_beam(tiny, tmp_path):
    frame = np.random.default_rng(3).poisson(20, (40, 70)).astype(np.float32)
    beam = np.float32([1, 4, 0.5, 1000])
    tifffile.imwrite(tmp_path / "a.tif", frame * beam[:, None, None], photometric="minisblack")
    denoise_file(tmp_path / "a.tif", tiny, tmp_path)
    output = read_frame(tmp_path / "a_denoised.hspy").image
    for image, intensity in zip(output, beam, strict=True):
        np.testing.assert_allclose(image, output[0] * intensity, rtol=1e-4)


# as in an environment that has none of these
WITHOUT_EXTRAS = """
from importlib.machinery import PathFinder
extras, find = ("torch", "pytorch_lightning", "hyperspy"), PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name.split(".")[0] in extras else find(name, *where)
"""


def test_the_command_needs_no_torch(tiny_card, tmp_path):
    source = write(tmp_path / "a.tif", COUNTS[0])
    code = WITHOUT_EXTRAS + "import temlib.cli; temlib.cli.app()"
    command = [sys.executable, "-c", code, "denoise", source, "-o", tmp_path / "out", "--model", tiny_card]
    done = subprocess.run([*command, "--preview", "mp4"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out/a_denoised.tif.mp4").is_file()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from Linux's /proc")
def test_memory_of_the_command_does_not_grow_with_the_movie(tiny_card, tmp_path):
    code = WITHOUT_EXTRAS + (
        "import sys\n"
        "from pathlib import Path\n"
        "from temlib import networks\n"
        "from temlib.denoising import denoise_file\n"
        "network = networks.load(sys.argv[2], threads=1)\n"
        "denoise_file(sys.argv[1], network, Path(sys.argv[1]).parent)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peak_kb = {}
    for frames in (200, 500):  # of 256 KiB as float32: both fill every queue, and the 300 more are 75 MiB
        source = tmp_path / f"{frames}.mrc"
        mrcfile.write(source, np.broadcast_to(np.arange(256, dtype=np.uint16), (frames, 256, 256)))
        command = [sys.executable, "-c", code, source, tiny_card]
        peak_kb[frames] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak_kb[500] < peak_kb[200] + 30_000


# Preview


def test_a_preview_has_every_image_and_says_what_is_not_measured(as_it_is, movie_file, tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(
        "temlib.preview.ImageDraw.ImageDraw.text",
        lambda self, place, text, **kwargs: texts.append(text),
    )
    assert as_it_is(movie_file, "-o", tmp_path, "--preview", "mp4")[0] == 0
    with av.open(str(tmp_path / "run_denoised.hspy.mp4")) as film:
        pictures = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert len(pictures) == 6 * 9  # each of six so often that they last two seconds, 50 pictures
    assert {"raw", "network output: untouched"} <= set(texts)
    dose = COUNTS[:2].mean((1, 2)).sum() / 6.25
    assert f"0.25 s     cumulative dose {dose:.4g} e-/nm2" in texts  # the second image


def test_a_preview_has_one_contrast_for_all_images_and_both_sides(tiny_card, tmp_path, untouched):
    dim = np.tile(np.linspace(0, 100, 400, dtype=np.float32), (400, 1))
    rsciio.hspy.file_writer(str(tmp_path / "a.hspy"), signal(np.stack([dim, dim / 2])))
    denoise_file(tmp_path / "a.hspy", untouched, tmp_path, preview=True)
    with av.open(str(tmp_path / "a_denoised.hspy.mp4")) as film:
        pictures = [frame.to_ndarray(format="gray").astype(float) for frame in film.decode(video=0)]
    first, second = pictures[0], pictures[-1]
    left, right = first[200, :400], first[200, 408:808]
    np.testing.assert_allclose(left, right, atol=4)
    np.testing.assert_allclose(second[200, 200:390], first[200, 100:195].repeat(2), atol=8)  # half as bright


def test_a_scale_bar_is_a_round_number_below_a_quarter_of_the_width():
    length_px, label = scale_bar(512, 2.9885)  # a quarter is 382.5 nm
    assert (length_px, label) == (pytest.approx(200 / 2.9885), "200 nm")
    assert scale_bar(2048, 10)[1] == "5 µm"
    assert scale_bar(64, 0.01) == (pytest.approx(10), "100 pm")


def test_time_and_dose_that_are_not_known_are_not_made_up(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, photometric="minisblack")
    assert _caption(open_movie(tmp_path / "a.tif"), 1, 7.0) == "image 2 of 6     dose not known"


# Real files


@pytest.mark.skipif(not (ROOT.parent / "shared/real").is_dir(), reason="no folder ../shared/real")
def test_the_real_folders_are_denoised_and_what_is_no_image_is_refused(as_it_is, tmp_path):
    real = ROOT.parent / "shared/real"
    status, output, errors = as_it_is(real / "dm", real / "other", real / "katsuno/*.tif", "-o", tmp_path)
    assert status == 1
    assert output.count("\n") == 13  # 7 of dm, one stack, one movie, four frames
    assert "test-EELS_spectrum.dm3 holds a spectrum" in errors
    for name in ("train_0001", "val_0002"):
        before, after = read_frame(real / f"katsuno/{name}.tif"), read_frame(tmp_path / f"{name}_denoised.tif")
        film = after.image.mean() / before.image.mean()  # what clipping added is off
        assert 0.95 < film < 0.97
        np.testing.assert_allclose(after.image, film * before.image, rtol=1e-5)
        assert (after.unit, after.exposure_s) == (before.unit, before.exposure_s)
        assert after.pixel_size_nm == pytest.approx(before.pixel_size_nm)


def test_what_was_made_is_not_denoised_again_by_a_pattern_or_its_name(as_it_is, tmp_path):
    write(tmp_path / "a.tif")
    for note in ("", "note: "):
        status, _, errors = as_it_is(tmp_path / "*.tif", "-o", tmp_path)
        assert (status, errors.startswith(note), errors.count("\n")) == (0, True, 1 if note else 0)
    renamed = tmp_path / "other/b.tif"
    renamed.parent.mkdir()
    shutil.copy(tmp_path / "a_denoised.tif", renamed)
    for path in (tmp_path / "a_denoised.tif", renamed):
        status, _, errors = as_it_is(path, "-o", tmp_path)
        assert (status, errors.count("\n")) == (2, 1)
        assert errors.startswith(f"error: {path.name} was denoised by temlib: raw frames are needed.")
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "a_denoised.tif", "a_denoised.tif.json", "other"]


def test_what_was_made_is_not_denoised_again_with_its_folder(as_it_is, tmp_path):
    write(tmp_path / "a.tif")
    for _ in range(2):
        assert as_it_is(tmp_path, "-o", tmp_path)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "a_denoised.tif", "a_denoised.tif.json"]
