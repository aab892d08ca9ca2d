"""Which frames are repeated exposures. Scenes and their movements are those that the test draws."""

import numpy as np
import pytest
import rsciio.hspy
import tifffile
from scipy.ndimage import gaussian_filter
from test_frames import write
from test_movies import signal

from temlib import repeats
from temlib.camera import ONEVIEW_BIN8, segment_offsets, to_counts
from temlib.denoising import denoise_file
from temlib.errors import TemlibError
from temlib.real_frames import KATSUNO
from temlib.repeats import as_field, displacement, overlap, read_fields, shared_noise


def scene(seed, shape=(160, 224)):
    """Dark blobs on film."""
    spots = np.random.default_rng(seed).random(shape) < 0.0015
    return np.exp(-np.minimum(60 * gaussian_filter(spots.astype(float), 4), 1.5))


def exposures(transmission, n, seed=0, dose=4.5):
    """As `camera.expose`, but all electrons of a pixel at once, and none shared with its neighbours."""
    rng, shape = np.random.default_rng(seed), ONEVIEW_BIN8.pulse_shape
    frames = []
    for _ in range(n):
        charge = rng.gamma(rng.poisson(dose * transmission) * shape, ONEVIEW_BIN8.counts_per_e / shape)
        noise = rng.normal(0, ONEVIEW_BIN8.white_counts, charge.shape)
        frames.append(to_counts(charge + noise + segment_offsets(charge.shape, ONEVIEW_BIN8, rng)))
    return np.stack(frames)


def moving(steps, shape=(160, 224)):
    """Exposures of a scene that is at these (row, column) in the frames; noise stays with the sensor."""
    large = scene(3, (shape[0] + 40, shape[1] + 40))
    frames = []
    for number, (row, col) in enumerate(steps):
        view = large[20 - row : 20 - row + shape[0], 20 - col : 20 - col + shape[1]]
        frames.append(exposures(view, 1, seed=number)[0])
    return np.stack(frames)


def movie(frames):
    return as_field("movie", frames, [(i, i + 1) for i in range(len(frames) - 1)], "counts")


# What belongs together


def test_frames_that_follow_each_other_and_show_the_same_are_one_field(tmp_path):
    files = []
    for letter in "ab":
        for number, counts in enumerate(exposures(scene(ord(letter)), 2, seed=ord(letter)), 1):
            files.append(write(tmp_path / f"{letter}_{number}.tif", counts, counts_per_e=44))
    fields, refusals, notes = read_fields(files)
    assert (refusals, notes) == ([], [])
    assert [(f.name, f.frames.shape, f.pairs) for f in fields] == [
        ("a_1 to a_2", (2, 160, 224), [(0, 1, (0, 0))]),
        ("b_1 to b_2", (2, 160, 224), [(0, 1, (0, 0))]),
    ]
    assert list(fields[1].sources) == ["b_1.tif", "b_2.tif"]


def test_a_frame_with_another_dose_or_alone_is_left_out_with_a_sentence(tmp_path):
    high = write(tmp_path / "high.tif", exposures(scene(1), 1, dose=20)[0], counts_per_e=44)
    low = write(tmp_path / "low.tif", exposures(scene(1), 1)[0], counts_per_e=44)
    fields, refusals, notes = read_fields([high, low])
    assert (fields, refusals) == ([], [])
    assert [note.split(" is ")[0] for note in notes] == ["high.tif", "low.tif"]


def test_neighbours_in_a_movie_are_pairs_and_a_long_one_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(repeats, "MOST_PAIRS", 3)
    tifffile.imwrite(tmp_path / "long.tif", exposures(scene(2), 12), photometric="minisblack")
    [field], refusals, _ = read_fields([tmp_path / "long.tif"])
    assert refusals == []
    # images 0-1, 5-6 and 10-11 of 12
    assert [pair[:2] for pair in field.pairs] == [(0, 1), (2, 3), (4, 5)]
    np.testing.assert_array_equal(field.frames[2], tifffile.imread(tmp_path / "long.tif")[5])


def test_a_movie_is_sampled_so_that_its_frames_stay_below_a_number_of_bytes(tmp_path, monkeypatch):
    frames = exposures(scene(2), 9)
    monkeypatch.setattr(repeats, "MOST_BYTES", 2 * 2 * frames[0].size * 4)  # two pairs of float32 frames
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    [field], *_ = read_fields([tmp_path / "a.tif"])
    assert len(field.frames) == 4


