"""What the paper's network learns from, and in what order.

Order and flips of an epoch are functions of (seed, epoch, index), because checkpoints keep no random state.
"""

import numpy as np

from temlib.errors import TemlibError
from temlib.paths import load_npz
from temlib.preprocess import faithful_scale, network_input


def training_arrays(pair_files, mode):
    """Inputs and targets of many pairs, on the scale of a mode.

    Parameters
    ----------
    pair_files : list of path
        `pairs/<field>.npz`; every LDE frame of a field makes one pair.
    mode : {"corrected", "faithful"}
        corrected: LDE and aligned area-mean HDE relative to their backgrounds, minus 1, so
        that 0 is the empty film. faithful: the authors' scales, their resize, no alignment.

    Returns
    -------
    inputs, targets : ndarray of float32, shape (n, 1, M, N)

    Raises
    ------
    TemlibError
        If there is no pair, or the frames have several sizes.
    """
    inputs, targets = [], []
    for file in pair_files:
        pair = load_npz(file)
        target = (
            pair["hde"] / pair["hde_background_e"] - 1
            if mode == "corrected"
            else faithful_scale(pair["hde_faithful"], 0, 100)
        )
        for lde, background in zip(pair["lde"], pair["background_e"], strict=True):
            inputs.append(network_input(lde, background, mode))
            targets.append(target)
    sizes = sorted({image.shape for image in inputs})
    if len(sizes) != 1:
        found = " and ".join(f"{rows} x {cols} px" for rows, cols in sizes) or "none"
        raise TemlibError(
            f"Frames of one size are needed to train, and at least one set for training and one for validation; "
            f"found: {found}. Set the column split in fields.csv, and leave out the sets of another size."
        )
    return np.stack(inputs)[:, None].astype(np.float32), np.stack(targets)[:, None].astype(np.float32)


def epoch_plan(seed, epoch, n_pairs):
    """Order of the pairs and which of them are flipped.

    Returns
    -------
    order : ndarray of int, shape (n_pairs,)
    flips : ndarray of bool, shape (n_pairs, 2)
        Up-down and left-right, in the order of the pairs, not of `order`.
    """
    rng = np.random.default_rng([seed, epoch])
    return rng.permutation(n_pairs), rng.random((n_pairs, 2)) < 0.5
