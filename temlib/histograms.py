"""Histograms of intensity and their peaks, as in the paper's Fig. 5.

Arrays in, tables out.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

PROMINENCE = 0.15  # decades: a peak stands 1.4 times above the valley beside it
SMOOTH = 0.02  # standard deviation of the smoothing, as a share of all bins
FEWEST_BINS = 5  # three coefficients are fitted
SIGNIFICANCE = 3.0


def bin_edges(low, high, n_pixels):
    """Edges of equal bins: a hundred, or fewer where an image is too small to fill them."""
    return np.linspace(low, high, int(np.clip(np.sqrt(n_pixels) / 2, 25, 100)) + 1)


def histogram_peaks(counts, edges):
    """Peaks of a histogram, each from a Gaussian fitted to the bins around its maximum.

    Parameters
    ----------
    counts : ndarray of int, shape (B,)
        Pixels in each bin. The outermost bins hold clipped values and are left out.
    edges : ndarray of shape (B + 1,)

    Returns
    -------
    pandas.DataFrame
        position, position_error, width (standard deviation) and height [pixels] of each peak,
        highest first; no row where there is none.

    Notes
    -----
    The logarithm of a Gaussian is a parabola, fitted with the Poisson weights of log(counts)
    to the bins that hold at least half of the maximum. Peaks are looked for on the
    logarithm of the smoothed counts, as one sees them on the paper's semi-log axes.
    """
    centres = (edges[1:] + edges[:-1])[1:-1] / 2
    counts = np.asarray(counts, np.float64)[1:-1]
    sigma_bins = SMOOTH * len(counts)
    smooth = gaussian_filter1d(counts, sigma_bins)
    log_counts = np.pad(np.log10(smooth + 1), 1)  # padded, since a peak at the end is a peak
    # the smoothed bin averages 2 sqrt(pi) sigma bins
    log_error = np.log10(np.e) / np.sqrt(2 * np.sqrt(np.pi) * sigma_bins * np.pad(smooth, 1) + 1)
    maxima = find_peaks(log_counts, prominence=np.maximum(PROMINENCE, SIGNIFICANCE * log_error))[0] - 1
    rows = []
    for top in maxima:
        low = min(_reach(smooth, top, -1), max(top - FEWEST_BINS // 2, 0))
        high = max(_reach(smooth, top, 1), min(top + FEWEST_BINS // 2, len(smooth) - 1))
        around = np.arange(low, high + 1)
        around = around[counts[around] > 0]
        if len(around) < FEWEST_BINS:
            continue
        scale = centres[1] - centres[0]
        x = (centres[around] - centres[top]) / scale
        (curvature, slope, level), covariance = np.polyfit(
            x, np.log(counts[around]), 2, w=np.sqrt(counts[around]), cov="unscaled"
        )
        if curvature > -SIGNIFICANCE * np.sqrt(covariance[0, 0]):
            continue
        offset = -slope / (2 * curvature)
        if not x[0] <= offset <= x[-1]:
            continue
        derivative = np.array([slope / (2 * curvature**2), -1 / (2 * curvature)])
        error = np.sqrt(derivative @ covariance[:2, :2] @ derivative)
        rows.append(
            {
                "position": centres[top] + scale * offset,
                "position_error": scale * error,
                "width": scale * np.sqrt(-1 / (2 * curvature)),
                "height": np.exp(level - slope**2 / (4 * curvature)),
            }
        )
    peaks = pd.DataFrame(rows, columns=["position", "position_error", "width", "height"], dtype=float)
    return peaks.sort_values("height", ascending=False, ignore_index=True)


def _reach(smooth, top, step):
    """Last bin on one side that holds half of the maximum, or the valley before a higher peak."""
    end = valley = top
    while 0 <= end + step < len(smooth) and smooth[top] / 2 <= smooth[end + step] <= smooth[top]:
        end += step
        valley = end if smooth[end] <= smooth[valley] else valley
    return valley


def name_peaks(peaks):
    """Peaks of a bright-field image by what they come from.

    Parameters
    ----------
    peaks : pandas.DataFrame
        As `histogram_peaks` gives it.

    Returns
    -------
    pandas.DataFrame
        With the column `peak`: the highest is the "background", the highest that is darker the
        "particles", any "other". Where one of the first two is missing its numbers are NaN.
    """
    names = pd.Series("other", peaks.index)
    names.iloc[:1] = "background"
    darker = peaks.index[peaks["position"] < peaks["position"].head(1).max()]
    names[darker[:1]] = "particles"
    missing = [name for name in ("background", "particles") if name not in names.to_list()]
    return pd.concat([peaks.assign(peak=names), pd.DataFrame({"peak": missing})], ignore_index=True)
