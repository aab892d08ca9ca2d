"""What the shipped networks make of frames whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from temlib import networks, standard_errors, trials
from temlib.inference import denoise_image

DOSE_E_PER_PX = 5.0


def crowded():
    """Transmission of a field of which a third is covered."""
    field, _ = trials.paper_field(9, 4, size_px=256, pixel_size_nm=2.9885, material="FeNi")
    return field[:192]


def bar():
    """Transmission of a field of which two thirds are behind a bar."""
    return np.broadcast_to(np.where(np.arange(320) < 213, 0.03, 1.0), (256, 320)).astype(np.float32)


@pytest.mark.parametrize("model", networks.SHIPPED)
@pytest.mark.parametrize(("draw", "kind"), [(crowded, "clipped"), (crowded, "unclipped"), (bar, "clipped")])
def test_film_that_is_partly_covered_comes_out_at_its_dose(draw, kind, model):
    field = draw()
    film = (field > 0.97) & (field < 1.03)
    assert 0.3 < film.mean() < 0.7
    frame = trials.expose(field, kind, dose_e_per_px=DOSE_E_PER_PX, rng=np.random.default_rng(1))
    image = denoise_image(frame, networks.load(model, threads=1))
    assert image[film].mean() == pytest.approx(DOSE_E_PER_PX, rel=0.03)


@pytest.mark.parametrize("model", networks.SHIPPED)
def test_the_standard_errors_of_what_a_shipped_network_denoised_are_known(model):
    known = pd.read_csv(standard_errors.FILE)
    assert networks.load(model, threads=1).card_sha256 in set(known["card_sha256"])
