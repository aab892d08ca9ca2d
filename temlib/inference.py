"""LDE frames through a network."""

import numpy as np
import torch

from temlib.models import STRIDE_PX
from temlib.preprocess import network_input


def run_network(network, lde_e, background_e, *, mode):
    """Denoise the LDE frames of one field.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    lde_e : ndarray of shape (n, M, N)
        LDE frames [e-/px]; any M and N (padded by reflection to what the network can halve).
    background_e : ndarray of shape (n,)
        Background level of each frame [e-/px].
    mode : {"corrected", "faithful"}
        How the network was trained.

    Returns
    -------
    ndarray of float32, shape (n, M, N)
        Transmission (corrected), or the authors' scale from 0 to 1 (faithful).
    """
    rows, cols = lde_e.shape[1:]
    pad = [(0, -n % STRIDE_PX) for n in (rows, cols)]
    device = next(network.parameters()).device
    outputs = []
    with torch.inference_mode():
        for lde, background in zip(lde_e, background_e, strict=True):
            frame = np.pad(network_input(lde, background, mode), pad, mode="reflect").astype(np.float32)
            output = network(torch.from_numpy(frame)[None, None].to(device))[0, 0].cpu().numpy()
            outputs.append(output[:rows, :cols] + (1 if mode == "corrected" else 0))
    return np.stack(outputs).astype(np.float32)
