"""What the variants of `ablations` learn from: the same simulated sets, each in its own way.

Arrays in, arrays out, but for the sets, which lie in a folder.
"""

from itertools import product, zip_longest
from pathlib import Path

import numpy as np
import torch

from temlib import dataset, fields, noise2noise, phantom, simulate, trials
from temlib.ablations import SEGMENT_PX
from temlib.camera import ONEVIEW_BIN8, pixel_variance
from temlib.own_camera import OwnCamera
from temlib.paths import load_npz
from temlib.preprocess import align, background_level, faithful_scale, network_input
from temlib.provenance import digest_of_code


def simulated_sets(folder, *, n_train, n_test, report=print, **options):
    """Simulated sets of HDE and LDE frames, prepared as notebook 02 does it.

    Parameters
    ----------
    folder : path
        Keeps the frames, under what tells the code that made them; what is there is not simulated again.
    n_train, n_test : int
        Fields of each material.
    report : callable
        Takes a line of progress.
    **options
        seed, size_px, binning, pixel_size_nm, max_drift_px: as for `simulate.make_field`.

    Returns
    -------
    sets : dict of str to list of dict
        "train" and "val": lde (2, M, N) [e-/px] and background_e (2,); hde_area and hde_authors (M, N), not aligned,
        hde_background_e [e- per HDE pixel] and drift_px (2,); transmission (M, N). The materials take turns.
    """
    folder = Path(folder) / f"sets_{digest_of_code('ablation_samples', without=('ablations',))[:8]}"
    materials = phantom.MATERIALS
    fields_of = {
        "train_fields": dict.fromkeys(materials, n_train),
        "validation_fields": dict.fromkeys(materials, n_test),
    }
    simulate.simulate(folder / "data", **fields_of, hde_frames_kept=0, report=report, **options)
    table = fields.read_fields(folder / "data" / "fields.csv")
    dataset.prepare(table, folder, ONEVIEW_BIN8)
    sets = {"train": [], "val": []}
    names = table.drop_duplicates("field").sort_values("field", key=lambda names: names.str[-3:], kind="stable")
    for row in names.itertuples():
        pair, (hde, _) = load_npz(folder / "pairs" / f"{row.field}.npz"), fields.load_set(table, row.field)
        kept = ("lde", "background_e", "hde_background_e", "drift_px", "transmission")
        images = {"field": row.field, "hde_area": hde["hde"], "hde_authors": hde["hde_faithful"]}
        sets[row.split].append(images | {name: pair[name] for name in kept})
    return sets


def exposed(one, dose_e_per_px, camera="clipped"):
    """A set with its two LDE frames taken anew at some dose by some camera, unevenly lit as those recorded."""
    rng = simulate.field_rng(0, f"{one['field']} at {dose_e_per_px:g}", "ablation")
    lit = one["transmission"] * simulate.illumination(one["transmission"].shape, rng)
    lde = np.stack([trials.expose(lit, camera, dose_e_per_px=dose_e_per_px, rng=rng) for _ in range(2)])
    return one | {"lde": lde, "background_e": np.array([background_level(frame, 4.0) for frame in lde])}