@pytest.mark.skipif(not KATSUNO.is_dir(), reason="no folder ../shared/real with real microscope files")
def test_the_papers_real_frames_are_two_fields_of_two_exposures_that_stood_still():
    fields, refusals, _ = read_fields(sorted(KATSUNO.glob("*.tif")))
    assert refusals == []
    assert [(f.name, f.pairs) for f in fields] == [
        ("train_0001 to train_0002", [(0, 1, (0, 0))]),
        ("val_0001 to val_0002", [(0, 1, (0, 0))]),
    ]


# Movement


def test_a_field_that_moved_is_registered_by_whole_pixels():
    field, [note] = movie(moving([(0, 0), (5, -9)]))
    [(i, j, shift)] = field.pairs
    assert (i, j) == (0, 1)
    np.testing.assert_allclose(shift, (5, -9), atol=1)  # at 4.5 electrons a pixel
    assert "moved" in note


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_not_taken_for_movement(seed):
    first, second = exposures(scene(seed), 2, seed=seed)
    assert displacement(first, second)[0] == (0, 0)


def test_a_frame_of_another_place_is_left_out_of_a_movie():
    still = exposures(scene(5), 4)
    still[3] = exposures(scene(6), 1, seed=9)[0]
    field, [note] = movie(still)
    assert [pair[:2] for pair in field.pairs] == [(0, 1), (1, 2)]
    assert "1 moved too far" in note


def test_an_empty_field_is_not_taken_for_one_that_moved():
    field, notes = movie(exposures(np.ones((96, 128)), 4))
    assert [shift for *_, shift in field.pairs] == [(0, 0)] * 3
    assert notes == []


def test_overlap_of_shifted_frames_is_what_both_show():
    first = np.arange(12).reshape(3, 4)
    second = np.roll(first, (1, -2), (0, 1))  # what is at (r, c) goes to (r + 1, c - 2)
    np.testing.assert_array_equal(overlap(first, second, (1, -2))[0], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(*overlap(first, second, (1, -2)))


# Refused


def test_a_running_average_of_two_shares_half_of_its_noise():
    noise = np.random.default_rng(1).normal(10, 1, (3, 200, 240))
    assert shared_noise((noise[0] + noise[1]) / 2, (noise[1] + noise[2]) / 2) == pytest.approx(0.5, abs=0.02)
    assert shared_noise(noise[0], noise[1]) == pytest.approx(0, abs=0.02)
    assert shared_noise(noise[0], noise[0]) == 1


@pytest.mark.parametrize("kind", ["duplicates", "running average", "recursive filter"])
def test_frames_that_are_not_independent_are_refused(kind):
    raw = exposures(scene(4), 6).astype(float)
    frames = {"duplicates": raw[[0, 0]], "running average": (raw[1:] + raw[:-1]) / 2}.get(kind)
    if kind == "recursive filter":
        frames = [raw[0]]
        for new in raw[1:]:
            frames.append(0.5 * frames[-1] + 0.5 * new)
    with pytest.raises(TemlibError, match="not independent"):
        movie(np.stack(frames))


def test_frames_that_the_camera_repeats_are_left_out_of_a_movie():
    raw = exposures(scene(4), 3)
    field, [note] = movie(raw[[0, 0, 1, 1, 2]])
    assert [pair[:2] for pair in field.pairs] == [(1, 2), (3, 4)]
    assert "2 share their noise" in note


def test_electrons_that_vary_less_than_electrons_can_are_refused():
    averaged = 4.5 * scene(7) + np.random.default_rng(0).normal(0, 0.3, (2, 160, 224))
    with pytest.raises(TemlibError, match=r"vary by 0\.02\d? of what as many electrons do"):  # 0.3^2 / mean
        as_field("averages", averaged, [(0, 1)], "e-")


@pytest.mark.parametrize("suffix", ["tif", "hspy", "mrc"])
def test_what_temlib_has_denoised_is_refused_under_any_name(tmp_path, untouched, suffix):
    source = tmp_path / "run.hspy"
    rsciio.hspy.file_writer(str(source), signal(exposures(scene(8), 3)))
    denoise_file(source, untouched, tmp_path, suffix=suffix)
    renamed = (tmp_path / f"run_denoised.{suffix}").rename(tmp_path / f"other.{suffix}")
    fields, [sentence], _ = read_fields([renamed])
    assert fields == []
    assert "was denoised by temlib" in sentence


def test_one_frame_is_too_few():
    with pytest.raises(TemlibError, match="two exposures"):
        movie(exposures(scene(1), 1))
