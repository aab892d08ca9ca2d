"""Figures of notebooks 01 to 03: frames, drift, camera, intensity scales, losses."""

import numpy as np
from matplotlib import pyplot as plt

from temlib.figures import COLOURS, COLUMN_WIDTH_IN, PAGE_WIDTH_IN, micrograph


def frames_sheet(examples):
    """One column a material: HDE above LDE, each on its own grey scale.

    Parameters
    ----------
    examples : list of dict
        material; of either frame (prefix hde_ or lde_) the image under its bare name, pixel_nm, dose
        (mean per pixel) and unit ("e-" or "counts").
    """
    width = min(PAGE_WIDTH_IN, 1.6 * len(examples) + 0.3)
    figure, axes = plt.subplots(2, len(examples), figsize=(width, 2.3 * width / len(examples)), squeeze=False)
    for column, example in zip(axes.T, examples, strict=True):
        micrograph(column[0], example["hde"], pixel_size_nm=example["hde_pixel_nm"], title=example["material"])
        micrograph(column[1], example["lde"], pixel_size_nm=example["lde_pixel_nm"])
        for axes_of_one, frame in zip(column, ("hde", "lde"), strict=True):
            unit = "e$^-$" if example[f"{frame}_unit"] == "e-" else "counts"
            dose = example[f"{frame}_dose"]
            axes_of_one.set_xlabel(f"{dose:.{0 if dose >= 100 else 1}f} {unit}/px")
    axes[0, 0].set_ylabel("HDE")
    axes[1, 0].set_ylabel("LDE")
    return figure


def drift(table):
    """Error of the drift found against the field's own bound, one point a field."""
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 2.8))
    aligned = table[table["aligned"]]
    limit = np.linspace(0, 1, 100)
    if "error_px" in table:
        for material, rows in aligned.groupby("material", sort=False):
            axes.plot(rows["bound_px"], rows["error_px"], "o", ms=3, label=material, alpha=0.8)
        allowed = np.where(limit <= 0.2, 0.5, 2.5 * limit)
        axes.plot(limit, limit, color="black", lw=1, label="bound (1 standard deviation)")
        axes.plot(limit, allowed, color=COLOURS["LDE"], lw=1, ls="--", label="allowed")
        axes.set_ylabel("error, larger of row and column (px)")
    else:
        for material, rows in aligned.groupby("material", sort=False):
            axes.plot(rows["bound_px"], rows["found_px"].abs(), "o", ms=3, label=material, alpha=0.8)
        axes.set_ylabel("drift found (px)")
    axes.set_xlabel("Cramér-Rao bound of the field (LDE px)")
    axes.set_ylim(0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6)
    return figure


def camera(transfer, rows):
    """Photon transfer, zeros and covariance along rows: frames (points) against the fitted model (lines)."""
    figure, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.3))
    for (source, points), colour in zip(
        transfer.groupby("source", sort=False), (COLOURS["filter"], COLOURS["denoised"]), strict=False
    ):
        for panel, quantity in zip(axes[:2], ("variance", "zeros"), strict=True):
            panel.plot(points["mean"], points[quantity], "o", ms=3, color=colour, label=source)
            panel.plot(points["model_mean"], points[f"model_{quantity}"], "-", lw=1, color=colour)
        covariance = rows[rows["source"] == source]
        axes[2].plot(covariance["lag_px"], covariance["covariance"], "o", ms=2.5, color=colour, label=source)
        axes[2].plot(covariance["lag_px"], covariance["model"], "-", lw=1, color=colour)
    axes[0].set(xlabel="local mean (counts)", ylabel="variance (counts$^2$)")
    axes[1].set(xlabel="local mean (counts)", ylabel="share of pixels clipped to zero")
    axes[2].set(xlabel="distance along the row (px)", ylabel="covariance (counts$^2$)")
    axes[0].plot([], [], "-", color="0.3", lw=1, label="fitted camera")
    axes[0].legend(fontsize=6)
    return figure


def intensity(images, table, pixel_size_nm):
    """The same frames on different intensity scales: images above, histograms below.

    Parameters
    ----------
    images : dict of str to ndarray
        Named "<frame>, <scale>".
    table : pandas.DataFrame
        image, intensity, pixels.
    pixel_size_nm : float
        NaN where it is not known; then there is no scale bar.
    """
    pixel_size_nm = pixel_size_nm if np.isfinite(pixel_size_nm) else None
    axis = {"electrons": "e$^-$ per pixel", "faithful": "faithful scale", "corrected": "transmission"}
    names = list(images)
    figure, axes = plt.subplots(2, len(names), figsize=(PAGE_WIDTH_IN, 3.2), height_ratios=(1.6, 1))
    for name, (above, below) in zip(names, axes.T, strict=True):
        micrograph(above, images[name], pixel_size_nm=pixel_size_nm, title=name)
        rows = table[table["image"] == name]
        below.fill_between(rows["intensity"], rows["pixels"], step="mid", color=COLOURS["filter"], lw=0)
        scale = name.split(", ")[1]
        below.set_xlabel(axis.get(scale, scale))
        below.set_yticks([])
    axes[1, 0].set_ylabel("pixels")
    return figure


def loss(history):
    """Training and validation loss against the epoch, logarithmic, as the paper's Fig. 2."""
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 2.4))
    axes.semilogy(history["epoch"], history["training_loss"], color=COLOURS["filter"], label="training")
    axes.semilogy(history["epoch"], history["validation_loss"], color=COLOURS["denoised"], label="validation")
    axes.set(xlabel="epoch", ylabel="mean absolute error")
    axes.legend()
    return figure
