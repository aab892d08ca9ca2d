"""The look of the figures: the only module that knows matplotlib.

A function here takes arrays or tables and returns a Figure; it computes nothing that
a reader would quote.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's colour-blind-safe colours
COLOURS = {
    "HDE": "#000000",
    "LDE": "#999999",
    "denoised": "#D55E00",
    "truth": "#009E73",
    "filter": "#0072B2",
    "other": "#CC79A7",
}
COLUMN_WIDTH_IN = 3.5
PAGE_WIDTH_IN = 7.2

mpl.rcParams.update(
    {
        "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]),
        "legend.frameon": False,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "svg.hashsalt": "temlib",
    }
)


def scale_bar(axes, pixel_size_nm, width_px):
    """Draw a bar of a round length, about a fifth of an image that is `width_px` columns wide."""
    wanted_nm = width_px * pixel_size_nm / 5
    decade = 10 ** np.floor(np.log10(wanted_nm))
    length_nm = max(step * decade for step in (1, 2, 5) if step * decade <= wanted_nm)
    length = length_nm / pixel_size_nm / width_px  # in axes fractions: stays put whatever the extent
    bar = {"transform": axes.transAxes, "clip_on": False, "zorder": 5}
    axes.add_patch(plt.Rectangle((0.04, 0.03), length + 0.04, 0.12, fc="black", alpha=0.55, lw=0, **bar))
    axes.add_patch(plt.Rectangle((0.06, 0.05), length, 0.018, fc="white", lw=0, **bar))
    label = f"{length_nm:g} nm" if length_nm < 1000 else f"{length_nm / 1000:g} µm"
    axes.text(0.06 + length / 2, 0.08, label, color="white", ha="center", va="bottom", fontsize=6, **bar)


def micrograph(axes, image, *, pixel_size_nm, limits=None, title=None):
    """Show one image with its scale bar; `limits` is the grey scale (black, white)."""
    low, high = limits if limits is not None else np.percentile(image, [0.5, 99.5])
    axes.imshow(image, vmin=low, vmax=high)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title)
    if pixel_size_nm:
        scale_bar(axes, pixel_size_nm, image.shape[1])
