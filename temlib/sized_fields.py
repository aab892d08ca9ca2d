"""Specimens whose particles are measured: spheres of all sizes, empty film, and recorded images.

Each is a function of (seed, index) that gives the transmission of a field and the table of what is in it.
"""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from skimage.io import imread

from temlib import phantom
from temlib.exposed_images import binned_mask, particles_in, transmission_of
from temlib.particles import gaps
from temlib.real_frames import KATSUNO
from temlib.second_phantom import second_field
from temlib.trials import film_with

SIZES_NM = 30.0, 200.0
SPHERES = 16  # that are drawn for a field, of which some find no place
PAIRS = 0.4  # share of particles that are placed beside another one
GAPS_NM = -20.0, 40.0  # from its rim to theirs
APART_NM = 60.0  # others are at least so far away, rim to rim
TRIES = 40  # places that are tried for each
RECORDED = 9  # recorded images that can be judged; on the one after them, filters are tuned
SEGMENTATION = KATSUNO.parent / "segmentation"  # recorded images and their masks, where they are beside the project
NOTHING = pd.DataFrame(columns=["row_px", "col_px", "diameter_nm", "shape", "transmission"], dtype=float)


def empty_field(seed, index, *, size_px, pixel_size_nm, material):
    """Film with the texture of its carbon: transmission (size_px, size_px) and an empty table; of no material."""
    rng = np.random.default_rng([seed, index, 10])
    return film_with([], size_px=size_px, pixel_size_nm=pixel_size_nm, rng=rng), NOTHING


def recorded_field(seed, index, *, size_px, pixel_size_nm, material):
    """A recorded image as specimen, with the particles of its hand-made mask; of its own size, and of no material.

    A particle's diameter is that of the circle of its area, its transmission in the centre that of a sphere which
    takes as much light. `pixel_size_nm` is as if: the images have no calibration.
    """
    image, mask = (imread(sorted(SEGMENTATION.glob(f"{what}_*.png"))[index]) for what in ("image", "label"))
    transmission, inside = transmission_of(image), binned_mask(mask)
    masked = particles_in(inside)
    centres = masked[["row_px", "col_px"]].to_numpy()
    nearest = cKDTree(centres).query(np.argwhere(inside))[1]
    mean = pd.Series(transmission[inside]).groupby(nearest).mean().reindex(range(len(masked))).to_numpy()
    depth = -np.log(mean.clip(0.02, 0.99)) * 1.5  # of a sphere's centre: its mean thickness is 2/3 of its diameter
    told = masked[["row_px", "col_px"]].assign(
        diameter_nm=masked["diameter_px"] * pixel_size_nm, shape="recorded", transmission=np.exp(-depth)
    )
    return transmission, told


def sized_field(seed, index, *, size_px, pixel_size_nm, material):
    """Spheres of all sizes, alone and in pairs: transmission of one field, and what is in it.

    As `trials.paper_field`, but for the layout: diameters are drawn as often in each octave, of which the largest are
    placed first, and a pair's gap is as often any between overlap and clear film.

    Returns
    -------
    transmission : ndarray of float32, shape (size_px, size_px)
    truth : pandas.DataFrame
        Of `phantom.truth_table`.
    """
    rng = np.random.default_rng([seed, index, list(phantom.MATERIALS).index(material), 9])
    paths_nm = phantom.MATERIALS[material].mean_free_path_nm
    spheres, partners = [], set()
    for diameter_nm in np.sort(np.exp(rng.uniform(*np.log(SIZES_NM), SPHERES)))[::-1]:  # the small find a place
        lone = [number for number in range(len(spheres)) if number not in partners]
        paired = bool(lone) and rng.random() < PAIRS
        for _ in range(TRIES):
            if paired:
                number = rng.choice(lone)
                other, angle = spheres[number], rng.uniform(0, 2 * np.pi)
                far_px = ((diameter_nm + other.diameter_nm) / 2 + rng.uniform(*GAPS_NM)) / pixel_size_nm
                place = np.array([other.row_px, other.col_px]) + far_px * np.array([np.sin(angle), np.cos(angle)])
            else:
                number, place = None, rng.uniform(0, size_px - 1, 2)
            others = [(p.row_px, p.col_px, p.diameter_nm) for k, p in enumerate(spheres) if k != number]
            apart = not others or gaps([(*place, diameter_nm)], others, pixel_size_nm).min() > APART_NM
            from_edge = np.minimum(place, size_px - 1 - place).min() - diameter_nm / 2 / pixel_size_nm
            if apart and from_edge > 0:
                path_nm = rng.choice(paths_nm) * rng.uniform(0.7, 1.3)
                spheres.append(phantom.Particle(*map(float, place), float(diameter_nm), float(path_nm)))
                partners |= {number, len(spheres) - 1} if paired else set()
                break
    film = film_with(spheres, size_px=size_px, pixel_size_nm=pixel_size_nm, rng=rng)
    return film, phantom.truth_table(f"{material}_{index}", spheres)


FIELDS = {"sized": sized_field, "second": second_field, "recorded": recorded_field, "empty": empty_field}
