"""Figures 3 to 5, Table 2 as a picture, and the real frames."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke

from temlib.figures import COLOURS, PAGE_WIDTH_IN, micrograph

METHODS = {  # name in the tables: label, colour, marker
    "output": ("network", COLOURS["denoised"], "o"),
    "gaussian": ("Gaussian", COLOURS["filter"], "s"),
    "median": ("median", "#56B4E9", "^"),
    "total_variation": ("total variation", COLOURS["truth"], "D"),
    "blank": ("blank image", COLOURS["LDE"], "x"),
}
HALO = [withStroke(linewidth=2.5, foreground="white")]  # readable on any grey
INVENTED, LOST = "#E69F00", "#56B4E9"


def examples(panels, marks):
    """Figure 3: a row a material, HDE, LDE and output side by side.

    Parameters
    ----------
    panels : list of dict
        material, pixel_size_nm, bar_nm (the same, or None for no scale bar) and the images HDE
        and output (transmission, one grey scale) and LDE (on the authors' scale, 0 to 1).
    marks : pandas.DataFrame
        material, kind, row_px, col_px, diameter_nm: "invented" gets an arrow in the output,
        "lost" a box in the output.
    """
    names = ("HDE", "LDE", "output")
    figure, axes = plt.subplots(
        len(panels), 3, figsize=(0.75 * PAGE_WIDTH_IN, 0.25 * PAGE_WIDTH_IN * len(panels)), squeeze=False
    )
    for row, panel in zip(axes, panels, strict=True):
        grey = np.percentile(panel["HDE"], [0.1, 99.9])
        for place, name in zip(row, names, strict=True):
            limits = (0, 1) if name == "LDE" else grey
            micrograph(place, panel[name], pixel_size_nm=panel["bar_nm"], limits=limits)
        row[0].set_ylabel(panel["material"])
        for mark in marks[marks["material"] == panel["material"]].itertuples():
            _mark(row[2], mark, panel["pixel_size_nm"])
    for place, name in zip(axes[0], names, strict=True):
        place.set_title(name)
    return figure


def _mark(axes, mark, pixel_size_nm):
    reach = mark.diameter_nm / pixel_size_nm / 2 + 3
    if mark.kind == "lost":
        corner = (mark.col_px - reach, mark.row_px - reach)
        axes.add_patch(plt.Rectangle(corner, 2 * reach, 2 * reach, fc="none", ec=LOST, lw=0.9))
    elif mark.kind == "invented":
        inwards = 1 if mark.col_px < np.mean(axes.get_xlim()) else -1
        tip = (mark.col_px + inwards * reach, mark.row_px)
        axes.annotate(
            "",
            xy=tip,
            xytext=(inwards * 14, 0),
            textcoords="offset points",
            arrowprops={"color": INVENTED, "width": 1.2, "headwidth": 5, "headlength": 5},
        )


def quality(table):
    """Table 2 as a picture: (a) MAE of the output beside the paper's, (b) nRMSE of every method.

    Takes `table_2_quality`; bars are 95 % intervals over fields, the paper's grey ones its
    standard deviation over images.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH_IN, 2.9), width_ratios=(1, 1.6))
    materials = list(table["material"].unique())
    output = table[table["method"] == "output"].set_index("material").loc[materials]
    x = np.arange(len(materials))
    left.errorbar(
        x - 0.15, output["paper_mae"], output["paper_mae_sd"], fmt="o", mfc="white", color=COLOURS["HDE"],
        label="paper, standard deviation",
    )  # fmt: skip
    for name, shift, marker, label in (
        ("mae", 0.05, "o", "this run, own min-max scale"),
        ("mae_on_hde_scale", 0.25, "v", "this run, HDE scale"),
    ):
        _points(left, x + shift, output, name, COLOURS["denoised"], marker, label)
    left.set_ylabel("MAE against HDE, 0 to 1 scale")
    for i, (method, (label, colour, marker)) in enumerate(METHODS.items()):
        rows = table[table["method"] == method].set_index("material").reindex(materials)
        _points(right, x + (i - 2) * 0.14, rows, "nrmse", colour, marker, label)
    right.set_ylabel("nRMSE after affine fit")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.set_xticks(x, materials, rotation=30, ha="right")
        for i in x[1:]:
            axes.axvline(i - 0.5, color="0.9", lw=0.6, zorder=0)
    left.legend(loc="upper left", bbox_to_anchor=(0, 1.28), fontsize=7)
    right.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=3, fontsize=7)
    return figure


def _points(axes, x, rows, name, colour, marker, label):
    value = rows[name].to_numpy()
    axes.plot(x, value, marker, color=colour, ms=4, label=label)
    if f"{name}_low" in rows:
        axes.vlines(x, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, lw=1)


