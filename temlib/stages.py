"""The stages of a built U-Net, as a forward pass meets them.

Knows the module names of segmentation-models-pytorch's U-Net with a ResNet encoder; what
each stage is given and gives back is recorded, not assumed.
"""

import pandas as pd
import torch

STEM = ("conv1", "bn1", "relu")


def stage_table(network, size_px):
    """One row for every block that an image passes, in order.

    Parameters
    ----------
    network : segmentation_models_pytorch.Unet
        With a ResNet encoder; left as it was, on the device where it is.
    size_px : int or tuple of int
        Edge of a square input or its (rows, columns) [px]; multiples of 32.

    Returns
    -------
    pandas.DataFrame
        `stage` (input, encoder, decoder, head), `block`, `channels`, `rows` and `cols` [px] of
        what leaves the block, its trainable `parameters`, and in `skip_from` the encoder block
        whose output a decoder block is handed directly ("" where there is none).
    """
    rows, cols = (size_px, size_px) if isinstance(size_px, int) else size_px
    device = next(network.parameters()).device
    blocks = _blocks(network)
    outputs, table, hooks = {}, [("input", "frame", 1, rows, cols, 0, "")], []

    def note(stage, block, modules):
        def hook(module, positional, named, output):
            skip = named.get("skip_connection")
            skip_from = next((name for name, kept in outputs.items() if kept is skip), "")
            outputs[block] = output
            count = sum(p.numel() for m in modules for p in m.parameters())
            table.append((stage, block, *output.shape[1:], count, skip_from))

        return hook

    for (stage, block), modules in blocks.items():
        hook = note(stage, block, modules)
        hooks.append(modules[-1].register_forward_hook(hook, with_kwargs=True))
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 1, rows, cols, device=device))
    finally:
        network.train(was_training)
        for handle in hooks:
            handle.remove()
    return pd.DataFrame(table, columns="stage block channels rows cols parameters skip_from".split())


def _blocks(network):
    """(stage, block) -> modules; the last module's output is the block's."""
    encoder, decoder = network.encoder, network.decoder
    blocks = {("encoder", "stem"): [getattr(encoder, name) for name in STEM]}
    for number in range(1, 5):
        blocks["encoder", f"layer {number}"] = [getattr(encoder, f"layer{number}")]
    for number, block in enumerate(decoder.blocks, start=1):
        blocks["decoder", f"block {number}"] = [block]
    blocks["head", "3x3 convolution"] = [network.segmentation_head]
    return blocks
