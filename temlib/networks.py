"""The shipped networks on this machine: a card, and what runs it. Needs no torch.

A network maps frames relative to the level of their film to the transmission, on the same scale.
OpenVINO runs it on a CPU; where torch and a CUDA GPU are there, torch does.
"""

import importlib.util
import json
import math
import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from temlib.errors import ModelFileError
from temlib.provenance import sha256

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("best", "fast")
NEEDED = ("stride_px", "halo_px", "sha256")  # of a card
SHAPES = 2  # for which a network stays compiled; one of 1536 x 1536 takes half a gigabyte
LARGEST_HALF = (
    100.0  # of what a network is given in half precision, whose numbers end at 65504: film is 1, hits some 30
)


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
    precision : str
        In which it does.
    card_sha256 : str
        Of the card's file.
    """

    name: str
    card: dict
    run: Callable
    device: str
    precision: str = "fp32"
    card_sha256: str = ""


def load(model="best", *, threads=None, with_gpu=True):
    """A shipped network, or the one that a card describes.

    Parameters
    ----------
    model : str or path
        "best", "fast", or a card (.json) with its weights beside it.
    threads : int, optional
        Of the CPU; all cores by default.
    with_gpu : bool
        Whether a GPU computes where there is one. Not so in the many processes of a pool, each of which would take
        memory of its own there.

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        If there is no such network, or its files are missing, damaged or do not belong together.
    """
    card_file, card = read_card(model)
    if with_gpu and _has_cuda() and "architecture" in card:  # of other networks there is OpenVINO's file alone
        try:
            return _on_gpu(card_file, card)
        except RuntimeError as error:  # an old GPU for which this torch has no code, or one whose memory is full
            warnings.warn(f"the GPU cannot be used ({error!s:.100}): the CPU computes", stacklevel=2)
    return _on_cpu(card_file, card, threads)


def read_card(model):
    """The card of a network, whose files are all there and as it names them.

    Parameters
    ----------
    model : str or path
        As for `load`.

    Returns
    -------
    card_file : Path
    card : dict

    Raises
    ------
    ModelFileError
        If there is no such network, or its files are missing, damaged or do not belong together.
    """
    card_file = card_path(model)
    if str(model) in SHIPPED and not card_file.is_file():
        raise ModelFileError(f"This version of temlib has no weights of {model!r}: give the path of a card (.json).")
    if card_file.suffix != ".json" or not card_file.is_file():
        raise ModelFileError(
            f"There is no network {str(model)!r}: give {' or '.join(SHIPPED)}, or the path of a card (.json)."
        )
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        if missing := [key for key in NEEDED if key not in card]:
            raise ValueError(f"without {', '.join(missing)}")
        files = {card_file.with_name(name): expected for name, expected in card["sha256"].items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{card_file.name} is no card of a network ({error}): bring the card that was written with the weights."
        ) from error
    for file, expected in files.items():
        if not file.is_file() or sha256(file) != expected:
            raise ModelFileError(
                f"{file.name} {'is not the file that' if file.is_file() else 'is missing, which'} {card_file.name} "
                "names: bring card and weights of one training together."
            )
    return card_file, card


def unlike_learnt(card, *, pixel_size_nm, dose_e_per_px):
    """What of a frame lies outside of what a network has learnt from.

    Parameters
    ----------
    card : dict
    pixel_size_nm, dose_e_per_px : float or None
        Of the frame; None if it is not known.

    Returns
    -------
    list of str
        A sentence, or none.
    """
    learnt, told = card.get("learnt_from") or {}, []
    for name, value, words in (
        ("pixel_size_nm", pixel_size_nm, "pixels of {:.3g} nm"),
        ("dose_e_per_px", dose_e_per_px, "a dose of {:.3g} e-/px"),
    ):
        low, high = learnt.get(name, (-math.inf, math.inf))
        if value is not None and not low <= value <= high:
            told.append(f"{words.format(value)}, of which the network knows {low:g} to {high:g}")
    return [f"it has {' and '.join(told)}: compare with the raw frame"] if told else []


def card_path(model):
    """The card of a shipped network, or the one that is given; it need not be there."""
    return WEIGHTS / f"{model}.json" if str(model) in SHIPPED else Path(model)


def weights_file(card_file, card, suffix):
    """The file with some suffix that a card names, beside it.

    Raises
    ------
    ModelFileError
        If the card names none.
    """
    for name in card["sha256"]:
        if name.endswith(suffix):
            return card_file.with_name(name)
    raise ModelFileError(
        f"{card_file.name} names no {suffix} file, which this machine needs: bring card and weights of one training "
        "together."
    )


@contextmanager
def _of_this_version(file):
    """Turn what a runtime fails with on weights into one sentence."""
    try:
        yield
    except Exception as error:  # each of torch, safetensors and OpenVINO has its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelFileError(
            f"{file.name} cannot be loaded ({reason:.200}): weights of this version of temlib are needed. Bring a card "
            "of this version, with its weights."
        ) from error


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
        shape (n, 1, M, N) -> openvino.InferRequest; that of the last SHAPES shapes is kept for the next frame.
    """
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # else two networks of one thread each share one core
        "INFERENCE_PRECISION_HINT": precision,  # else bf16 is taken wherever the processor has it
    }

    @lru_cache(maxsize=SHAPES)
    def request_for(shape):
        fixed = model.clone()
        fixed.reshape(shape)
        return openvino.Core().compile_model(fixed, "CPU", options).create_infer_request()

    return request_for


