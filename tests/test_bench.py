import json
import time

import numpy as np
import pytest

from temlib import bench, networks, runtimes
from temlib.camera import ONEVIEW_BIN8
from temlib.errors import ModelFileError
from temlib.networks import Network
from temlib.runtimes import Runtime

PARTS_MS = dict.fromkeys(bench.PARTS, 1.0)
FRAMES = np.ones((2, 8, 8), np.uint16)


def runtime(name, denoise=lambda counts: (counts, PARTS_MS)):
    return Runtime(name, "torch", "fp32", "a processor", 2, denoise)


def row(model, backend, precision, median_ms, threads=2):
    told = Runtime(model, backend, precision, "a processor", threads, None).told()
    return told | {"size": 8, "median_ms": median_ms, "parts_ms": PARTS_MS}


def test_quantiles_of_one_to_five_are_those_worked_out_by_hand():
    parts = [PARTS_MS | {"network": value} for value in (1.0, 9.0, 2.0, 8.0, 3.0)]
    found = bench.quantiles([5.0, 1.0, 4.0, 2.0, 3.0], parts)
    assert found["median_ms"] == 3
    assert found["p5_ms"] == pytest.approx(1.2)  # position 0.05 x 4 = 0.2, between 1 and 2
    assert found["p95_ms"] == pytest.approx(4.8)
    assert found["p99_ms"] == pytest.approx(4.96)
    assert found["parts_ms"] == {"normalise": 1, "transfer": 1, "network": 3, "return": 1}


def test_runtimes_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(bench, "SETTLE_MS", 0)
    calls = []

    def named(name):
        return lambda counts: (calls.append(name), PARTS_MS)

    bench.measure([runtime("a", named("a")), runtime("b", named("b"))], FRAMES, repeats=7)
    # a turn: one frame that settles, then five that are timed; the seventh repeat is the second of the second turn
    assert "".join(calls) == 6 * "a" + 6 * "b" + 3 * "a" + 3 * "b"


def test_a_runtime_that_sleeps_5_ms_takes_5_ms():
    def sleep(counts):
        time.sleep(0.005)
        return counts, PARTS_MS

    (found,) = bench.measure([runtime("a", sleep)], FRAMES, repeats=5)
    assert 5 <= found["median_ms"] < 20


def test_a_row_has_what_the_issue_asks_for():
    (found,) = bench.measure([runtime("a")], FRAMES, repeats=2)
    named = "model backend precision device threads size median_ms p5_ms p95_ms p99_ms parts_ms".split()
    assert list(found) == ["model", "backend", "precision", "device", "threads", "size", *named[6:]]
    assert list(found["parts_ms"]) == ["normalise", "transfer", "network", "return"]
    assert found["size"] == 8
    json.dumps(found)


def test_ratios_are_to_the_papers_network_in_eager_pytorch():
    rows = [
        row("paper", "torch", "fp32", 10.0, threads=None),  # on a GPU
        row("paper", "openvino", "int8", 37.5),
        row("paper", "torch", "fp32", 300.0),
    ]
    assert list(bench.with_ratios(rows).times_as_fast) == [30, 8, 1]


def test_without_the_reference_there_are_no_ratios():
    assert bench.with_ratios([row("best", "openvino", "fp32", 50.0)]).times_as_fast.isna().all()


@pytest.mark.parametrize("shape", [(8, 12), (7, 10)])
def test_what_is_timed_takes_counts_to_electrons(shape):
    counts = np.full(shape, 88, np.uint16)
    pattern = np.tile([[1.25, 0.75], [0.75, 1.25]], (6, 6)).astype(np.float32)  # of what a network makes of the film
    denoise = runtimes.with_clock(
        lambda frames: frames * pattern[: frames.shape[2], : frames.shape[3]], {"stride_px": 4, "halo_px": 0}
    )
    image, parts = denoise(counts)
    assert image.dtype == np.float32
    shown = pattern[: shape[0], : shape[1]]
    expected = 88 / ONEVIEW_BIN8.counts_per_e * shown / shown.mean()
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert list(parts) == list(bench.PARTS)


