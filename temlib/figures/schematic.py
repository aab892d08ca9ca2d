"""Figure 1: the network as a U, every box from what really passes through it."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from temlib.figures import COLOURS, PAGE_WIDTH_IN
from temlib.stages import stage_table

FILLS = {"input": "#DDDDDD", "encoder": "#9CC7E3", "decoder": "#F2B58B", "head": "#DDDDDD"}
HALF_HEIGHT = 0.24


def schematic(network, size_px):
    """Draw the rows of `stage_table(network, size_px)`: down the encoder, up the decoder, skips across.

    One level down halves the edge; a box holds the number of channels and is as wide as its
    logarithm; beside it stand the block's name and the size of what leaves it.
    """
    figure, axes = plt.subplots(figsize=(PAGE_WIDTH_IN, 3.7))
    stages = stage_table(network, size_px)
    stages = stages.assign(level=np.log2(stages.rows.iloc[0] / stages.rows).round().astype(int))
    deepest = stages.level.max()
    boxes = {}
    for stage in stages.itertuples():
        downwards = stage.stage in ("input", "encoder")
        x = stage.level - deepest if downwards else deepest - stage.level
        boxes[stage.block] = _box(axes, stage, x + 1.5 * (stage.stage == "head"), -stage.level)

    order = list(boxes.values())
    for before, after in pairwise(order):
        _arrow(axes, *_ends(before, after), color="0.25")
    skips = stages[stages.skip_from != ""]
    for skip in skips.itertuples():
        (x0, y, half0), (x1, _, half1) = boxes[skip.skip_from], boxes[skip.block]
        _arrow(axes, (x0 + half0, y), (x1 - half1, y), color=COLOURS["filter"], linestyle=(0, (4, 2)))
    axes.text(
        0,
        -skips.level.min() + 0.06,
        "skip connections (numbers in the boxes: channels)",
        color=COLOURS["filter"],
        ha="center",
        va="bottom",
    )

    for stage, side in (("encoder", -1), ("decoder", 1)):
        millions = stages.loc[stages.stage == stage, "parameters"].sum() / 1e6
        text = f"{stage}\n{millions:.1f} million parameters"
        axes.text(side * 4.4, -deepest + 0.3, text, ha="center", va="center", fontsize=9)
    axes.set(xlim=(-deepest - 1.5, deepest + 2.8), ylim=(-deepest - 0.5, 0.9))
    axes.axis("off")
    return figure


def _box(axes, stage, x, y):
    """Draw what leaves one block; returns its centre and half its width."""
    half_width = 0.11 + 0.045 * np.log2(stage.channels)
    corner = (x - half_width, y - HALF_HEIGHT)
    axes.add_patch(plt.Rectangle(corner, 2 * half_width, 2 * HALF_HEIGHT, fc=FILLS[stage.stage], ec="0.25", lw=0.8))
    axes.text(x, y, stage.channels, ha="center", va="center", fontsize=7)
    name = "output" if stage.stage == "head" else stage.block
    label = f"{name}\n{stage.rows} × {stage.cols}"
    if stage.level == 0:
        axes.text(x, y + HALF_HEIGHT + 0.08, label, ha="center", va="bottom", fontsize=6.5)
    elif stage.stage == "encoder":
        axes.text(x - half_width - 0.1, y, label, ha="right", va="center", fontsize=6.5)
    else:
        axes.text(x + half_width + 0.1, y, label, ha="left", va="center", fontsize=6.5)
    return x, y, half_width


def _ends(before, after):
    """Where the arrow between two boxes starts and stops: level from side to side, else top to bottom."""
    (x0, y0, half0), (x1, y1, half1) = before, after
    if y0 == y1:
        return (x0 + half0, y0), (x1 - half1, y1)
    towards = np.sign(y1 - y0) * HALF_HEIGHT
    return (x0, y0 + towards), (x1, y1 - towards)


def _arrow(axes, start, stop, *, color, linestyle="-"):
    look = {"arrowstyle": "-|>", "color": color, "linestyle": linestyle, "lw": 1, "shrinkA": 1, "shrinkB": 0}
    axes.annotate("", stop, start, arrowprops=look)
