"""Exposures drawn afresh for every training sample, through cameras drawn at random.

The same camera as in `camera`, in electrons and on the device where the network learns. Here
the charge cloud is a 3 x 3 kernel over the pixels' sums instead of one cloud an electron.
"""

import numpy as np
import torch

from temlib.camera import ONEVIEW_BIN8, kernel_table

SEGMENT_WIDTHS_PX = (16, 32, 64, 0)  # 0: one offset for a whole row
RANGES = {  # of cameras other than the fitted one
    "dose_e_per_px": (1.0, 50.0),
    "excess_factor": (1.0, 2.5),
    "white_e": (0.0, 5.0),
    "segment_e": (0.0, 1.5),
    "fixed_e": (0.0, 0.4),
    "blur_px": (0.0, 0.6),
}
LIKE_THE_PAPERS = 0.75  # share of samples whose camera is near the fitted one
UNCLIPPED = 0.2, 0.5  # share of those samples, and of the others, that keep what is below their dark level
USUAL_DOSES = 0.6, (3.0, 7.0)  # share of those samples, and their range [e-/px]
COUNTING = 0.04  # share of samples from a camera that counts electrons
OUTLIER_SHARE = 2e-5  # of the pixels: X-ray hits and hot pixels


def draw_cameras(n, rng):
    """Dose and camera of n samples.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    dict of ndarray of shape (n,)
        dose_e_per_px, pulse_shape (inf: every electron counts the same), white_e, segment_e,
        fixed_e (standard deviations [e-]), segment_px, blur_px, clipped, counting.
    """
    near = rng.random(n) < LIKE_THE_PAPERS
    counting = ~near & (rng.random(n) < COUNTING / (1 - LIKE_THE_PAPERS))
    gain = ONEVIEW_BIN8.counts_per_e

    def around(value):
        return value * np.exp(rng.normal(0, 0.12, n))

    def drawn(name):
        return rng.uniform(*RANGES[name], n)

    def any_dose():
        return np.exp(rng.uniform(*np.log(RANGES["dose_e_per_px"]), n))

    excess = np.where(near, around(ONEVIEW_BIN8.excess_factor - 1), drawn("excess_factor") - 1)
    share, of_the_papers = USUAL_DOSES
    usual = np.where(rng.random(n) < share, rng.uniform(*of_the_papers, n), any_dose())
    cameras = {
        "dose_e_per_px": np.where(near, usual, any_dose()),
        "pulse_shape": 1 / np.maximum(excess, 1e-3),
        "white_e": np.where(near, around(ONEVIEW_BIN8.white_counts / gain), drawn("white_e")),
        "segment_e": np.where(near, around(ONEVIEW_BIN8.segment_counts / gain), drawn("segment_e")),
        "fixed_e": np.where(near, around(ONEVIEW_BIN8.fixed_pattern_counts / gain), drawn("fixed_e")),
        "segment_px": np.where(near, 32, rng.choice(SEGMENT_WIDTHS_PX, n)),
        "blur_px": np.where(near, around(ONEVIEW_BIN8.blur_px), drawn("blur_px")),
        "clipped": counting | (rng.random(n) >= np.where(near, *UNCLIPPED)),
        "counting": counting,
    }
    for name in ("white_e", "segment_e", "fixed_e", "blur_px"):
        cameras[name] = np.where(counting, 0.0, cameras[name])
    cameras["pulse_shape"] = np.where(counting, np.inf, cameras["pulse_shape"])
    return cameras


def expose(transmission, cameras, generator_seed):
    """Frames as `cameras` record them.

    Parameters
    ----------
    transmission : torch.Tensor of shape (n, 1, M, N)
        Expected intensity relative to the empty film.
    cameras : dict
        As `draw_cameras` gives it.
    generator_seed : int

    Returns
    -------
    frames : torch.Tensor of shape (n, 1, M, N)
        In electrons, clipped where the camera clips.
    expected : torch.Tensor of shape (n, 1, M, N)
        What they would be without noise and clipping.
    """
    torch.manual_seed(generator_seed)
    n = len(transmission)
    at = {
        name: torch.as_tensor(values, dtype=torch.float32, device=transmission.device).view(n, 1, 1, 1)
        for name, values in cameras.items()
    }
    expected = transmission * at["dose_e_per_px"]
    electrons = torch.poisson(expected)
    finite = torch.where(torch.isinf(at["pulse_shape"]), 1.0, at["pulse_shape"])
    charge = torch.distributions.Gamma((electrons * finite).clamp(min=1e-6), finite).sample()
    frames = torch.where(torch.isinf(at["pulse_shape"]), electrons, charge)
    frames = _share_charge(frames, cameras["blur_px"])
    frames = frames + torch.randn_like(frames) * torch.hypot(at["white_e"], at["fixed_e"])
    frames = frames + at["segment_e"] * _segment_offsets(frames, cameras["segment_px"])
    frames = torch.where(at["clipped"] > 0, frames.clamp(min=0), frames)
    hit = (torch.rand_like(frames) < OUTLIER_SHARE) & (at["counting"] == 0)
    return torch.where(hit, frames + expected.amax() * 30 * torch.rand_like(frames), frames), expected


def _share_charge(frames, blur_px):
    """Every pixel's charge spread over its neighbours by its camera's cloud."""
    lost = torch.as_tensor(np.interp(blur_px, *kernel_table()), dtype=torch.float32, device=frames.device)
    lost = lost.view(-1, 1, 1, 1)
    for dim in (-2, -1):
        padded = torch.nn.functional.pad(frames, (0, 0, 1, 1) if dim == -2 else (1, 1, 0, 0), mode="replicate")
        size = frames.shape[dim]
        frames = (1 - 2 * lost) * frames + lost * (padded.narrow(dim, 0, size) + padded.narrow(dim, 2, size))
    return frames


def _segment_offsets(frames, segment_px):
    """One standard normal offset per (row, segment of columns) of each sample."""
    n, _, rows, cols = frames.shape
    narrowest = min(width for width in SEGMENT_WIDTHS_PX if width)
    widths = torch.as_tensor(np.where(np.asarray(segment_px) == 0, cols, segment_px), device=frames.device)
    offsets = torch.randn(n, 1, rows, -(-cols // narrowest), device=frames.device)
    segment = torch.arange(cols, device=frames.device)[None, :] // widths[:, None].long()
    return offsets.gather(3, segment[:, None, None, :].expand(n, 1, rows, cols))