def infer(request_for, frames):
    """Frames through a network in OpenVINO: what it gives is the caller's, as the next frame writes over a request's.

    Parameters
    ----------
    request_for : callable
        Of `requests`.
    frames : ndarray of shape (n, 1, M, N)

    Returns
    -------
    ndarray of float32, shape (n, 1, M, N)
    """
    request = request_for(frames.shape)
    request.infer({0: np.ascontiguousarray(frames, np.float32)}, share_inputs=True)
    return request.get_output_tensor().data.copy()


def _on_cpu(card_file, card, threads):
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # else an adaptation would write into the weights that are in use
    graph, weights = (weights_file(card_file, card, suffix) for suffix in (".xml", ".bin"))
    with _of_this_version(graph):
        model = core.read_model(graph, weights)
    run = partial(infer, requests(model, threads=threads or os.cpu_count()))
    return Network(card_file.stem, card, run, "CPU", card.get("precision", "fp32"), sha256(card_file))


def as_module(model):
    """A network as a torch module, in evaluation mode: in further training, batch normalisation keeps its statistics.

    Parameters
    ----------
    model : str or path
        As for `load`. A card without an architecture is of the paper's network.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelFileError
        As `load`, or if the weights are of another kind of network.
    """
    from safetensors.torch import load_file

    from temlib.plain_unet import PlainUNet

    card_file, card = read_card(model)
    weights = weights_file(card_file, card, ".safetensors")
    with _of_this_version(weights):
        if "architecture" in card:
            network = PlainUNet(**card["architecture"])
        else:  # only this one needs what the extra [paper] brings
            from temlib.models import build_unet

            network = build_unet("random")[0]
        network.load_state_dict(load_file(weights))
    return network.eval()


def _on_gpu(card_file, card):
    import torch

    network = as_module(card_file)
    network = network.half().cuda().to(memory_format=torch.channels_last)

    def run(frames):
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames)).cuda()
            batch = batch.clamp(-LARGEST_HALF, LARGEST_HALF).half().contiguous(memory_format=torch.channels_last)
            return network(batch).float().cpu().numpy()

    run(np.ones((1, 1, card["stride_px"], card["stride_px"]), np.float32))  # what cannot be used fails here
    return Network(card_file.stem, card, run, torch.cuda.get_device_name(), "fp16", sha256(card_file))


def in_torch(network, card):
    """A torch module as a `Network` that eager PyTorch runs where its weights are.

    Parameters
    ----------
    network : torch.nn.Module
        Of frames (n, 1, M, N) relative to their level.
    card : dict
        stride_px and halo_px.
    """
    import torch

    device = next(network.parameters()).device

    def run(frames):
        with torch.inference_mode():
            return network(torch.from_numpy(frames).to(device)).float().cpu().numpy()

    return Network("", card, run, str(device))
