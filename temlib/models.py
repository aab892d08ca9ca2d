"""Build, save, load and run the paper's network: weights as safetensors, everything else in a JSON card.

Nothing that is loaded can run code. Knows nothing of data and training.
"""

import json
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from temlib.errors import ModelFileError
from temlib.paths import whole_file
from temlib.preprocess import network_input

STRIDE_PX = 32  # the encoder halves five times


def build_unet(encoder_weights="random", architecture="Unet"):
    """The paper's network: `smp.Unet("resnet18", in_channels=1)`, one output channel, no activation.

    Parameters
    ----------
    encoder_weights : str
        "random"; "imagenet", fetched once, and random where it cannot be had; or the path of
        a ResNet-18 state dict (`.pth` or `.safetensors`) with a three-channel first layer.
    architecture : str
        Another decoder of segmentation_models.pytorch on that encoder, by its name there: "FPN".

    Returns
    -------
    network : torch.nn.Module
    used : str
        What the encoder really started from, for log and card.

    Raises
    ------
    ModelFileError
        If a local weights file is missing or is no ResNet-18.
    """
    build = getattr(smp, architecture)
    if encoder_weights == "imagenet":
        try:
            return build("resnet18", in_channels=1, encoder_weights="imagenet"), "imagenet"
        except Exception as error:  # any failure of hub, network or cache ends in the same fallback, which is named
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            used = f"random (ImageNet weights could not be had: {type(error).__name__}: {reason})"
            return build("resnet18", in_channels=1, encoder_weights=None), used
    network = build("resnet18", in_channels=1, encoder_weights=None)
    if encoder_weights != "random":
        network.encoder = _encoder_from_file(Path(encoder_weights))
        return network, f"file {Path(encoder_weights).name}"
    return network, "random"


def _encoder_from_file(path):
    encoder = smp.encoders.get_encoder("resnet18", in_channels=3, depth=5, weights=None)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        encoder.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
    except (OSError, RuntimeError, SafetensorError, UnpicklingError, ValueError, AttributeError, EOFError) as error:
        raise ModelFileError(
            f"encoder_weights: {path} is no ResNet-18 state dict ({type(error).__name__}): give a .pth or "
            '.safetensors file as torchvision writes it, or "imagenet" or "random".'
        ) from error
    encoder.set_in_channels(1, pretrained=True)  # sums the three colours of the first layer
    return encoder


def save_network(network, path, card):
    """Write `<path>.safetensors` and its card `<path>.json`.

    Parameters
    ----------
    network : torch.nn.Module
    path : path
        Without suffix.
    card : dict
        Architecture, mode and what a user must know; JSON values.
    """
    weights = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    path = Path(path)
    with whole_file(path.with_name(path.name + ".safetensors")) as partial:
        save_file(weights, partial)
    with whole_file(path.with_name(path.name + ".json")) as partial:
        partial.write_text(json.dumps(card, indent=2) + "\n")


def load_network(card_path):
    """Network in evaluation mode, and its card.

    Raises
    ------
    ModelFileError
        If card or weights are missing, damaged, or do not belong together.
    """
    card_path = Path(card_path)
    try:
        card = json.loads(card_path.read_text())
        weights = load_file(card_path.with_suffix(".safetensors"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{Path(error.filename or card_path).name} is missing: a network needs its card (.json) and its weights "
            "(.safetensors) in one folder; run notebook 03_training to make them."
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFileError(
            f"{card_path.stem}: card or weights are damaged ({error}): delete both files and train again."
        ) from error
    network, _ = build_unet("random")
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(
            f"{card_path.stem}: the weights do not fit the network of the card ({card.get('architecture')}): "
            "bring card and weights of the same training together."
        ) from error
    return network.eval(), card


class RelativeToFilm(torch.nn.Module):
    """A network of corrected mode, as `temlib denoise` runs networks: frames relative to their film in and out."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, frames):
        """(n, 1, M, N) to the same shape."""
        return 1 + self.network(frames - 1)


def run_network(network, lde_e, background_e, *, mode):
    """Denoise the LDE frames of one field.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    lde_e : ndarray of shape (n, M, N)
        LDE frames [e-/px]; any M and N (padded by reflection to what the network can halve).
    background_e : ndarray of shape (n,)
        Background level of each frame [e-/px].
    mode : {"corrected", "faithful"}
        How the network was trained.

    Returns
    -------
    ndarray of float32, shape (n, M, N)
        Transmission (corrected), or the authors' scale from 0 to 1 (faithful).
    """
    rows, cols = lde_e.shape[1:]
    pad = [(0, -n % STRIDE_PX) for n in (rows, cols)]
    device = next(network.parameters()).device
    outputs = []
    with torch.inference_mode():
        for lde, background in zip(lde_e, background_e, strict=True):
            frame = np.pad(network_input(lde, background, mode), pad, mode="reflect").astype(np.float32)
            output = network(torch.from_numpy(frame)[None, None].to(device))[0, 0].cpu().numpy()
            outputs.append(output[:rows, :cols] + (1 if mode == "corrected" else 0))
    return np.stack(outputs).astype(np.float32)
