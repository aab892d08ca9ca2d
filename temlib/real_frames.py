"""The paper's real frames, where a checkout of the project has them beside it."""

import numpy as np

from temlib.frames import read_frame
from temlib.paths import ROOT

KATSUNO = ROOT.parent / "shared" / "real" / "katsuno"


def real_exposures():
    """Two exposures of each real field of view, as stored, and the gain that the files state.

    Returns
    -------
    sets : list of ndarray of shape (2, 512, 512) [counts]
    counts_per_e : float
    """
    sets = []
    for field in ("train", "val"):
        frames = [read_frame(KATSUNO / f"{field}_{i:04d}.tif") for i in (1, 2)]
        sets.append(np.stack([frame.image * frame.counts_per_e + frame.origin_counts for frame in frames]))
    return sets, frames[0].counts_per_e
