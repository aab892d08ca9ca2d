"""From a trained network to what is shipped: safetensors, OpenVINO's files beside them, a card.

Needs torch and OpenVINO; `networks` loads the result without torch.
"""

import json
from pathlib import Path

import openvino
import torch
from safetensors.torch import save_file

from temlib.paths import whole_file
from temlib.plain_unet import gflop
from temlib.provenance import sha256


def export(network, card_file, card):
    """Write `<name>.safetensors`, `<name>.xml`, `<name>.bin` and last the card `<name>.json`.

    Parameters
    ----------
    network : plain_unet.PlainUNet
    card_file : path
        The card's path, `<name>.json`.
    card : dict
        What a user must know: training ranges, seed, versions, quality, limits.
    """
    card_file = Path(card_file)
    network = network.cpu().eval()
    with whole_file(card_file.with_suffix(".safetensors")) as partial:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, partial)
    example = torch.zeros(1, 1, network.stride_px, network.stride_px)
    model = openvino.convert_model(network, example_input=example, input=[(-1, 1, -1, -1)])
    openvino.save_model(model, card_file.with_suffix(".xml"), compress_to_fp16=True)
    files = [card_file.with_suffix(suffix) for suffix in (".safetensors", ".xml", ".bin")]
    card = {
        "architecture": {"stem": network.stem, "widths": list(network.widths), "depth": network.depth},
        "parameters": sum(p.numel() for p in network.parameters()),
        "gflop_512": round(gflop(network, 512), 2),
        "stride_px": network.stride_px,
        "halo_px": network.halo_px,
        "precision": "f32",
        **card,
        "sha256": {file.name: sha256(file) for file in files},
    }
    with whole_file(card_file) as partial:
        partial.write_text(json.dumps(card, indent=2) + "\n")
