"""How well a denoised exposure predicts the other raw one: the score of an adaptation.

Needs no truth, as the noise of the two is independent. `real_score` is for the panels of the paper.
"""

import numpy as np
import torch

from temlib.film import film_level, light_terms
from temlib.inference import denoise_image
from temlib.networks import in_torch
from temlib.noise2noise import clipped_mean
from temlib.preprocess import bin_area
from temlib.repeats import overlap

BLOCK_PX = 32  # largest edge of the blocks whose scatter is the score's error
MOST_SCORED = 12  # frames
BETTER = 2.0  # standard errors by which the score must fall


def errors(network, fields, own, *, rows=0.0):
    """How badly each denoised frame predicts the other raw frame of its pair, block by block.

    A smooth light and one offset a direction are fitted, and what the camera's clipping does to a mean is
    done to the prediction too. The noise of the raw frame is in the result, whatever the network. The pairs of a
    field share specimen and frames, so they are averaged, by place in the first frame of each, before the blocks
    are formed; where the specimen drifts, one place shows another part of it later.

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
        Mean squared differences of blocks of up to BLOCK_PX x BLOCK_PX px, over both directions and the pairs of
        a field [square of the film's level].
    """
    network.eval()
    as_loaded = in_torch(network, {"stride_px": network.stride_px, "halo_px": network.halo_px})
    pairs = [(number, *pair) for number, field in enumerate(fields) for pair in field.pairs]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, MOST_SCORED // 2).round().astype(int))
    sums = {}  # of each field: of squares, and how many they are
    for number, i, j, shift in (pairs[p] for p in chosen):
        frames = fields[number].frames
        first = int(rows * frames.shape[1])
        there = _squares(frames[i], frames[j], shift, as_loaded, own, first)
        back = _squares(frames[j], frames[i], (-shift[0], -shift[1]), as_loaded, own, first)
        squares, seen = sums.setdefault(number, np.zeros((2, *frames[0, first:].shape)))
        overlap(squares, squares, shift)[0][:] += there + back
        overlap(seen, seen, shift)[0][:] += 2
    return np.concatenate([_blocks(*of_field) for of_field in sums.values()])


def _blocks(squares, seen):
    """Means over the blocks of a field, at least two, without those of which pairs that moved show little."""
    edge = min(BLOCK_PX, squares.shape[0], squares.shape[1] // 2)
    squares, seen = (bin_area(x[: len(x) // edge * edge, : x.shape[1] // edge * edge], edge) for x in (squares, seen))
    enough = seen >= seen.max() / 2
    return squares[enough] / seen[enough]


def _squares(given, wanted, shift, network, own, first):
    """Squared differences where both frames show the same place below row `first` of both."""
    level = float(film_level(wanted)[0, 0])
    output = denoise_image(given, network) / float(film_level(given)[0, 0])
    level_e = level / own.unit_per_e
    read = clipped_mean(torch.from_numpy(output * level_e), own).numpy() / level_e
    seen, other = overlap(read[first:], wanted[first:] / level, shift)
    terms = np.concatenate([light_terms(seen.shape) * seen, np.ones((1, *seen.shape))], dtype=np.float64).reshape(7, -1)
    fitted = np.linalg.solve(terms @ terms.T, terms @ other.ravel()) @ terms
    return (fitted.reshape(seen.shape) - other) ** 2


def compare(before, after):
    """The score before and after; the noise of the raw frames, which is in both, is not in their difference.

    The mean gives every block the same weight, and every place of a field is one block, however many pairs show it.

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
