"""How well a denoised exposure predicts the other raw one: the score of an adaptation.

Needs no truth, as the noise of the two is independent. `real_score` is for the panels of the paper.
"""

import numpy as np
import torch

from temlib.inference import denoise_image
from temlib.networks import Network
from temlib.noise2noise import clipped_mean, light_terms
from temlib.preprocess import bin_area, film_level
from temlib.repeats import overlap

BLOCK_PX = 32  # largest edge of the blocks whose scatter is the score's error
MOST_SCORED = 12  # frames
BETTER = 2.0  # standard errors by which the score must fall


def errors(network, fields, own, *, rows=0.0):
    """How badly each denoised frame predicts the other raw frame of its pair, block by block.

    A smooth light and one offset a direction are fitted, and what the camera's clipping does to a mean is
    done to the prediction too. The noise of the raw frame is in the result, whatever the network.

    Parameters
    ----------
    network : plain_unet.PlainUNet
    fields : sequence of repeats.Field
    own : own_camera.OwnCamera
    rows : float
        Share of the rows, the first ones, that are left out.

    Returns
    -------
    ndarray of shape (B,)
        Mean squared differences of blocks of up to BLOCK_PX x BLOCK_PX px, over both directions [square of the
        film's level].
    """
    network.eval()
    device = next(network.parameters()).device

    def run(frames):
        with torch.inference_mode():
            return network(torch.from_numpy(frames).to(device)).float().cpu().numpy()

    as_loaded = Network("", {"stride_px": network.stride_px, "halo_px": network.halo_px}, run, str(device))
    pairs = [(field, *pair) for field in fields for pair in field.pairs]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, MOST_SCORED // 2).round().astype(int))
    found = []
    for field, i, j, shift in (pairs[p] for p in chosen):
        first = int(rows * field.frames.shape[1])
        there = _squares(field.frames[i], field.frames[j], shift, as_loaded, own, first)
        back = _squares(field.frames[j], field.frames[i], (-shift[0], -shift[1]), as_loaded, own, first)
        edge = min(BLOCK_PX, *there.shape)
        found.append(
            bin_area((there + back)[: there.shape[0] // edge * edge, : there.shape[1] // edge * edge], edge) / 2
        )
    return np.concatenate([blocks.ravel() for blocks in found])


def _squares(given, wanted, shift, network, own, first):
    """Squared differences where both frames show the same place below row `first` of both."""
    level = float(film_level(wanted)[0, 0])
    output = denoise_image(given, network) / float(film_level(given)[0, 0])
    level_e = level / own.unit_per_e
    read = clipped_mean(torch.from_numpy(output * level_e), own).numpy() / level_e
    seen, other = overlap(read[first:], wanted[first:] / level, shift)
    terms = np.concatenate([light_terms(seen.shape) * seen, np.ones((1, *seen.shape))]).reshape(7, -1).T
    fitted = terms @ np.linalg.lstsq(terms, other.ravel().astype(float), rcond=None)[0]
    return (fitted.reshape(seen.shape) - other) ** 2


def compare(before, after):
    """The score before and after; the noise of the raw frames, which is in both, is not in their difference.

    Parameters
    ----------
    before, after : ndarray of shape (B,)
        Of `errors`, of the same blocks.

    Returns
    -------
    dict
        For the card; standard errors are those of the mean over blocks.
    """
    change = after - before
    deviation = float(change.std(ddof=1) / np.sqrt(len(change)))
    return {
        "unit": "mean squared difference of denoised to other raw frame, in squares of the film's level",
        "before": float(before.mean()),
        "after": float(after.mean()),
        "standard_error": float(before.std(ddof=1) / np.sqrt(len(before))),
        "change": float(change.mean()),
        "change_standard_error": deviation,
        "blocks": len(change),
        "improved": bool(change.mean() < -BETTER * deviation),
    }
