import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra [paper] is not installed")
import torch

from temlib.inference import denoise_image
from temlib.latency import (
    beside_paper,
    continued,
    latency_table,
    on_gpu,
    relative_to_level,
    summary,
    waiting_times_ms,
)
from temlib.networks import Network
from temlib.plain_unet import PlainUNet
from temlib.reference import paper_table

CPU = torch.device("cpu")


class Sleeper(torch.nn.Module):
    """Takes a known time for every frame, and counts them."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.frames = seconds, 0

    def forward(self, frame):
        time.sleep(self.seconds)
        self.frames += 1
        return frame


def test_a_network_that_sleeps_5_ms_has_a_waiting_time_of_at_least_5_ms():
    times = waiting_times_ms(Sleeper(0.005), np.zeros((4, 6), "f4"), CPU, repeats=5, warmup=0, transfer=False)
    assert times.min() >= 5
    assert np.median(times) < 50


def test_frames_of_the_warm_up_pass_the_network_and_are_not_timed():
    network = Sleeper(0)
    times = waiting_times_ms(network, np.zeros((4, 6), "f4"), CPU, repeats=7, warmup=3, transfer=True)
    assert len(times) == 7
    assert network.frames == 10


def test_summary_of_one_to_five_is_the_one_worked_out_by_hand():
    found = summary(np.array([5.0, 1.0, 4.0, 2.0, 3.0]))
    assert found["mean_ms"] == 3
    assert found["median_ms"] == 3
    assert found["sd_ms"] == pytest.approx(2.5**0.5)  # (4 + 1 + 0 + 1 + 4) / (5 - 1)
    assert found["p95_ms"] == pytest.approx(4.8)  # position 0.95 x 4 = 3.8, between 4 and 5


def test_a_cpu_gets_one_timed_row_and_an_empty_one_for_the_transfer_it_does_not_need():
    table = latency_table(Sleeper(0), size_px=8, repeats=3, warmup=1, on_devices=[CPU])
    assert list(table.measure) == ["calculation", "with transfer"]
    assert list(table.mean_ms.notna()) == [True, False]
    assert (table.kind == "CPU").all()
    assert (table.threads == torch.get_num_threads()).all()


def test_only_processors_that_exist_get_a_row():
    kinds = latency_table(Sleeper(0), size_px=8, repeats=2, warmup=0).kind
    gpus = torch.cuda.device_count() + torch.backends.mps.is_available()
    assert (kinds == "GPU").sum() == 2 * gpus


def test_the_papers_8_ms_keep_up_with_125_frames_per_second_and_not_with_300():
    measured = latency_table(Sleeper(0), size_px=8, repeats=2, warmup=0, on_devices=[CPU])
    table = beside_paper(measured, paper_table("table_3_latency"))
    rtx = table[(table.processor == "NVIDIA Quadro RTX 8000") & (table.measure == "with transfer")].iloc[0]
    assert rtx.frames_per_s == pytest.approx(125)
    assert (rtx.reaches_25_fps, rtx.reaches_125_fps, rtx.reaches_300_fps) == (True, True, False)


def test_rates_are_left_empty_where_nothing_was_timed():
    measured = latency_table(Sleeper(0), size_px=8, repeats=2, warmup=0, on_devices=[CPU])
    table = beside_paper(measured, paper_table("table_3_latency"))
    assert table[table.mean_ms.isna()].reaches_25_fps.isna().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_with_transfer_waits_longer_than_without():
    network = torch.nn.Conv2d(1, 8, 3, padding=1).cuda()
    network = torch.nn.Sequential(network, torch.nn.Conv2d(8, 1, 1).cuda())
    frame, gpu = np.zeros((512, 512), "f4"), torch.device("cuda", 0)
    alone = waiting_times_ms(network, frame, gpu, repeats=50, warmup=10, transfer=False)
    with_transfer = waiting_times_ms(network, frame, gpu, repeats=50, warmup=10, transfer=True)
    assert np.median(with_transfer) > np.median(alone)


def test_a_gpu_reads_counts_as_denoise_image_does():
    counts = np.random.default_rng(0).integers(0, 400, (7, 10), np.uint16)
    counts[2, 3] = 65535  # above 32767, where the bits of uint16 are those of a negative int16; and saturated
    places = [torch.from_numpy(continued(n, 4)) for n in counts.shape]
    relative, level = relative_to_level(torch.from_numpy(counts.view(np.int16)), 1 / 44, places)
    given = []
    card = {"stride_px": 4, "halo_px": 0}
    network = Network(name="", card=card, run=lambda frames: given.append(frames) or frames.copy(), device="CPU")
    image = denoise_image(counts * np.float32(1 / 44), network)
    np.testing.assert_allclose(relative.numpy(), given[0], rtol=1e-5)
    np.testing.assert_allclose((relative * level)[0, 0, :7, :10].numpy(), image, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("half", "error"), [(False, 0.002), (True, 0.02)])
def test_a_recorded_graph_gives_what_the_cpu_gives_for_every_frame(half, error):
    torch.manual_seed(0)
    network = PlainUNet(stem=2, widths=(8, 16), depth=1).eval()
    card = {"stride_px": 4, "halo_px": 0}

    def run(frames):
        with torch.inference_mode():
            return network(torch.from_numpy(frames)).numpy()

    denoise = on_gpu(network, stride_px=4, scale=1 / 44, shape=(70, 101), half=half)
    for seed, brightest in enumerate((400, 4000, 65535)):
        counts = np.random.default_rng(seed).integers(0, brightest, (70, 101), np.uint16)
        image, parts = denoise(counts)
        expected = denoise_image(counts / np.float32(44), Network(name="", card=card, run=run, device="CPU"))
        assert np.abs(image - expected).max() < error * np.abs(expected).max()
        assert set(parts) == {"normalise", "transfer", "network", "return"}
        assert min(parts.values()) > 0
    assert next(network.parameters()).device == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_recorded_graph_keeps_its_weights_when_others_take_memory():
    torch.manual_seed(0)
    network = PlainUNet(stem=2, widths=(8, 16), depth=1).eval()
    counts = np.random.default_rng(0).integers(0, 400, (64, 96), np.uint16)
    way = {"stride_px": 4, "scale": 1 / 44, "shape": counts.shape, "half": False}
    denoise = on_gpu(network, **way)
    before, _ = denoise(counts)
    on_gpu(network, **way)  # a recording gives back memory that nobody holds
    torch.full((2**26,), float("nan"), device="cuda")
    np.testing.assert_array_equal(denoise(counts)[0], before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_saturated_pixel_does_not_blank_an_image_in_half_precision():
    torch.manual_seed(0)
    network = PlainUNet(stem=2, widths=(8, 16), depth=1).eval()
    counts = np.random.default_rng(0).poisson(1.0, (64, 96)).astype(np.uint16)
    counts[20, 30] = 65535
    denoise = on_gpu(network, stride_px=4, scale=1.0, shape=counts.shape, half=True)
    assert np.isfinite(denoise(counts)[0]).all()
