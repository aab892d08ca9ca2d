"""The shipped networks: U-Nets of plain 3 x 3 convolutions, as small as speed demands.

Space-to-depth at the entrance, so that no convolution runs at full resolution; batch norm and
ReLU only, which an inference runtime folds into the convolution and runs in integers.
"""

from itertools import pairwise

import torch
from torch import nn

ARCHITECTURES = {
    "best": {"stem": 2, "widths": (32, 64, 96, 128, 160), "depth": 2},
    "fast": {"stem": 4, "widths": (32, 64, 128, 128), "depth": 1},
    # beside these two, to see what a millisecond buys
    "middle": {"stem": 2, "widths": (16, 32, 64, 96), "depth": 1},
    "narrow": {"stem": 4, "widths": (16, 48, 96, 128), "depth": 1},
    "tiny": {"stem": 4, "widths": (16, 32, 64), "depth": 1},
}


def _convolution(channels_in, channels_out):
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out))


class _Block(nn.Module):
    """A convolution to the stage's channels, and further ones that add to what is there."""

    def __init__(self, channels_in, channels_out, depth):
        super().__init__()
        self.first = _convolution(channels_in, channels_out)
        self.more = nn.ModuleList(_convolution(channels_out, channels_out) for _ in range(depth - 1))

    def forward(self, x):
        x = nn.functional.relu(self.first(x), inplace=True)
        for convolution in self.more:
            x = nn.functional.relu(x + convolution(x))
        return x


class PlainUNet(nn.Module):
    """Encoder and decoder with skips, on a frame relative to the level of its film.

    Parameters
    ----------
    stem : int
        Edge of the blocks of pixels that become channels; the frame's edges must be multiples
        of stem * 2 ** (len(widths) - 1).
    widths : sequence of int
        Channels of each stage, from the finest to the coarsest.
    depth : int
        Convolutions a block.
    """

    def __init__(self, stem, widths, depth):
        super().__init__()
        self.stem, self.widths, self.depth = stem, tuple(widths), depth
        before = (stem**2, *widths)
        self.encoder = nn.ModuleList(_Block(a, b, depth) for a, b in zip(before, widths, strict=False))
        pairs = reversed(list(pairwise(widths)))
        self.decoder = nn.ModuleList(_Block(fine + coarse, fine, depth) for fine, coarse in pairs)
        self.head = nn.Conv2d(widths[0], stem**2, 3, padding=1)
        nn.init.ones_(self.head.bias)  # starts at the film

    @property
    def stride_px(self):
        """Edges of the frame must be multiples of this."""
        return self.stem * 2 ** (len(self.widths) - 1)

    @property
    def halo_px(self):
        """How far a pixel's result can reach, rounded up to whole strides."""
        scales = [self.stem * 2**i for i in range(len(self.widths))]
        reach = sum(2 * self.depth * scale for scale in scales[:-1]) + self.depth * scales[-1] + self.stem
        reach += sum(scales)  # pooling and upsampling
        return -(-reach // self.stride_px) * self.stride_px

    def forward(self, frames):
        """(n, 1, M, N) relative to the level, to the transmission on the same scale."""
        x = nn.functional.pixel_unshuffle(frames - 1, self.stem)  # so that zeros beyond the border are film
        skips = []
        for i, block in enumerate(self.encoder):
            x = block(nn.functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return nn.functional.pixel_shuffle(self.head(x), self.stem)


def gflop(network, size_px):
    """Floating-point operations of one square frame [10^9], two a multiplication and addition."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, size_px, size_px))
    return counter.get_total_flops() / 1e9
