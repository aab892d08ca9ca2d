import os
import sys

import pytest

from temlib.networks import Network

# Dozens of kernels and commands are started: where Python is told to keep no bytecode, each would compile torch anew,
# which is more than half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


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
