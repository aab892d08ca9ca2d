"""Adaptation: tiny networks, few steps, cameras and specimens that the test drew."""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import stats
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from test_fresh_noise import cameras  # noqa: E402

from temlib import adapt, camera, filters, networks, noise2noise, repeat_score  # noqa: E402
from temlib.camera import ONEVIEW_BIN8  # noqa: E402
from temlib.cli import app  # noqa: E402
from temlib.errors import ModelFileError, TemlibError  # noqa: E402
from temlib.export import export  # noqa: E402
from temlib.fresh_noise import expose  # noqa: E402
from temlib.inference import denoise_image  # noqa: E402
from temlib.noise2noise import Samples, adapt_network, clipped_mean  # noqa: E402
from temlib.own_camera import OwnCamera, fit_own_camera  # noqa: E402
from temlib.paths import ROOT  # noqa: E402
from temlib.plain_unet import PlainUNet  # noqa: E402
from temlib.repeat_score import compare, errors  # noqa: E402
from temlib.repeats import Field  # noqa: E402
from temlib.wide_phantom import learning_field  # noqa: E402

ROWS, COLS = 160, 192
# outside the ranges that the shipped networks have seen: 8 electrons of white noise at 20, and much blur
OTHER_CAMERA = {"dose_e_per_px": 20.0, "pulse_shape": 0.8, "white_e": 8.0, "blur_px": 0.5, "clipped": False}
ONEVIEW = OwnCamera(1.0, np.array([4.5]), ONEVIEW_BIN8, (9.9, 11.1), 32, True, False)


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def truth():
    return 20.0 * learning_field(4, 3, COLS)[:ROWS]


@pytest.fixture(scope="module")
def movie(truth):
    """Four exposures of one field."""
    transmission = torch.from_numpy(truth / 20.0)[None, None].repeat(4, 1, 1, 1)
    frames, _ = expose(transmission, cameras(4, **OTHER_CAMERA), 5)
    return Field("movie", frames[:, 0].numpy(), [(i, i + 1, (0, 0)) for i in range(3)], "e-")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(adapt, "SIMULATED", 6)
    monkeypatch.setattr(adapt, "SIMULATED_PX", 64)
    monkeypatch.setattr(noise2noise, "CROP_PX", 64)
    monkeypatch.setattr(repeat_score, "BLOCK_PX", 16)  # as many blocks as larger frames have
    monkeypatch.setattr(noise2noise, "LEARNING_RATE", 1e-2)  # a tiny network learns fast


@pytest.fixture
def known_camera(monkeypatch, movie):
    """Saves the seconds that its fit takes."""
    other = OwnCamera(1.0, np.array([20.0]), None, (80.0, 80.0), 32, False, False)
    monkeypatch.setattr("temlib.own_camera.fit_own_camera", lambda fields: other)


@pytest.fixture
def small_steps(monkeypatch):
    """The command trains by the clock; a test must not."""
    by_clock = adapt.adapt
    monkeypatch.setattr(adapt, "adapt", lambda *a, seconds, **options: by_clock(*a, steps=3, **options))


@pytest.fixture(scope="module")
def movie_file(movie, tmp_path_factory):
    path = tmp_path_factory.mktemp("movie") / "run.tif"
    tifffile.imwrite(path, movie.frames, photometric="minisblack")
    return path


def tiny():
    torch.manual_seed(3)
    return PlainUNet(2, (4, 6), 1)


def numbered(shift):
    """A pair of frames whose pixels are numbered by the place that they show; (rows, columns) apart."""
    rows, cols = np.mgrid[:ROWS, :COLS]
    place = 1000.0 * (rows + 100) + cols + 100
    frames = np.stack([place, place - 1000 * shift[0] - shift[1]]).astype(np.float32)
    return Field("numbered", frames, [(0, 1, shift)], "e-")


# The training


@pytest.mark.parametrize("shift", [(0, 0), (7, -40), (-3, 64)])
def test_crops_of_a_pair_show_the_same_place_and_begin_and_end_with_a_segment(shift):
    samples = Samples([numbered(shift)], ONEVIEW, 32, rows=0.9)
    given, wanted, level, *_ = samples.draw(20, np.random.default_rng(0))
    assert given.shape == (20, 1, *samples.crop_px)
    level = level.numpy()
    other = np.where(np.isclose(level, samples.levels[0][1]), samples.levels[0][0], samples.levels[0][1])
    place, place_too = np.rint(given.numpy() * other), np.rint(wanted.numpy() * level)
    np.testing.assert_array_equal(place, place_too)
    # in the frame that is given, whose noise the network sees, crops end where segments do
    is_first = np.isclose(other, samples.levels[0][0])[:, 0, 0, 0]
    origin = np.where(is_first, 100, 100 - shift[1])
    columns = place.reshape(20, -1) % 1000 - origin[:, None]
    assert (columns.min(axis=1) % 32 == 0).all()
    assert (columns.max(axis=1) % 32 == 31).all()