def learning_arrays(sets, recipe, crop_px, seed=0):
    """Inputs and targets of a variant.

    Parameters
    ----------
    sets : list of dict
        Of `simulated_sets`.
    recipe : dict
        `CORRECTED` with what the variant changes.
    crop_px : int
        Edge of what a step sees: crops that are drawn anew in every step are not taken here.
    seed : int
        Of a share of the fields.

    Returns
    -------
    inputs, targets : ndarray of float32, shape (n, 1, M, N)
        Whole images, or their four corners.
    """
    chosen = sets if recipe["fields_share"] == 1 else _some(sets, recipe["fields_share"], seed)
    inputs, targets = [], []
    for number, one in enumerate(chosen):
        if doses := recipe["doses_e_per_px"]:
            one = exposed(one, doses[number % len(doses)], recipe["camera"])
        hde = one["hde_area"] if recipe["target"] == "area mean" else one["hde_authors"]
        by_film = recipe["target_scale"] == "background"
        target = hde / one["hde_background_e"] - 1 if by_film else faithful_scale(hde, 0, 100)
        # after its extremes are taken: between two pixels, of a hit on one of them half is left
        target = align(target, one["drift_px"]) if recipe["aligned"] else target
        lde, background = one["lde"], one["background_e"]
        if recipe["exposures"] == "summed":  # on the scale of one
            lde, background = lde.mean(axis=0)[None], background.mean()[None]
        given = [network_input(*frame, mode_of(recipe)) for frame in zip(lde, background, strict=True)]
        given = given[:1] if recipe["exposures"] == "first" else given
        inputs += given
        targets += given[::-1] if recipe["learns_from"] == "LDE" else [target] * len(given)
    both = [np.stack(images)[:, None].astype(np.float32) for images in (inputs, targets)]
    if recipe["augmentation"].startswith("crops"):
        return tuple(both)
    corners = product(*({0, n - crop_px} for n in both[0].shape[-2:]))
    corners = [np.s_[..., row : row + crop_px, col : col + crop_px] for row, col in sorted(corners)]
    return tuple(np.concatenate([images[corner] for corner in corners]) for images in both)


def _some(sets, share, seed):
    """A share of the fields, drawn by the seed, in which materials take turns."""
    rng = np.random.default_rng([seed, 11])
    turns = {}
    for number in rng.permutation(len(sets)):
        turns.setdefault(sets[number]["field"].split("_")[0], []).append(sets[number])
    in_turn = [one for turn in zip_longest(*turns.values()) for one in turn if one is not None]
    return in_turn[: max(1, round(share * len(sets)))]


def mode_of(recipe):
    """How a variant's input is scaled: "corrected" or "faithful", see `preprocess.network_input`."""
    return "corrected" if recipe["input_scale"] == "background" else "faithful"


def augmentation(name, crop_px):
    """What `training.fit` does to a batch, beside flips: a function of it and a generator, or None.

    Crops are squares of crop_px, whose corners are multiples of 32 px, where the camera's segments begin, or
    anywhere; "quarter turns" turns half of the samples, so that their segments stand upright.
    """
    if name == "flips":
        return None

    def turned(both, rng):
        turn = torch.from_numpy(rng.random(len(both)) < 0.5).view(-1, 1, 1, 1, 1)
        return torch.where(turn.to(both.device), both.rot90(1, (-2, -1)), both)

    step_px = SEGMENT_PX if name == "crops at 32" else 1

    def cropped(both, rng):
        places = step_px * rng.integers(0, [(n - crop_px) // step_px + 1 for n in both.shape[-2:]], (len(both), 2))
        crops = [x[..., r : r + crop_px, c : c + crop_px] for x, (r, c) in zip(both, places, strict=True)]
        return torch.stack(crops)

    return turned if name == "quarter turns" else cropped


def clipped_l2(film_e, read_e):
    """Squared error of what the clipping camera would read of an output, on average.

    Parameters
    ----------
    film_e, read_e : float
        Film before clipping, and as the frames read it [e-/px].

    Returns
    -------
    callable
        A loss, of output and target of one shape, both relative to their film, minus 1.
    """
    noise_e2 = (
        pixel_variance([0.0, 1.0], ONEVIEW_BIN8) + ONEVIEW_BIN8.segment_counts**2
    ) / ONEVIEW_BIN8.counts_per_e**2
    own = OwnCamera(1.0, np.array([film_e]), ONEVIEW_BIN8, tuple(noise_e2), SEGMENT_PX, clipped=True, counting=False)

    def loss(output, target):
        expected = noise2noise.clipped_mean((1 + output.float()) * film_e, own) / read_e - 1
        return torch.nn.functional.mse_loss(expected, target)

    return loss
