"""The look of the figures: the only module that knows matplotlib.

A function here takes arrays or tables and returns a Figure; it computes nothing that
a reader would quote.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.font_manager import FontProperties
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

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
    label = f"{length_nm:g} nm" if length_nm < 1000 else f"{length_nm / 1000:g} µm"
    bar = AnchoredSizeBar(
        axes.transData,
        length_nm / pixel_size_nm,
        label,
        "lower left",
        pad=0.3,
        sep=2,
        color="white",
        label_top=True,
        size_vertical=width_px / 80,
        fontproperties=FontProperties(size=6),
    )
    bar.patch.set(facecolor="black", alpha=0.6, linewidth=0)
    axes.add_artist(bar)


def micrograph(axes, image, *, pixel_size_nm, limits=None, title=None):
    """Show one image with its scale bar; `limits` is the grey scale (black, white)."""
    low, high = limits if limits is not None else np.percentile(image, [0.5, 99.5])
    axes.imshow(image, vmin=low, vmax=high)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title)
    if pixel_size_nm and np.isfinite(pixel_size_nm):
        scale_bar(axes, pixel_size_nm, image.shape[1])
