"""What the shipped networks make of frames whose truth is known."""

import numpy as np
import pytest

from temlib import networks, trials
from temlib.inference import denoise_image

DOSE_E_PER_PX = 5.0


@pytest.fixture(scope="module")
def crowded():
    """Transmission of a field of which a third is covered."""
    field, _ = trials.paper_field(9, 4, size_px=256, pixel_size_nm=2.9885, material="FeNi")
    return field[:192]


@pytest.mark.parametrize("model", networks.SHIPPED)
def test_film_between_crowded_particles_comes_out_at_its_dose(crowded, model):
    film = (crowded > 0.97) & (crowded < 1.03)
    assert 0.6 < film.mean() < 0.7
    frame = trials.expose(crowded, "clipped", dose_e_per_px=DOSE_E_PER_PX, rng=np.random.default_rng(1))
    image = denoise_image(frame, networks.load(model, threads=1))
    assert image[film].mean() == pytest.approx(DOSE_E_PER_PX, rel=0.02)
