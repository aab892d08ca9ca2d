"""How good an image is: the paper's MAE and PSNR, and scores that no intensity offset can spoil.

Arrays in, numbers out: no torch, no plotting, no files. Images are 2-D float arrays in
(row, column) order, as transmission (background = 1) unless a name says otherwise.
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HAZE_SIGMA_NM = 50.0  # what is smoother than this is background, not particles of 30 to 200 nm
BACKGROUND_ABOVE = 0.95  # of the smoothed reference; film texture and beam stay above it
SMOOTH_PX = 2.0


def affine_fit(image, reference):
    """The image a * image + b that is nearest to `reference` in the mean square.

    Parameters
    ----------
    image, reference : ndarray of shape (M, N)
        Any units; the result has that of `reference`. A constant image becomes the mean.

    Returns
    -------
    ndarray of float64, shape (M, N)
    """
    centred = image - np.mean(image, dtype=np.float64)
    power = np.mean(centred**2)
    slope = np.mean(centred * reference) / power if power > 0 else 0.0
    return slope * centred + np.mean(reference, dtype=np.float64)


def paper_scores(image, hde):
    """MAE and PSNR as in the paper's Table 2.

    Parameters
    ----------
    image, hde : ndarray of shape (M, N)
        Both on the paper's scale, 0 to 1.

    Returns
    -------
    dict
        `mae` (the paper's L1, its Eq. 1) and `psnr_db` for a peak of 1.
    """
    return {
        "mae": np.abs(image - hde).mean(dtype=np.float64),
        "psnr_db": peak_signal_noise_ratio(hde, image, data_range=1),
    }


def fitted_scores(image, reference, *, pixel_size_nm):
    """Scores after the best affine fit of intensities.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Any unit.
    reference : ndarray of shape (M, N)
        The truth, or the HDE image, as transmission.
    pixel_size_nm : float
        Edge of a pixel on the specimen [nm].

    Returns
    -------
    dict
        `mse` and `variance` (of the reference), whose sums over frames give nRMSE =
        sqrt(sum mse / sum variance); `psnr_affine_db` for a peak of 1, the background;
        `ssim` (Wang et al., 2004: Gaussian window of 1.5 px, range 1); `haze`.

    Notes
    -----
    nRMSE is 1 for a blank image. It is pooled, because a field that is empty has no variance
    of its own to divide by.
    """
    fitted = affine_fit(image, reference)
    reference = reference.astype(np.float64)
    return {
        "mse": np.mean((fitted - reference) ** 2),
        "variance": reference.var(),
        "psnr_affine_db": peak_signal_noise_ratio(reference, fitted, data_range=1),
        "ssim": structural_similarity(
            reference, fitted, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        ),
        "haze": haze(fitted, reference, pixel_size_nm=pixel_size_nm),
    }


def haze(fitted, reference, *, pixel_size_nm):
    """Low-frequency error of the background, what the paper calls haze.

    Parameters
    ----------
    fitted, reference : ndarray of shape (M, N)
        Transmission, on one scale.
    pixel_size_nm : float
        Edge of a pixel on the specimen [nm].

    Returns
    -------
    float
        Root mean square over background pixels of the error averaged, over background pixels
        only, with a Gaussian of 50 nm; 0.01 is one per cent of the background. NaN where no
        pixel is background.
    """
    background = gaussian_filter(reference, SMOOTH_PX) > BACKGROUND_ABOVE
    if not background.any():
        return np.nan
    sigma = HAZE_SIGMA_NM / pixel_size_nm
    total = gaussian_filter(np.where(background, fitted - reference, 0.0), sigma)
    weight = gaussian_filter(background.astype(np.float64), sigma)
    return np.sqrt(np.mean((total[background] / weight[background]) ** 2))
