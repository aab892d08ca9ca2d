import fcntl
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from temlib.networks import Network

# Dozens of kernels and commands are started: where Python is told to keep no bytecode, each would compile torch anew,
# which is more than half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items):
    """The smoke run first: it takes longest, and the other worker of `run_tests.sh` does the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test that is marked `alone` waits until the other worker's is over, and that worker for it."""
    with open(Path(__file__)) as held:
        fcntl.flock(held, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory):
    """Card of a network of a few weights, drawn at random and exported as the shipped ones are."""
    import torch

    from temlib.export import export
    from temlib.plain_unet import PlainUNet

    torch.manual_seed(3)
    card = tmp_path_factory.mktemp("card") / "tiny.json"
    export(PlainUNet(stem=2, widths=(4, 6), depth=1), card, {"limits": "for tests only"})
    return card


@pytest.fixture
def untouched():
    """A network that gives back what it gets, so that files can be compared with what was put into them."""
    return Network("untouched", {"stride_px": 4, "halo_px": 4, "limits": "none"}, lambda frames: frames, "CPU")


@pytest.fixture
def exact_pixel():
    """What a pixel that is cut at zero reads, by FFT: of the electrons that it expects its likelihood tells
    `information`, its mean alone `of_mean`, and this is `mean` [e-].

    Electrons come by Poisson, each a pulse of a gamma distribution, and the readout adds normal noise; no blur.
    """

    def pixel(electrons, camera):
        step, n = 2.0, 2**13  # counts
        counts = step * (np.arange(n) - n // 4)
        frequency = 2 * np.pi * np.fft.fftfreq(n, step)
        scale = camera.counts_per_e / camera.pulse_shape
        pulse = (1 - 1j * frequency * scale) ** -camera.pulse_shape  # characteristic functions
        noise_counts = np.hypot(camera.white_counts, camera.segment_counts)
        all_of_it = np.exp(electrons * (pulse - 1) - (noise_counts * frequency) ** 2 / 2)
        shift = np.exp(-1j * frequency * counts[0])
        density, slope = (np.fft.fft(of * shift).real / n for of in (all_of_it, all_of_it * (pulse - 1)))
        seen, cut = (counts > 0) & (density > 1e-13), counts <= 0
        exact = np.sum(slope[seen] ** 2 / density[seen]) + slope[cut].sum() ** 2 / density[cut].sum()
        read = np.maximum(counts, 0)
        mean, square = np.sum(density * read), np.sum(density * read**2)
        of_mean = np.sum(slope * read) ** 2 / (square - mean**2)
        return {"information": exact, "of_mean": of_mean, "mean": mean / camera.counts_per_e}

    return pixel