def fields(images, boxes, *, pixel_size_nm, labels, counts):
    """Figure 4: one field as HDE, LDE and output, with its regions enlarged below.

    Parameters
    ----------
    images : dict of str to ndarray of shape (M, N)
        Three images; the first and the last have one grey scale, the second is 0 to 1.
    boxes : dict of str to tuple
        (top_px, left_px, edge_px) of "I", "II" and "box", where the dose is read.
    pixel_size_nm : float or None
    labels : dict of str to str
        What stands above each image.
    counts : dict of tuple to int
        Particles found, by (image, region).
    """
    figure = plt.figure(figsize=(PAGE_WIDTH_IN, 0.52 * PAGE_WIDTH_IN))
    grid = figure.add_gridspec(2, 6, height_ratios=(2, 1))
    names = list(images)
    grey = np.percentile(images[names[0]], [0.1, 99.9])
    for i, name in enumerate(names):
        limits = (0, 1) if i == 1 else grey
        axes = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
        micrograph(axes, images[name], pixel_size_nm=pixel_size_nm, limits=limits, title=labels[name])
        for region, (top, left, edge) in boxes.items():
            colour = COLOURS["denoised"] if region == "box" else COLOURS["filter"]
            outline = {"fc": "none", "ls": "-" if region == "box" else "--", "ec": colour, "lw": 1.2}
            axes.add_patch(plt.Rectangle((left - 0.5, top - 0.5), edge, edge, path_effects=HALO, **outline))
            if region != "box":
                axes.text(left + 3, top + 3, region, color=colour, va="top", weight="bold", path_effects=HALO)
        for j, region in enumerate(("I", "II")):
            top, left, edge = boxes[region]
            inset = figure.add_subplot(grid[1, 2 * i + j])
            part = images[name][top : top + edge, left : left + edge]
            title = f"region {region}: {counts[name, region]}"
            micrograph(inset, part, pixel_size_nm=pixel_size_nm, limits=limits, title=title)
    return figure


def real_frames(rows):
    """Real LDE frames and what is made of them.

    Parameters
    ----------
    rows : list of dict
        One a frame: `frame` (its name), `pixel_size_nm`, and on one grid the images `raw`,
        `gaussian`, `output`, `authors` and `hde_panel`, all but the first on one scale.
    """
    labels = {
        "raw": "LDE",
        "gaussian": "Gaussian filter",
        "output": "this network",
        "authors": "authors' network",
        "hde_panel": "HDE",
    }
    size = (PAGE_WIDTH_IN, 1.08 * PAGE_WIDTH_IN / len(labels) * len(rows))
    figure, axes = plt.subplots(len(rows), len(labels), figsize=size, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        grey = np.percentile(row["hde_panel"], [0.1, 99.9])
        for place, name in zip(line, labels, strict=True):
            limits = None if name == "raw" else grey
            micrograph(place, row[name], pixel_size_nm=row["pixel_size_nm"], limits=limits)
        line[0].set_ylabel(row["frame"])
    for place, label in zip(axes[0], labels.values(), strict=True):
        place.set_title(label)
    return figure


def histograms(table, peaks):
    """Figure 5: (a) raw HDE and LDE, (b) to (d) scaled HDE, LDE and output, semi-log.

    Parameters
    ----------
    table : pandas.DataFrame
        image ("HDE, raw", "LDE, raw", "HDE", "LDE", "output"), low, high (edges of a bin), count.
    peaks : pandas.DataFrame
        image, peak, position, paper_low, paper_high. A fitted peak is a dashed line, what the
        paper says a grey band.
    """
    figure, axes = plt.subplots(2, 2, figsize=(PAGE_WIDTH_IN, 4.6))
    colours = {"HDE": COLOURS["HDE"], "LDE": COLOURS["LDE"], "output": COLOURS["denoised"]}
    for image in ("HDE", "LDE"):
        _steps(axes[0, 0], table[table["image"] == f"{image}, raw"], colours[image], image)
    axes[0, 0].set_xscale("log")  # on a linear one the LDE frame is a line at zero
    axes[0, 0].set_xlim(left=0.1)
    axes[0, 0].set_xlabel("electrons per pixel of the frame")
    axes[0, 0].legend(loc="upper center")
    peaks = peaks[~peaks["peak"].isin(["lowest", "highest"])]
    for place, (image, colour) in zip(axes.flat[1:], colours.items(), strict=True):
        _steps(place, table[table["image"] == image], colour, image)
        for peak in peaks[peaks["image"] == image].itertuples():
            place.axvspan(peak.paper_low, peak.paper_high, color="0.9", lw=0, zorder=0)
            place.axvline(peak.position, color=COLOURS["filter"], lw=1, ls="--")
            if np.isfinite(peak.position):
                label = {"transform": place.get_xaxis_transform(), "va": "bottom", "ha": "center"}
                place.text(peak.position, 1, f"{peak.position:.2f}", color=COLOURS["filter"], **label)
        place.set_xlabel(f"{image}, scaled intensity")
        place.set_xlim(-0.02, 1.02)
    for letter, place in zip("abcd", axes.flat, strict=True):
        place.set_yscale("log")
        place.set_ylim(bottom=0.7)
        place.set_ylabel("pixels")
        place.set_title(f"({letter})", loc="left")
    return figure


def _steps(axes, bins, colour, label):
    axes.stairs(bins["count"], np.append(bins["low"], bins["high"].iloc[-1]), color=colour, label=label)
