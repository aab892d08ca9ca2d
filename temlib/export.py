"""From a trained network to what is shipped: safetensors, OpenVINO's files beside them, a card.

Needs torch, OpenVINO and, for integers, nncf; `networks` loads the result without torch.
"""

import json
import logging
import sys
import warnings
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import save_file

from temlib.film import film_level
from temlib.paths import whole_file
from temlib.plain_unet import PlainUNet, gflop
from temlib.provenance import sha256

HIT = 10.0  # in units of the film's level: what is brighter, X-ray hits, would stretch the integers' ranges


def export(network, card_file, card, *, frames=None):
    """Write `<name>.safetensors`, `<name>.xml`, `<name>.bin` and the card `<name>.json`.

    All are whole before any takes its name, the card the last, so a failure leaves what was there as it was.

    Parameters
    ----------
    network : plain_unet.PlainUNet or other torch.nn.Module
        Its weights are stored in half precision, and whatever else is written has these.
    card_file : path
        The card's path, `<name>.json`.
    card : dict
        What a user must know: training ranges, seed, versions, quality, limits; of a network that is no PlainUNet
        also stride_px and halo_px.
    frames : ndarray of shape (n, M, N), optional
        Counts or electrons. If given, OpenVINO's files compute in 8-bit integers, in the ranges
        that these frames need; edges must be multiples of the network's stride.
    """
    card_file = Path(card_file)
    network = network.cpu().eval().half().float()
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    model = converted(network)
    if frames is not None:
        model = quantised(model, frames)
    shape = {}
    if isinstance(network, PlainUNet):
        shape = {
            "architecture": {"stem": network.stem, "widths": list(network.widths), "depth": network.depth},
            "gflop_512": round(gflop(network, 512), 2),
            "stride_px": network.stride_px,
            "halo_px": network.halo_px,
        }
    card = {
        **shape,
        "parameters": sum(p.numel() for p in network.parameters()),
        "precision": "fp32" if frames is None else "int8",
        "normalisation": "frames over temlib.film.film_level; what comes out, times the level and film_scale",
        **card,
    }
    names = [card_file.with_suffix(suffix) for suffix in (".safetensors", ".xml", ".bin")]
    with ExitStack() as stack:  # what is entered first takes its name last
        whole_card, *files = (stack.enter_context(whole_file(name)) for name in (card_file, *names))
        save_file({name: t.half() if t.is_floating_point() else t for name, t in state.items()}, files[0])
        openvino.save_model(model, files[1], compress_to_fp16=True)  # the .bin goes beside the .xml
        card["sha256"] = {name.name: sha256(file) for name, file in zip(names, files, strict=True)}
        whole_card.write_text(json.dumps(card, indent=2) + "\n")


def converted(network):
    """A PyTorch network of frames (n, 1, M, N) as a model of OpenVINO, for any number and size."""
    example = torch.zeros(1, 1, 64, 64)
    with warnings.catch_warnings(action="ignore"):  # that torch.jit.trace is old
        return openvino.convert_model(network, example_input=example, input=[(-1, 1, -1, -1)])


def quantised(model, frames):
    """A model of OpenVINO in 8-bit integers, their ranges taken from its activations on some frames.

    Parameters
    ----------
    model : openvino.Model
        Of frames relative to their level, shape (1, 1, M, N).
    frames : ndarray of shape (n, M, N)
        Counts or electrons.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a CUDA that nobody needs
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    relative = [np.minimum(frame / film_level(frame), HIT)[None, None] for frame in frames.astype("float32")]
    # by histograms: by extremes, fast lost 0.4 dB at 4.5 electrons a pixel, and 1.2 dB at 1.5
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
    )
    with redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(model, nncf.Dataset(relative), subset_size=len(relative), advanced_parameters=ranges)