@pytest.mark.alone
def test_the_parts_are_those_of_the_network_and_of_what_is_around_it():
    def run(frames):
        time.sleep(0.02)
        return frames

    start = time.perf_counter()
    _, parts = runtimes.with_clock(run, {"stride_px": 4, "halo_px": 0})(np.ones((8, 12), np.uint16))
    total_ms = 1e3 * (time.perf_counter() - start)
    assert parts["network"] >= 20
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(total_ms, abs=1)


def test_simulated_frames_are_counts_at_the_dose():
    frames = runtimes.simulated_frames(n=2, size_px=64)
    assert (frames.shape, frames.dtype) == ((2, 64, 64), np.uint16)
    np.testing.assert_array_equal(frames, runtimes.simulated_frames(n=2, size_px=64))
    background = np.percentile(frames, 60)
    assert 0.3 * 4.5 * 44 < background < 2 * 4.5 * 44


def test_networks_that_are_not_shipped_yet_get_a_sentence_and_no_row(monkeypatch, tmp_path):
    monkeypatch.setattr(runtimes, "_installed", lambda package: False)
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    with pytest.raises(ModelFileError, match=r"extra \[paper\].*'best' is left out.*'fast' is left out"):
        runtimes.runtimes(8)


@pytest.fixture(scope="module")
def card_file(tmp_path_factory):
    """A small network with random weights, exported as a shipped one is."""
    torch = pytest.importorskip("torch", reason="the extra [paper] is not installed")
    pytest.importorskip("openvino")
    from temlib.export import export
    from temlib.plain_unet import PlainUNet

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "small.json"
    export(PlainUNet(stem=2, widths=(8, 16), depth=1), file, {})
    return file


def test_without_torch_a_card_still_runs_in_openvino(card_file, monkeypatch):
    monkeypatch.setattr(runtimes, "_installed", lambda package: False)
    found, left_out = runtimes.runtimes(16, threads=1, models=[card_file])
    assert {(one.model, one.backend) for one in found} == {("small", "openvino")}
    assert found[0].precision == "fp32"
    assert len(left_out) == 1 and "[paper]" in left_out[0]


def test_every_runtime_of_a_network_gives_the_same_image(card_file, monkeypatch):
    import openvino

    monkeypatch.setattr(runtimes, "_paper_network", lambda: None)
    monkeypatch.setattr(runtimes, "_in_openvino", lambda network, left_out: [])
    found, left_out = runtimes.runtimes(40, threads=1, models=[card_file])
    assert not left_out
    on_this_cpu = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    of_cpu = [(one.backend, one.precision) for one in found if one.threads]
    expected = [("torch", "fp32"), ("openvino", "fp32")] + [("openvino", "bf16")] * ("BF16" in on_this_cpu)
    assert of_cpu == expected
    counts = np.random.default_rng(0).integers(0, 400, (40, 40), np.uint16)
    images = [one.denoise(counts)[0].copy() for one in found]
    for image in images[1:]:
        assert image.dtype == np.float32
        # bfloat16 keeps 8 bits of a number
        assert np.abs(image - images[0]).max() < 0.03 * np.abs(images[0]).max()


def test_an_image_stays_what_it_is_when_the_next_frame_is_denoised(card_file, monkeypatch):
    monkeypatch.setattr(runtimes, "_paper_network", lambda: None)
    monkeypatch.setattr(runtimes, "_in_openvino", lambda network, left_out: [])
    found, _ = runtimes.runtimes(40, threads=1, models=[card_file])
    first, second = np.random.default_rng(0).integers(0, 400, (2, 40, 40), np.uint16)
    for one in found:
        image = one.denoise(first)[0]
        before = image.copy()
        one.denoise(second)
        np.testing.assert_array_equal(image, before, err_msg=f"{one.backend} {one.precision}")


