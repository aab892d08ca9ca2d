"""The shipped networks on this machine: a card, and what runs it. Needs no torch.

A network maps frames relative to the level of their film to the transmission, on the same scale.
OpenVINO runs it on a CPU; where torch and a CUDA GPU are there, torch does.
"""

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from temlib.errors import ModelFileError
from temlib.provenance import sha256

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("best", "fast")


@dataclass(frozen=True)
class Network:
    """A loaded network.

    Attributes
    ----------
    name : str
        Of its card.
    card : dict
        Architecture, training ranges, quality and limits.
    run : callable
        float32 frames relative to their level, shape (n, 1, M, N) with edges that are multiples of
        `card["stride_px"]`, to the same shape; what it gives may be changed by the caller.
    device : str
        What computes.
    card_sha256 : str
        Of the card's file.
    """

    name: str
    card: dict
    run: Callable
    device: str
    card_sha256: str = ""


def load(model="best", *, threads=None):
    """A shipped network, or the one that a card describes.

    Parameters
    ----------
    model : str or path
        "best", "fast", or a card (.json) with its weights beside it.
    threads : int, optional
        Of the CPU; all cores by default.

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        If there is no such network, or its files are missing, damaged or do not belong together.
    """
    card_file = WEIGHTS / f"{model}.json" if str(model) in SHIPPED else Path(model)
    if str(model) in SHIPPED and not card_file.is_file():
        raise ModelFileError(f"This version of temlib has no weights of {model!r}: give the path of a card (.json).")
    if card_file.suffix != ".json" or not card_file.is_file():
        raise ModelFileError(
            f"There is no network {str(model)!r}: give {' or '.join(SHIPPED)}, or the path of a card (.json)."
        )
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        files = {card_file.with_name(name): expected for name, expected in card["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{card_file.name} is no card of a network ({type(error).__name__}: {error}): bring the card that was "
            "written with the weights."
        ) from error
    for file, expected in files.items():
        if not file.is_file() or sha256(file) != expected:
            raise ModelFileError(
                f"{file.name} {'is not the file that' if file.is_file() else 'is missing, which'} {card_file.name} "
                "names: bring card and weights of one training together."
            )
    if _has_cuda():
        return _on_gpu(card_file, card)
    return _on_cpu(card_file, card, threads)


def _has_cuda():
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def requests(model, *, threads, precision="f32"):
    """OpenVINO's requests to run a network on the CPU, one for each shape of frames.

    A network that is compiled for one shape runs small frames a fifth faster than one for any shape.

    Parameters
    ----------
    model : openvino.Model
    threads : int
    precision : str
        OpenVINO's hint: "f32" or "bf16"; integers in the model stay integers.

    Returns
    -------
    callable
        shape (n, 1, M, N) -> openvino.InferRequest, kept for the next frame of that shape.
    """
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,  # else bf16 is taken wherever the processor has it
    }

    @lru_cache(maxsize=16)
    def request_for(shape):
        fixed = model.clone()
        fixed.reshape(shape)
        return openvino.Core().compile_model(fixed, "CPU", options).create_infer_request()

    return request_for


def _on_cpu(card_file, card, threads):
    import openvino

    model = openvino.Core().read_model(card_file.with_suffix(".xml"))
    request_for = requests(model, threads=threads or os.cpu_count())

    def run(frames):
        request = request_for(frames.shape)
        request.infer({0: np.ascontiguousarray(frames, np.float32)}, share_inputs=True)
        return request.get_output_tensor().data.copy()

    return Network(card_file.stem, card, run, "CPU", sha256(card_file))


def _on_gpu(card_file, card):
    import torch
    from safetensors.torch import load_file

    from temlib.plain_unet import PlainUNet

    network = PlainUNet(**card["architecture"])
    network.load_state_dict(load_file(card_file.with_suffix(".safetensors")))
    network = network.eval().half().cuda().to(memory_format=torch.channels_last)

    def run(frames):
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames)).cuda().half()
            return network(batch.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()

    return Network(card_file.stem, card, run, torch.cuda.get_device_name(), sha256(card_file))
