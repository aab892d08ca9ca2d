"""Recorded high-dose images as specimens: what a camera model needs to expose them again at a low dose.

A network that is trained and judged on simulations may have learnt the simulator; a recorded image
has shapes, edges and fringes that nobody drew. Arrays in, arrays out; knows no files.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops_table

from temlib.preprocess import background_level, bin_area

LEVEL_SIGMA_PX = 4.0  # smoothing before the commonest grey level is looked for


def grey_levels(image):
    """Grey levels of a picture, (M, N) or (M, N, 1 to 4) with its alpha channel left out; (M, N), float64.

    Raises
    ------
    ValueError
        If the picture has colours.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        return image.astype(np.float64)
    colours = image[..., : 3 if image.shape[-1] > 2 else 1]
    if image.ndim != 3 or np.any(colours != colours[..., :1]):
        raise ValueError(f"An image of shape {image.shape} with colours came: give one of grey levels.")
    return colours[..., 0].astype(np.float64)


def transmission_of(image, *, binning=2, sigma_px=3.0, black=0.0):
    """Transmission to be taken as truth, from one recorded bright-field image.

    Every pixel goes through three linear steps, so that no filter's idea of a clean image enters: a
    Gaussian of `sigma_px`, the mean of `binning` x `binning` pixels, then (grey - black) /
    (background - black), where the background is the commonest grey level of the smoothed image
    (`preprocess.background_level`). Last rows and columns that fill no block are left out. Values
    below 0, which only too high a black level gives, become 0.

    Parameters
    ----------
    image : ndarray of shape (M, N) or (M, N, C)
        Grey levels in proportion to the intensity above `black`.
    binning : int, default 2
    sigma_px : float, default 3
        In pixels of `image`: edges become this soft, white noise falls to 1 / (2 sigma sqrt(pi)).
    black : float, default 0
        Grey level of no electrons. It is unknown where a picture was stretched to its own minimum:
        then 0 gives the strongest contrast that the picture allows, a negative level a weaker one.

    Returns
    -------
    ndarray of float32, shape (M // binning, N // binning)
        1 on the empty film. What remains of the image's own noise is part of this specimen and is
        exposed with it.
    """
    grey = grey_levels(image)
    rows, cols = (n - n % binning for n in grey.shape)
    level = background_level(grey, LEVEL_SIGMA_PX)
    smooth = bin_area(gaussian_filter(grey, sigma_px)[:rows, :cols], binning)
    return np.maximum((smooth - black) / (level - black), 0).astype(np.float32)


def binned_mask(mask, *, binning=2):
    """Hand-made mask, 0 and anything above, at the size of `transmission_of`: true where half a block or more is."""
    grey = grey_levels(mask) > 0
    rows, cols = (n - n % binning for n in grey.shape)
    return bin_area(grey[:rows, :cols].astype(np.float32), binning) >= 0.5


def particles_in(mask):
    """Particles of a mask (M, N); those that touch count as one.

    Returns
    -------
    pandas.DataFrame
        row_px, col_px (centre of area), diameter_px (of the circle of equal area).
    """
    found = regionprops_table(label(mask), properties=("centroid", "area"))
    diameter_px = 2 * np.sqrt(found["area"] / np.pi)
    return pd.DataFrame({"row_px": found["centroid-0"], "col_px": found["centroid-1"], "diameter_px": diameter_px})
