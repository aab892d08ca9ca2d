"""`temlib measure` on files as cameras and temlib write them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from temlib import measuring, paths, sphere_images, standard_errors
from temlib.camera import ONEVIEW_BIN8, expose
from temlib.cli import app
from temlib.errors import TemlibError
from temlib.frame_noise import camera_of_frame, gain_of_frame
from temlib.frames import write_gatan_tiff
from temlib.networks import load
from temlib.tracks import Tracks

PIXEL_NM, DOSE_E_PER_PX, SHAPE = 3.0, 8.0, (128, 160)
# row, column, diameter [px] and absorption [1/px]
SPHERES = np.array([[40.0, 45, 30, 0.04], [84, 108, 26, 0.05]])


def counts(spheres=SPHERES, seed=2):
    image = sphere_images.expected(spheres, [1, 0, 0], SHAPE, blur_px=0.5)
    return expose(image, dose_e_per_px=DOSE_E_PER_PX, camera=ONEVIEW_BIN8, rng=np.random.default_rng(seed))


def gatan(path, seed=2, **changes):
    told = {"pixel_size_nm": PIXEL_NM, "exposure_s": 0.003, "counts_per_e": ONEVIEW_BIN8.counts_per_e} | changes
    write_gatan_tiff(path, counts(seed=seed), **told)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["measure", *map(str, arguments)])


@pytest.fixture(scope="module")
def fast():
    return load("fast")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    result = run(
        gatan(folder / "raw.tif"), "-o", folder / "out" / "particles.csv", "--model", "fast", "--overlay", "png"
    )
    assert result.exit_code == 0, result.stderr
    return folder / "out"


@pytest.mark.parametrize("number", range(len(SPHERES)))
def test_the_spheres_of_a_raw_frame_are_in_the_table(measured, number):
    table = pd.read_csv(measured / "particles.csv")
    sphere = SPHERES[number]
    row = table.loc[np.hypot(table["row_px"] - sphere[0], table["col_px"] - sphere[1]).idxmin()]
    assert abs(row["diameter_nm"] - sphere[2] * PIXEL_NM) < 8
    assert row["file"] == "raw.tif" and row["significant"] and not row["at_border"]


def test_the_table_says_where_it_comes_from(measured):
    about = json.loads((measured / "particles.csv.json").read_text())
    assert about["particles_found_by"]["name"] == "fast"
    [file] = about["inputs"]
    assert file["pixel_size_nm"] == pytest.approx(PIXEL_NM) and file["camera"]["clipped"]
    assert file["images"] == file["measured_images"] == 1


def test_the_overlay_shows_raw_beside_denoised(measured):
    picture = Image.open(measured / "raw_overlay.png")
    times = round(900 / SHAPE[1])
    assert picture.width == 2 * times * SHAPE[1] + 8 and picture.mode == "RGB"


def test_what_is_no_table_is_not_written(tmp_path):
    raw = gatan(tmp_path / "raw.tif")
    before = raw.read_bytes()
    result = run(raw, "-o", raw, "--model", "fast")
    assert result.exit_code == 2 and "NAME.csv" in result.stderr and raw.read_bytes() == before


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        gatan(tmp_path / folder / "raw.tif")
    result = run(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "t.csv", "--model", "fast", "--overlay", "png")
    assert result.exit_code == 0, result.stderr
    assert set(pd.read_csv(tmp_path / "t.csv")["file"]) == {"a/raw.tif", "b/raw.tif"}
    assert (tmp_path / "a" / "raw_overlay.png").is_file() and (tmp_path / "b" / "raw_overlay.png").is_file()


def test_denoised_files_of_a_folder_are_measured(tmp_path):
    assert (
        CliRunner().invoke(app, ["denoise", str(gatan(tmp_path / "a.tif")), "-o", str(tmp_path / "out")]).exit_code == 0
    )
    result = run(tmp_path / "out", "-o", tmp_path / "t.csv", "--model", "fast")
    assert result.exit_code == 0 and set(pd.read_csv(tmp_path / "t.csv")["file"]) == {"a_denoised.tif"}


@pytest.mark.parametrize(
    ("changes", "said"), [({"pixel_size_nm": None}, "no pixel size"), ({"pixel_size_nm": (3.0, 4.0)}, "square")]
)
def test_what_has_no_length_is_refused_in_a_sentence(tmp_path, changes, said):
    result = run(gatan(tmp_path / "raw.tif", **changes), "-o", tmp_path / "particles.csv", "--model", "fast")
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("error:") == 1
    assert result.stderr.count(". ") == 0 and result.stderr.strip().endswith(".")
    assert not (tmp_path / "particles.csv").exists()


def test_counts_are_measured_by_the_electrons_that_their_noise_implies(tmp_path, fast):
    in_counts = gatan(tmp_path / "counts.tif", counts_per_e=None)
    table, record = measuring.measure_file(in_counts, fast)
    other, _ = measuring.measure_file(gatan(tmp_path / "electrons.tif"), fast)
    assert "its unit is counts" in record["notes"][-1]
    np.testing.assert_allclose(table["diameter_nm"][:2], other["diameter_nm"][:2], atol=3)
    assert table["background"][0] == pytest.approx(DOSE_E_PER_PX * ONEVIEW_BIN8.counts_per_e, rel=0.05)


def test_what_temlib_denoised_is_measured_as_such(tmp_path, fast):
    assert CliRunner().invoke(app, ["denoise", str(gatan(tmp_path / "a.tif")), "-o", str(tmp_path)]).exit_code == 0
    table, record = measuring.measure_file(tmp_path / "a_denoised.tif", fast)
    assert record["denoised_by"] == "best" and "denoised" in record["notes"][-1]
    assert np.hypot(table["row_px"] - 40, table["col_px"] - 45).min() < 2
    assert np.isfinite(table["edge_width_nm"]).all()


def test_a_denoised_mrc_is_known_to_be_in_electrons(tmp_path, fast):
    arguments = ["denoise", str(gatan(tmp_path / "a.tif")), "-o", str(tmp_path), "--format", "mrc"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    table, record = measuring.measure_file(tmp_path / "a_denoised.mrc", fast)
    assert record["denoised_by"] == "best" and table["d_prime"].max() > 5


def movie(path, n=3):
    moved = [SPHERES + np.array([0, 2 * i, 0, 0]) for i in range(n)]
    stack = np.stack([counts(spheres, seed=i) for i, spheres in enumerate(moved)])
    tifffile.imwrite(
        path,
        stack,
        imagej=True,
        resolution=(1e3 / PIXEL_NM,) * 2,
        metadata={"unit": "um", "axes": "TYX", "finterval": 0.01},
    )
    return path


def test_particles_of_a_movie_keep_their_number(tmp_path, fast):
    table, record = measuring.measure_file(movie(tmp_path / "movie.tif"), fast)
    assert record["images"] == 3 and list(table["image"].unique()) == [0, 1, 2]
    assert table.groupby("image")["time_s"].unique().str[0].tolist() == [0, 0.01, 0.02]  # diameter against time
    for sphere in SPHERES:
        tracks = [
            table.loc[np.hypot(t["row_px"] - sphere[0], t["col_px"] - sphere[1] - 2 * i).idxmin(), "particle"]
            for i, t in table.groupby("image")
        ]
        assert tracks[0] > 0 and set(tracks) == {tracks[0]}


def test_the_overlay_of_a_movie_is_a_folder_of_pictures(tmp_path):
    result = run(movie(tmp_path / "movie.tif", 2), "-o", tmp_path / "t.csv", "--model", "fast", "--overlay", "png")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in sorted((tmp_path / "movie_overlay").iterdir())] == ["000000.png", "000001.png"]


def test_an_image_without_film_is_left_out_of_a_movie(tmp_path, fast):
    file = movie(tmp_path / "movie.tif")
    stack = tifffile.imread(file)
    stack[0] = 0
    tifffile.imwrite(file, stack, imagej=True, resolution=(1e3 / PIXEL_NM,) * 2, metadata={"unit": "um", "axes": "TYX"})
    table, record = measuring.measure_file(file, fast)
    assert set(table["image"]) == {1, 2} and any("image 0 is left out" in note for note in record["notes"])


def test_what_was_measured_before_an_interruption_is_kept(tmp_path, fast):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    table, record = measuring.measure_file(movie(tmp_path / "movie.tif"), fast, progress=stop)
    assert record["measured_images"] == 2 and set(table["image"]) == {0, 1}
    assert "2 of 3 images" in record["notes"][-1]


def test_what_was_measured_before_the_disk_was_full_is_kept(tmp_path, fast):
    def stop(done, total):
        if done == 2:
            raise OSError(28, "No space left on device")

    table, record = measuring.measure_file(movie(tmp_path / "movie.tif"), fast, progress=stop)
    assert set(table["image"]) == {0, 1} and "No space left" in record["notes"][-1]


def test_what_is_measured_of_a_movie_is_kept_on_the_way(tmp_path, fast, monkeypatch):
    monkeypatch.setattr(measuring, "KEEP_S", 0.0)
    kept = []
    options = {"keep": lambda table, record: kept.append((set(table["image"]), record["measured_images"]))}
    measuring.measure_file(movie(tmp_path / "movie.tif"), fast, **options)
    assert kept == [({0}, 1), ({0, 1}, 2), ({0, 1, 2}, 3)]


def test_times_of_neighbouring_images_differ_after_hours(tmp_path, fast):
    table = pd.DataFrame({"file": "a", "time_s": [40000 * 0.00331, 40001 * 0.00331, 3e6 * 0.00331, np.nan]})
    measuring.write_table(tmp_path / "t.csv", [table], [], fast)
    assert list(pd.read_csv(tmp_path / "t.csv")["time_s"][:3]) == [132.4, 132.40331, 9930.0]
    assert pd.read_csv(tmp_path / "t.csv")["time_s"].isna()[3]


def test_a_network_that_did_not_find_the_particles_of_the_errors_is_told(tmp_path, fast):
    [note] = [
        note for note in measuring.measure_file(gatan(tmp_path / "a.tif"), fast)[1]["notes"] if "found by fast" in note
    ]
    assert note.endswith("were found out with best")


def test_a_particle_that_is_missing_for_an_image_keeps_its_number():
    def image(*places, significant=True):
        table = pd.DataFrame(places, columns=["row_px", "col_px"])
        return table.assign(diameter_nm=60.0, significant=significant)

    tracks = Tracks(3.0)
    assert list(tracks.numbers(image((5.0, 5), significant=False))) == [0]
    first = tracks.numbers(image((10.0, 10), (50, 80)))
    second = tracks.numbers(image((50.5, 80)))
    third = tracks.numbers(image((51.0, 80), (11, 11)))
    assert set(first) == {1, 2} and second[0] == first[1] and list(third) == [first[1], first[0]]


def test_the_camera_of_one_frame_is_the_one_that_took_it():
    flat = np.ones((256, 320))
    raw = expose(flat, dose_e_per_px=5.0, camera=ONEVIEW_BIN8, rng=np.random.default_rng(0)) / ONEVIEW_BIN8.counts_per_e
    camera, clipped = camera_of_frame(raw, np.full(flat.shape, 5.0))
    assert clipped and camera.segment_width_px == 32
    assert camera.white_counts == pytest.approx(ONEVIEW_BIN8.white_counts, rel=0.05)
    assert camera.segment_counts == pytest.approx(ONEVIEW_BIN8.segment_counts, rel=0.1)


def test_a_frame_with_less_noise_than_electrons_has_no_camera():
    rng = np.random.default_rng(0)
    raw = rng.normal(20, 2.0, (128, 160))  # Poisson's would be 4.5
    assert camera_of_frame(raw, np.full(raw.shape, 20.0)) == (None, False)
    # variance 4 = gain x mean 20 x the OneView's excess factor
    gain = 4 / 20 / ONEVIEW_BIN8.excess_factor
    assert gain_of_frame(raw, np.full(raw.shape, 20.0)) == pytest.approx(gain, rel=0.05)


@pytest.mark.parametrize("share", [0.3, 0.7])  # of the frame that particles cover
def test_segments_are_as_noisy_in_a_crowded_frame(share):
    covered = np.ones((256, 320))
    covered[:, : int(share * 320)] = 0.6
    exposure = {"dose_e_per_px": 8.0, "camera": ONEVIEW_BIN8, "rng": np.random.default_rng(0)}
    raw = expose(covered, fixed_pattern=np.full(covered.shape, 5000), **exposure).astype(float) - 5000
    camera, _ = camera_of_frame(raw / ONEVIEW_BIN8.counts_per_e, 8.0 * covered)
    assert camera.segment_counts == pytest.approx(ONEVIEW_BIN8.segment_counts, rel=0.15)


def test_the_gain_is_found_beside_strong_segments():
    camera = replace(ONEVIEW_BIN8, segment_counts=3 * ONEVIEW_BIN8.counts_per_e, white_counts=0.0, blur_px=0.0)
    exposure = {"dose_e_per_px": 8.0, "camera": camera, "rng": np.random.default_rng(0)}
    raw = expose(np.ones((256, 320)), fixed_pattern=np.full((256, 320), 5000), **exposure).astype(float) - 5000
    smooth = np.full(raw.shape, 8.0 * camera.counts_per_e)
    gain = gain_of_frame(raw, smooth)
    assert gain == pytest.approx(camera.counts_per_e, rel=0.15)
    assert camera_of_frame(raw / gain, smooth / gain)[0] is not None


def test_whole_electrons_are_counted():
    raw = np.random.default_rng(0).poisson(5.0, (64, 96)).astype(float)
    camera, clipped = camera_of_frame(raw, np.full(raw.shape, 5.0))
    assert not clipped and camera.excess_factor == 1 and camera.white_counts == 0


def test_rounded_electrons_of_another_camera_are_not_counted():
    flat = np.ones((256, 320))
    raw = expose(flat, dose_e_per_px=5.0, camera=ONEVIEW_BIN8, rng=np.random.default_rng(0)) / ONEVIEW_BIN8.counts_per_e
    camera, clipped = camera_of_frame(np.rint(raw), np.full(flat.shape, 5.0))
    # what lies above 0 and below 1/2 is taken for clipped, too
    assert clipped and 1 < camera.white_counts / ONEVIEW_BIN8.white_counts < 1.25


def test_standard_errors_are_those_of_the_very_network(tmp_path, monkeypatch):
    file = tmp_path / "errors.csv"
    rows = [
        "method,card_sha256,touching,least_d_prime,factor,floor_nm,of_diameter",
        "raw,,False,0,2,0,0",
        "best,abc,False,0,3,0,0.3",
    ]
    file.write_text("\n".join(rows))
    monkeypatch.setattr(standard_errors, "FILE", file)
    told = {"diameter_error_nm": 1.0, "diameter_nm": [10.0, 10, 900], "significant": True, "misfit": [1.0, 3, 1]}
    table = pd.DataFrame(told | {"d_prime": 7.0, "shown": 1.0, "touching": False})
    of_sphere, of_any = "diameter_error_nm", "diameter_error_any_shape_nm"
    raw, ours, *others = (
        measuring.with_stated_errors(table, fitted_to, pixel_size_nm=3.0) for fitted_to in ("raw", "abc", "def", None)
    )
    # the second is no sphere, the third larger than 80 pixels
    np.testing.assert_equal(raw[of_sphere].to_numpy(), [2, np.nan, np.nan])
    np.testing.assert_allclose(ours[of_any], [18**0.5, np.nan, np.nan])
    for other in others:
        assert other[[of_sphere, of_any]].isna().all(axis=None)


def test_a_floor_is_as_many_nm_as_in_the_study_or_as_many_pixels_if_these_are_larger(tmp_path, monkeypatch):
    file = tmp_path / "errors.csv"
    file.write_text("method,card_sha256,touching,least_d_prime,factor,floor_nm,of_diameter\nraw,,False,40,1,3,0")
    monkeypatch.setattr(standard_errors, "FILE", file)
    told = {"diameter_error_nm": [4.0], "diameter_nm": 20.0, "significant": True, "misfit": 1.0}
    table = pd.DataFrame(told | {"d_prime": 50.0, "shown": 1.0, "touching": False})
    errors_nm = [
        measuring.with_stated_errors(table, "raw", pixel_size_nm=scale * standard_errors.FILE_PIXEL_NM)
        for scale in (0.5, 1, 2)
    ]
    assert [one["diameter_error_nm"][0] for one in errors_nm] == pytest.approx([5, 5, 52**0.5])  # with 3, 3 and 6 nm


def test_the_columns_are_those_that_the_readme_explains(measured):
    lines = (paths.ROOT / "README.md").read_text().split("| column | what it is |")[1].split("\n\n")[0].splitlines()
    explained = [name.strip() for line in lines[2:] for name in line.split("|")[1].split(",")]
    assert list(pd.read_csv(measured / "particles.csv").columns) == explained


def dark_images(path, n):
    noise = np.random.default_rng(0).normal(-50, 5, (n, *SHAPE)).astype(np.float32)
    tifffile.imwrite(path, noise, imagej=True, resolution=(1e3 / PIXEL_NM,) * 2, metadata={"unit": "um"})
    return path


def test_a_movie_of_which_nothing_can_be_measured_does_not_keep_the_next_file_from_it(tmp_path):
    movie, frame = dark_images(tmp_path / "dark.tif", 3), gatan(tmp_path / "raw.tif")
    result = run(movie, frame, "-o", tmp_path / "t.csv", "--model", "fast")
    assert result.exit_code == 1 and "None of the 3 images of dark.tif can be measured" in result.stderr
    assert set(pd.read_csv(tmp_path / "t.csv")["file"]) == {"raw.tif"}


def test_pictures_of_files_that_differ_by_their_format_are_kept_apart(tmp_path):
    frames = [gatan(tmp_path / f"raw{suffix}") for suffix in (".tif", ".tiff")]
    result = run(*frames, "-o", tmp_path / "t.csv", "--model", "fast", "--overlay", "png")
    assert result.exit_code == 0, result.stderr
    names = {file.name for file in tmp_path.glob("*.png")}
    assert names == {"raw.tif_overlay.png", "raw.tiff_overlay.png"}


def test_a_file_that_is_no_frame_is_refused(tmp_path, fast):
    (tmp_path / "a.tif").write_bytes(b"no image")
    with pytest.raises(TemlibError, match=r"a\.tif"):
        measuring.measure_file(tmp_path / "a.tif", fast)


def test_a_frame_without_film_above_zero_is_refused(tmp_path):
    result = run(dark_images(tmp_path / "dark.tif", 1), "-o", tmp_path / "particles.csv", "--model", "fast")
    assert result.exit_code == 2 and "dark.tif cannot be measured" in result.stderr