def test_the_papers_network_is_the_reference_and_comes_first_in_fp32(monkeypatch):
    pytest.importorskip("segmentation_models_pytorch", reason="the extra [paper] is not installed")
    monkeypatch.setattr(runtimes, "_in_openvino", lambda network, left_out: [])
    found, _ = runtimes.runtimes(64, models=[])
    first = found[0]
    assert (first.model, first.backend, first.precision, first.threads) == ("paper", "torch", "fp32", 2)
    assert first.denoise(np.ones((64, 64), np.uint16))[0].shape == (64, 64)


def test_a_network_shipped_in_integers_is_timed_beside_single_precision_and_gives_nearly_the_same(
    tmp_path, monkeypatch
):
    pytest.importorskip("nncf", reason="the extra [dev] is not installed")
    from temlib.export import export
    from temlib.plain_unet import PlainUNet

    monkeypatch.setattr(runtimes, "_paper_network", lambda: None)
    monkeypatch.setattr(runtimes, "_in_openvino", lambda network, left_out: [])
    frames = runtimes.simulated_frames(n=2, size_px=64)
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    export(PlainUNet(stem=2, widths=(8, 16), depth=1), tmp_path / "small.json", {}, frames=frames)
    found, _ = runtimes.runtimes(64, threads=1, models=[tmp_path / "small.json"])
    by_precision = {(one.backend, one.precision): one for one in found if one.threads}
    assert {("torch", "fp32"), ("openvino", "int8"), ("openvino", "fp32")} <= set(by_precision)
    wanted, image = (by_precision["openvino", name].denoise(frames[0])[0].copy() for name in ("fp32", "int8"))
    assert np.sqrt(np.mean((image - wanted) ** 2)) < 0.2 * wanted.std()


def test_what_a_precision_costs_is_its_error_after_a_fit_over_that_of_single_precision():
    truth = np.stack([np.add.outer(np.arange(4.0), np.arange(6.0))] * 2)
    checks = np.where(np.indices((4, 6)).sum(0) % 2, 1.0, -1.0)  # along neither ramp

    def off_by(error):
        return lambda counts: (1.5 * (truth[0] + error * checks) + 0.2, {})

    found = [
        Runtime("small", "openvino", precision, "a processor", 2, off_by(error))
        for precision, error in {"int8": 0.02, "fp32": 0.01}.items()
    ]
    table = bench.losses(found, np.zeros((2, 4, 6), np.uint16), truth)
    assert list(table.loss_db) == pytest.approx([20 * np.log10(2), 0], abs=0.01)
    assert list(table.fitted_error_e) == pytest.approx([0.02, 0.01], rel=0.01)
    assert list(table.bias_e) == pytest.approx([0.5 * truth.mean() + 0.2] * 2)


def test_the_rows_are_kept_as_json(card_file, monkeypatch, tmp_path):
    monkeypatch.setattr(runtimes, "_installed", lambda package: False)
    monkeypatch.setattr(bench, "OVERLAPPING_S", 0.1)
    table, _, left_out = bench.bench(32, repeats=2, json_file=tmp_path / "rows.json", models=[card_file])
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [one["precision"] for one in rows] == list(table.precision)
    assert rows[0]["size"] == 32
    assert left_out


def test_two_frames_at_a_time_that_sleep_20_ms_are_100_a_second(monkeypatch):
    def slow(frame, network):
        time.sleep(0.02)
        return np.ones(frame.shape, np.float32)

    monkeypatch.setattr(bench, "denoise_image", slow)
    monkeypatch.setattr(bench, "load", lambda model, threads: Network(model, {}, None, "a processor"))
    (one,) = bench.overlapping(["fast"], FRAMES, threads=2, seconds=0.5)
    assert (one["model"], one["threads"], one["size"]) == ("fast", 2, 8)
    assert one["frames_per_s"] == pytest.approx(100, rel=0.2)
