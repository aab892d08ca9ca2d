"""Figures of notebook 06: profiles with their fits, and all diameters and gaps against what is true."""

import matplotlib.pyplot as plt
import numpy as np

from temlib.figures import COLOURS, PAGE_WIDTH_IN
from temlib.line_sizes import diameters_text

PANELS = ("HDE", "LDE", "output")
MEASURED = {"HDE": (COLOURS["HDE"], "o"), "LDE": (COLOURS["LDE"], "^"), "output": (COLOURS["denoised"], "s")}


def line_profiles(points, sizes):
    """HDE, LDE and output along one line, as the paper's Figs. 6 and 7 show them.

    Parameters
    ----------
    points, sizes : pandas.DataFrame
        Of `line_sizes.measure_line`; `points` with a column `truth`, NaN where it is not known.
        The fitted centres of a pair are marked.
    """
    images = [name for name in PANELS if name in set(points["image"])]
    figure, panels = plt.subplots(1, len(images), figsize=(PAGE_WIDTH_IN, 2.8), sharex=True, squeeze=False)
    for axes, name, letter in zip(panels[0], images, "abc", strict=False):
        line, fits = points[points["image"] == name], sizes[sizes["image"] == name]
        axes.plot(line["distance_nm"], line["intensity"], color=COLOURS["filter"], lw=1)
        axes.plot(line["distance_nm"], line["truth"], color=COLOURS["truth"], ls="--", lw=1)
        axes.axhline(line["background"].iloc[0], color="0.3", ls=":", lw=1)
        for fit in fits[fits["measurable"]].itertuples():
            used = line[line["particle"] == fit.particle]
            axes.plot(used["distance_nm"], used["intensity"], "o", ms=3.5, mfc="none", mew=0.7, color=COLOURS["HDE"])
            axes.plot(used["distance_nm"], used["fitted"], color=COLOURS["denoised"], lw=1.2)
            if len(fits) > 1:
                axes.axvline(fit.centre_nm, color="0.3", ls=":", lw=0.8)
        axes.set_title(f"({letter}) {name}\n{diameters_text(fits)}", loc="left")
        axes.set_xlabel("distance (nm)")
        axes.set_ylabel("transmission")
        axes.set_xlim(line["distance_nm"].min(), line["distance_nm"].max())
    _same_scale(panels[0], images)
    _legend(figure, with_truth=points["truth"].notna().any(), with_fit=sizes["measurable"].any())
    return figure


def _same_scale(panels, images):
    """HDE and output are compared by eye, so they share an ordinate; the LDE frame's noise needs its own."""
    compared = [axes for axes, name in zip(panels, images, strict=True) if name != "LDE"]
    limits = np.array([axes.get_ylim() for axes in compared])
    for axes in compared:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _legend(figure, *, with_truth, with_fit):
    entries = {
        "profile": {"color": COLOURS["filter"], "lw": 1},
        "background": {"color": "0.3", "ls": ":", "lw": 1},
    }
    if with_fit:
        entries["points used"] = {
            "color": COLOURS["HDE"],
            "marker": "o",
            "ls": "",
            "ms": 3.5,
            "mfc": "none",
            "mew": 0.7,
        }
        entries["sphere law"] = {"color": COLOURS["denoised"], "lw": 1.2}
    if with_truth:
        entries["truth"] = {"color": COLOURS["truth"], "ls": "--", "lw": 1}
    handles = [plt.Line2D([], [], **style) for style in entries.values()]
    figure.legend(handles, entries, loc="outside upper center", ncols=len(entries))


def all_particles(sizes, errors, *, reference, significant):
    """Diameters against their reference, what could be measured, and the gaps of pairs.

    Parameters
    ----------
    sizes : pandas.DataFrame
        `06_all_particles.csv`.
    errors : pandas.DataFrame
        Of `line_sizes.error_table`.
    reference : str
        What diameters are compared with, "truth" or "HDE".
    significant : float
        Depth over standard error from which a valley counts; drawn as a line.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.9))
    shown = {name: look for name, look in MEASURED.items() if name in set(sizes["image"])}
    for name, (colour, marker) in shown.items():
        own = sizes[(sizes["image"] == name)]
        good = own[own["measurable"] & own["reference_nm"].notna()]
        left.errorbar(
            good["reference_nm"],
            good["diameter_nm"] - good["reference_nm"],
            good["diameter_se_nm"],
            fmt=marker,
            color=colour,
            ms=3,
            lw=0.6,
            mfc="none",
            mew=0.8,
            label=name,
        )
        pairs = own[own["kind"].eq("pair") & own["particle"].eq(1)]
        right.plot(
            pairs["expected_gap_nm"],
            pairs["valley_depth"] / pairs["valley_depth_se"],
            marker,
            color=colour,
            ms=4,
            mfc="none",
            mew=0.9,
        )
    left.axhline(0, color="0.6", lw=0.7)
    left.set(xlabel=f"diameter, {reference} (nm)", ylabel="measured minus this (nm)")
    left.set_title("(a) diameters", loc="left")

    materials = [name for name in errors["material"].unique() if name != "all"]
    width = 0.8 / max(len(shown), 1)
    for number, (name, (colour, _)) in enumerate(shown.items()):
        own = errors[errors["image"] == name].set_index("material").reindex(materials)
        bars = middle.bar(
            np.arange(len(materials)) + (number - (len(shown) - 1) / 2) * width,
            100 * (1 - own["failed"] / own["particles"]),
            width,
            color=colour,
        )
        middle.bar_label(bars, own["particles"] - own["failed"], fontsize=5, padding=1, color=colour)
    middle.set_xticks(range(len(materials)), materials, rotation=40, ha="right")
    middle.set(ylabel="measurable (%)", ylim=(0, 108))
    middle.set_title("(b) significant fits", loc="left")

    right.axhline(significant, color="0.6", lw=0.7, ls=":")
    right.axvline(0, color="0.6", lw=0.7)
    right.set(xlabel="gap between the edges (nm)", ylabel="valley / standard error", yscale="symlog")
    right.margins(0.12)
    right.set_title("(c) pairs", loc="left")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