# In 192 columns, of multiples of 32 up to 192: 4 segments of 48 px, 4 of 40 px, none of whole ones of 56 px
@pytest.mark.parametrize(("segment_px", "width"), [(48, 192), (40, 160), (56, 32), (128, 128), (1, 192)])
def test_crops_are_the_largest_of_whole_segments_or_within_one(segment_px, width, monkeypatch):
    monkeypatch.setattr(noise2noise, "CROP_PX", 192)
    samples = Samples([numbered((0, 0))], replace(ONEVIEW, segment_px=segment_px), 32)
    assert samples.crop_px == (160, width)
    given, *_ = samples.draw(20, np.random.default_rng(0))
    columns = np.rint(given.numpy() * samples.levels[0][0]).reshape(20, -1) % 1000 - 100
    first, last = columns.min(axis=1), columns.max(axis=1)
    whole = (first % segment_px == 0) & (last % segment_px == segment_px - 1)
    assert (whole | (first // segment_px == last // segment_px)).all()


def test_frames_too_narrow_for_whole_segments_are_refused_with_what_was_needed():
    field = Field("narrow", np.ones((2, 96, 90), np.float32), [(0, 1, (0, 0))], "e-")
    # the least multiple of 32 that is whole segments of 24 px is 96
    with pytest.raises(TemlibError, match="96 x 90 px: crops of 32 px, whole segments of 24 px"):
        Samples([field], replace(ONEVIEW, segment_px=24), 32)


def test_rows_that_are_kept_aside_are_in_no_crop():
    samples = Samples([numbered((0, 0))], ONEVIEW, 32, rows=0.75)
    given, *_ = samples.draw(50, np.random.default_rng(0))
    lowest = (given.max() * samples.levels[0][0]) // 1000 - 100
    assert lowest == 0.75 * ROWS - 1


def test_clipped_mean_is_that_of_the_filters():
    mean_e = np.linspace(0, 8, 12).reshape(3, 4)
    own = replace(ONEVIEW, variance=tuple(variance(e, ONEVIEW_BIN8) for e in (0, 1)))
    np.testing.assert_allclose(clipped_mean(torch.from_numpy(mean_e), own), filters.clipped_mean(mean_e), rtol=1e-6)


def variance(electrons, model):
    """By the definition of the camera model, for the small blur that it has: F e + additive [e-^2]."""
    return float(camera.pixel_variance(electrons, model) + model.segment_counts**2) / model.counts_per_e**2


class CutOffError(Exception):
    pass


def train(movie, simulated, checkpoint, *, stop_after=None, key="k"):
    def progress(done, total, loss):
        if done + 1 == stop_after:
            raise CutOffError

    network = tiny()
    samples = Samples([movie], ONEVIEW, network.stride_px)
    adapt_network(network, samples, simulated, checkpoint, key=key, steps=6, progress=progress)
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def simulated():
    return np.stack([learning_field(1, i, 64) for i in range(4)]).astype(np.float16)


def test_a_training_that_was_cut_off_ends_with_the_same_weights(movie, simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(noise2noise, "SAVE_S", 0.0)
    whole = train(movie, simulated, tmp_path / "whole.ckpt")
    with pytest.raises(CutOffError):
        train(movie, simulated, tmp_path / "cut.ckpt", stop_after=4)
    assert torch.load(tmp_path / "cut.ckpt", weights_only=True)["step"] == 3
    resumed = train(movie, simulated, tmp_path / "cut.ckpt")
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_checkpoint_of_other_frames_is_not_gone_on_from(movie, simulated, tmp_path):
    train(movie, simulated, tmp_path / "a.ckpt", key="others")
    afresh = train(movie, simulated, tmp_path / "a.ckpt")
    for name, tensor in train(movie, simulated, tmp_path / "b.ckpt").items():
        assert torch.equal(tensor, afresh[name]), name


def test_training_ends_where_it_would_begin_to_learn_the_noise_by_heart(movie, simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(noise2noise, "MOST_SEEN", 0.5)
    samples = Samples([movie], ONEVIEW, tiny().stride_px)
    made, _ = adapt_network(tiny(), samples, simulated, tmp_path / "a.ckpt", key="k", steps=100)
    # half of 2 x 3 frames of 160 x 192 px in four crops of 64 x 64 px a step
    assert made == 6


def test_the_statistics_of_batch_normalisation_are_kept(movie, simulated, tmp_path):
    after = train(movie, simulated, tmp_path / "a.ckpt")
    for name, tensor in tiny().state_dict().items():
        assert torch.equal(tensor, after[name]) == ("running" in name or "num_batches" in name), name


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_score_of_the_truth_is_the_noise_of_the_raw_frame_however_uneven_its_light(truth, slope):
    light = 1 + slope * np.linspace(-0.5, 0.5, ROWS, dtype=np.float32)[:, None]
    transmission = torch.from_numpy(truth / 20.0 * light)[None, None].repeat(2, 1, 1, 1)
    frames, expected = (x[:, 0].numpy() for x in expose(transmission, cameras(2, **OTHER_CAMERA), 5))
    movie = Field("movie", frames, [(0, 1, (0, 0))], "e-")

    class Truth(torch.nn.Module):
        stride_px = halo_px = 32

        def __init__(self):
            super().__init__()
            self.image = torch.nn.Parameter(torch.from_numpy(truth))

        def forward(self, frames):
            return self.image.expand(frames.shape).clone()  # a caller may change it

    own = OwnCamera(1.0, np.array([20.0]), None, (0.0, 0.0), 1, False, False)
    score = errors(Truth(), [movie], own).mean()
    noise = np.mean([np.var(f - e) / np.square(adapt_level(f)) for f, e in zip(frames, expected, strict=True)])
    assert score == pytest.approx(noise, rel=0.02)


def adapt_level(frame):
    from temlib.film import film_level

    return float(film_level(frame)[0, 0])


class Untouched(torch.nn.Module):
    stride_px = halo_px = 32

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, frames):
        return frames * self.weight


class Flat(Untouched):
    def forward(self, frames):
        return torch.ones_like(frames) * self.weight


def test_clipped_frames_that_the_model_cannot_fit_are_scored():
    flat = np.ones((96, 96))  # too few pixels for a fit
    rng = np.random.default_rng(0)
    counts = [camera.expose(flat, dose_e_per_px=4.5, camera=ONEVIEW_BIN8, rng=rng) for _ in range(2)]
    frames = np.float32(counts) / ONEVIEW_BIN8.counts_per_e
    field = Field("small", frames, [(0, 1, (0, 0))], "e-")
    own = fit_own_camera([field])
    assert (own.note[:7], own.clipped) == ("roughly", True)
    # the film's noise before the cut, and the mean of each normal distribution that is cut at 0, by quadrature
    film_e2 = camera.pixel_variance(4.5, ONEVIEW_BIN8) + ONEVIEW_BIN8.segment_counts**2
    assert np.dot(own.variance, (-3.5, 4.5)) == pytest.approx(film_e2 / ONEVIEW_BIN8.counts_per_e**2, rel=0.1)
    mean_e = np.array([0.0, 0.5, 4.5, 30.0])
    sigma = np.sqrt(own.variance[0] + (own.variance[1] - own.variance[0]) * mean_e)
    read = [stats.norm(*of_one).expect(lambda value: value, lb=0) for of_one in zip(mean_e, sigma, strict=True)]
    np.testing.assert_allclose(clipped_mean(torch.from_numpy(mean_e), own), read, rtol=0.01)
    # a flat film predicts each frame but for its noise
    noise = np.mean([np.var(f) / np.square(adapt_level(f)) for f in frames])
    assert errors(Flat(), [field], own).mean() == pytest.approx(noise, rel=0.01)


def test_pairs_of_the_same_frames_tell_no_more_than_one_of_them(movie):
    own = OwnCamera(1.0, np.array([20.0]), None, (0.0, 0.0), 1, False, False)
    once, often = (
        compare(*(errors(network, [replace(movie, pairs=pairs)], own) for network in (Flat(), Untouched())))
        for pairs in ([(0, 1, (0, 0))], 5 * [(0, 1, (0, 0))])
    )
    assert once["blocks"] == (ROWS // 16) * (COLS // 16)
    for name in ("change", "change_standard_error", "standard_error", "blocks"):
        assert often[name] == pytest.approx(once[name], rel=1e-5), name


def test_blocks_are_at_their_place_in_the_first_frame(truth):
    own = OwnCamera(1.0, np.array([20.0]), None, (0.0, 0.0), 1, False, False)
    frames = np.stack([truth[:-6, 9:], truth[6:, :-9], truth[3:-3, 4:-5]])  # 154 x 183 px: 9 x 11 blocks of 16 px
    frames[0, 34:44, 66:76] += 100  # in the third block down, the fifth across
    pairs = [(0, 1, (-6, 9)), (0, 2, (-3, 5))]
    found = errors(Untouched(), [Field("moved", frames, pairs, "e-")], own)
    assert (len(found), found.argmax()) == (9 * 11, 2 * 11 + 4)


def test_a_pair_that_moved_is_scored_where_both_frames_show_the_same(truth):
    own = OwnCamera(1.0, np.array([20.0]), None, (0.0, 0.0), 1, False, False)
    frames = np.stack([truth[:-6, 9:], truth[6:, :-9]])
    for shift, score in {(-6, 9): 0.0, (0, 0): None}.items():
        found = errors(Untouched(), [Field("moved", frames, [(0, 1, shift)], "e-")], own, rows=0.5).mean()
        assert found == pytest.approx(score, abs=1e-9) if score is not None else found > 1e-4


# The card


def test_a_network_becomes_better_with_a_camera_it_has_not_seen_and_its_card_denoises(
    truth, movie, tiny_card, tmp_path
):
    (tmp_path / "from").mkdir()
    for file in tiny_card.parent.iterdir():
        shutil.copy(file, tmp_path / "from")
    shipped = tmp_path / "from" / tiny_card.name
    shipped.write_text(json.dumps(json.loads(tiny_card.read_text()) | {"learnt_from": {"white_e": [0.0, 5.0]}}))
    card = adapt.adapt([movie], tmp_path / "own.json", model=shipped, steps=60, report=lambda line: None)
    assert card["learnt_from"] == {"white_e": [0.0, 5.0]}
    assert card["versions"]["python"] == platform.python_version()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert card["git_commit"] == (commit or None)
    score = card["adaptation"]["score"]
    assert score["improved"]
    assert score["change"] < -2 * score["change_standard_error"]
    assert (card["adapted_from"]["name"], card["limits"].startswith("for tests only Adapted to one")) == ("tiny", True)
    before, after = (
        np.mean((denoise_image(movie.frames[0], networks.load(model)) - truth) ** 2)
        for model in (tiny_card, tmp_path / "own.json")
    )
    assert after < 0.8 * before
    assert sorted(file.name for file in tmp_path.glob("own*")) == [
        f"own.{suffix}" for suffix in ("bin", "json", "safetensors", "xml")
    ]


def test_a_network_that_did_not_become_better_keeps_its_weights_and_says_so(
    movie, known_camera, tiny_card, tmp_path, monkeypatch
):
    monkeypatch.setattr(noise2noise, "LEARNING_RATE", 0.0)
    lines = []
    card = adapt.adapt([movie], tmp_path / "own.json", model=tiny_card, steps=2, report=lines.append)
    assert not card["adaptation"]["score"]["improved"]
    assert "no improvement" in lines[-1]
    kept = (tmp_path / "own.safetensors").read_bytes()
    assert kept == tiny_card.with_suffix(".safetensors").read_bytes()
    assert networks.load(tmp_path / "own.json").card["limits"] == "for tests only"


def test_a_card_without_an_architecture_cannot_be_adapted(movie, tiny_card, tmp_path):
    for file in tiny_card.parent.iterdir():
        shutil.copy(file, tmp_path)
    card = {key: value for key, value in json.loads(tiny_card.read_text()).items() if key != "architecture"}
    (tmp_path / tiny_card.name).write_text(json.dumps(card))
    with pytest.raises(ModelFileError, match="no network that can be adapted"):
        adapt.adapt([movie], tmp_path / "own.json", model=tmp_path / tiny_card.name, steps=2)


def test_fields_that_are_kept_aside_are_scored_and_not_trained_on(movie, known_camera, tiny_card, tmp_path):
    other = Field("other", movie.frames[:2], [(0, 1, (0, 0))], "e-")
    options = {"model": tiny_card, "steps": 2, "report": lambda line: None}
    card = adapt.adapt([movie], tmp_path / "own.json", kept_aside=[other], **options)
    assert card["adaptation"]["score"]["on"] == "other"
    assert [field["name"] for field in card["adaptation"]["fields"]] == ["movie"]


def half(movie, number, rows=ROWS):
    """Two of the four exposures, as a field of its own."""
    return Field(f"half {number}", movie.frames[2 * number : 2 * number + 2, :rows], [(0, 1, (0, 0))], "e-")


def test_of_several_fields_the_fullest_is_kept_aside_in_a_trial_and_then_all_are_trained_on(
    movie, known_camera, tiny_card, tmp_path, monkeypatch
):
    empty = Field("empty", movie.frames[:2].mean() + 0 * movie.frames[:2], [(0, 1, (0, 0))], "e-")
    trained, train = [], noise2noise.adapt_network

    def watched(network, samples, *arguments, **options):
        trained.append([field.name for field in samples.fields])
        return train(network, samples, *arguments, **options)

    done = []
    monkeypatch.setattr(noise2noise, "adapt_network", watched)
    options = {"model": tiny_card, "report": lambda line: None, "progress": lambda now, total, _: done.append(now)}
    card = adapt.adapt([half(movie, 0), empty, half(movie, 1)], tmp_path / "own.json", steps=40, **options)
    assert card["adaptation"]["score"]["improved"]
    aside = card["adaptation"]["score"]["on"].split(",")[0]
    assert aside.startswith("half")
    assert trained == [[name for name in ("half 0", "empty", "half 1") if name != aside], ["half 0", "empty", "half 1"]]
    assert done == sorted(done) and done[-1] > 60  # of twice 40
    assert card["adaptation"]["steps"] == [40, 40]
    assert not list(tmp_path.glob("*.ckpt"))


def test_after_a_trial_without_improvement_nothing_more_is_trained(
    movie, known_camera, tiny_card, tmp_path, monkeypatch
):
    monkeypatch.setattr(noise2noise, "LEARNING_RATE", 0.0)
    options = {"model": tiny_card, "steps": 2, "report": lambda line: None}
    card = adapt.adapt([half(movie, 0), half(movie, 1)], tmp_path / "own.json", **options)
    assert (card["adaptation"]["steps"], card["adaptation"]["score"]["improved"]) == ([2], False)
    assert (tmp_path / "own.safetensors").read_bytes() == tiny_card.with_suffix(".safetensors").read_bytes()


@pytest.mark.parametrize("upside_down", [False, True])
def test_of_one_field_the_end_that_shows_more_is_kept_aside(truth, upside_down, monkeypatch):
    image = np.full_like(truth, 20.0)
    image[4:20, 30:60] = 5.0  # within the first fifth
    image = image[::-1] if upside_down else image
    frames = np.stack([image, np.roll(image, 3, axis=0)]).astype(np.float32)
    monkeypatch.setattr(adapt, "denoise_image", lambda frame, network: frame)
    [[field]], [scored] = adapt._plan([Field("one", frames, [(0, 1, (3, 2))], "e-")], None, None)
    assert field is scored
    assert field.frames[0, -ROWS // 5 :].min() == 5
    [(i, j, (rows, _))] = field.pairs
    np.testing.assert_array_equal(field.frames[i, 20:130], field.frames[j, 20 + rows : 130 + rows])


# The command


def test_the_command_writes_a_card_that_denoise_takes(movie_file, tiny_card, tmp_path, small_steps):
    status, output, errors_ = call("adapt", movie_file, "-o", tmp_path / "own.json", "--model", tiny_card)
    assert status == 0, errors_
    assert f"temlib denoise --model {tmp_path / 'own.json'}" in output
    card = json.loads((tmp_path / "own.json").read_text())
    [field] = card["adaptation"]["fields"]
    assert (field["pairs"], list(field["files"])) == (3, ["run.tif"])
    status, *_ = call("denoise", movie_file, "-o", tmp_path / "out", "--model", tmp_path / "own.json")
    assert status == 0


def test_an_interrupted_command_says_how_to_go_on_and_leaves_a_checkpoint(
    movie_file, known_camera, tiny_card, tmp_path, small_steps, monkeypatch
):
    monkeypatch.setattr(noise2noise, "SAVE_S", 0.0)
    train_on, card = noise2noise.adapt_network, tmp_path / "own.json"

    def interrupted(*arguments, progress, **options):
        def stop(done, total, loss):
            if done == 2:
                raise KeyboardInterrupt

        train_on(*arguments, progress=stop, **options)

    with monkeypatch.context() as patched:
        patched.setattr(noise2noise, "adapt_network", interrupted)
        status, _, errors_ = call("adapt", movie_file, "-o", card, "--model", tiny_card)
    assert (status, "goes on" in errors_, card.exists()) == (130, True, False)
    assert torch.load(tmp_path / "own.ckpt", weights_only=True)["step"] == 2
    status, output, _ = call("adapt", movie_file, "-o", card, "--model", tiny_card)
    assert (status, "going on" in output) == (0, True)


def test_without_torch_the_command_names_the_extra(movie_file, tmp_path):
    code = """
import importlib.util, sys

class WithoutTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, WithoutTorch())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "torch" else find_spec(name)
from temlib.cli import app
app(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "adapt", str(movie_file), "-o", str(tmp_path / "own.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.startswith("error: ")) == (2, True), done.stderr
    assert "pip install '.[paper]'" in done.stderr  # as the README: temlib is on no index


def test_what_cannot_be_adapted_to_is_refused_in_a_sentence_before_training(movie, tiny_card, tmp_path):
    one, twice, small_ = (tmp_path / f"{name}.tif" for name in ("one", "twice", "small"))
    tifffile.imwrite(one, movie.frames[0], photometric="minisblack")
    tifffile.imwrite(twice, movie.frames[[0, 0]], photometric="minisblack")
    tifffile.imwrite(small_, movie.frames[:2, :40, :24], photometric="minisblack")
    for files, sentence in {
        (one,): "two exposures of one field",
        (twice,): "not independent",
        (small_,): "Give larger frames",
    }.items():
        status, _, errors_ = call("adapt", *files, "-o", tmp_path / "own.json", "--model", tiny_card)
        assert (status, sentence in errors_) == (2, True), errors_
        assert errors_.startswith("error: ")


def test_a_file_that_is_no_adapted_card_is_not_replaced(movie_file, tiny_card, tmp_path):
    mine = Path(shutil.copy(tiny_card, tmp_path / "mine.json"))
    before = mine.read_bytes()
    for output in (mine, tiny_card):
        assert call("adapt", movie_file, "-o", output, "--model", tiny_card)[0] == 2
    assert mine.read_bytes() == before


def test_export_of_the_card_is_whole_before_the_checkpoint_goes(movie, known_camera, tiny_card, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise OSError("disk")

    monkeypatch.setattr("temlib.export.export", fails)
    with pytest.raises(OSError, match="disk"):
        adapt.adapt([movie], tmp_path / "own.json", model=tiny_card, steps=60, report=lambda line: None)
    assert (tmp_path / "own.ckpt").is_file()


@pytest.mark.parametrize("reason", ["moved", "segments"])
def test_frames_without_room_for_a_crop_are_refused_before_anything_is_drawn(
    movie, known_camera, tiny_card, tmp_path, monkeypatch, reason
):
    monkeypatch.setattr("temlib.long_training.field_library", lambda *a, **options: pytest.fail("was drawn"))
    if reason == "moved":
        # trained rows: 128 of 160, of which the pair shares 2
        movie, sentence = replace(movie, pairs=[(0, 1, (126, 0))]), "moved by up to 126 rows and 0 columns"
    else:
        monkeypatch.setattr(noise2noise, "CROP_PX", 8)  # 4 and 8 columns are no whole segments of 3, nor within one
        own = OwnCamera(1.0, np.array([20.0]), None, (80.0, 80.0), 3, False, False)
        monkeypatch.setattr("temlib.own_camera.fit_own_camera", lambda fields: own)
        sentence = "whole segments of 3 px"
    with pytest.raises(TemlibError, match=sentence):
        adapt.adapt([movie], tmp_path / "own.json", model=tiny_card, steps=2, report=lambda line: None)


def test_weights_that_are_kept_replace_an_earlier_adaptation_as_one(
    movie, known_camera, tiny_card, tmp_path, monkeypatch
):
    monkeypatch.setattr(noise2noise, "LEARNING_RATE", 0.0)
    export(PlainUNet(2, (4, 8), 1), tmp_path / "own.json", {"adapted_from": {}, "limits": "an earlier one"})
    before = {file.name: file.read_bytes() for file in tmp_path.glob("own*")}
    copy, copied = shutil.copyfile, []

    def fails(source, target):
        copied.append(target)
        copy(source, target)
        if len(copied) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(KeyboardInterrupt):
        adapt.adapt([movie], tmp_path / "own.json", model=tiny_card, steps=2, report=lambda line: None)
    assert len(before) == 4
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob("*partial*"))
