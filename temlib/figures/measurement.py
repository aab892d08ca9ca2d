"""Figures of notebook 09: how wrong diameters are, what is found and what is invented, and pairs told apart."""

import matplotlib.pyplot as plt
import numpy as np

from temlib.figures import COLOURS, PAGE_WIDTH_IN
from temlib.figures import fast_network as networks
from temlib.measuring import RAW
from temlib.size_trials import RAW_TWICE

STYLES = networks.STYLES | {
    RAW: ("raw, matched fit", COLOURS["LDE"], "-"),
    RAW_TWICE: ("two raw, matched fit", COLOURS["LDE"], "--"),
    "hde": ("HDE", COLOURS["HDE"], "-"),
    "paper": ("paper's U-Net", COLOURS["HDE"], "--"),
}
STRONG, BESIDE = (RAW, "best", "fast", "paper"), (RAW_TWICE, "hde")
BOUND = {"color": "black", "lw": 1.2, "ls": (0, (1, 1)), "label": "bound, one exposure"}


def label_of(method):
    """How a method is called in figures and sentences."""
    return STYLES[method][0] if method in STYLES else method


def _by_method(table):
    """(line style, rows) of each method, always in the order of `STYLES`."""
    order = {method: number for number, method in enumerate(STYLES)}
    for method, rows in sorted(table.groupby("method"), key=lambda item: order.get(item[0], len(order))):
        yield _line(method), rows


def _line(method):
    label, colour, style = STYLES.get(method, (method, *networks.OTHER))
    strong = method in STRONG
    return {"label": label, "color": colour, "ls": style, "lw": 1.8 if strong else 0.9, "zorder": 3 if strong else 2}


def _with_best_filter(table):
    """Without the filters but the one that is right to the smallest share of a diameter, as often as it is known."""
    filters = table[~table["method"].isin(STRONG + BESIDE)]
    share = (filters["spread_nm"] / filters["diameter_nm"]).replace(np.inf, 10.0)
    left = share.groupby(filters["method"]).median().nsmallest(1).index
    return table[table["method"].isin([*STRONG, *BESIDE, *left])]


def _drawn(place, x, y, limits, **style):
    """A line that breaks where a value is not known, with triangles at the edge for what lies beyond it."""
    y = y.replace([np.inf, -np.inf], np.nan)
    place.plot(x, y.where(y.between(*limits)), marker=".", ms=3, **style)
    for beyond, edge, marker in ((y > limits[1], limits[1], "^"), (y < limits[0], limits[0], "v")):
        marks = {"marker": marker, "color": style["color"], "s": 14, "clip_on": False, "zorder": 4}
        place.scatter(x[beyond], np.full(int(beyond.sum()), edge), **marks)
    place.set_ylim(limits)


def _legend(figure, axes):
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize="small")


def diameter_errors(table):
    """Spread of the diameter against the diameter, a panel a material, with the bound and lines of 2 and 5 %.

    Takes `size_tables.errors` of one dose by method, material and a bin of diameters. Of the filters the best one is
    drawn. Lines break where less than half of the particles is found.
    """
    table = _with_best_filter(table)
    materials = list(table["material"].unique())
    figure, axes = plt.subplots(
        1, len(materials), figsize=(PAGE_WIDTH_IN, 2.9), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for place, material in zip(axes[0], materials, strict=True):
        rows = table[table["material"] == material]
        for style, line in _by_method(rows):
            line = line.sort_values("diameter_nm")
            _drawn(place, line["diameter_nm"], line["spread_nm"], (0.2, 100), **style)
        bound = rows.drop_duplicates("diameter_bin").sort_values("diameter_nm")
        place.plot(bound["diameter_nm"], bound["bound_nm"], **BOUND)
        ends = np.array([30, 200])
        for share in (0.02, 0.05):
            place.plot(ends, share * ends, color="0.8", lw=0.7, zorder=1)
            place.annotate(f"{share:.0%}", (ends[1], share * ends[1]), color="0.5", fontsize="x-small", va="center")
        place.set(title=material, xscale="log", yscale="log", xlabel="diameter (nm)")
        place.set_xticks([30, 60, 120, 200], ["30", "60", "120", "200"])
        place.set_yticks([1, 10, 100], ["1", "10", "100"])
        place.minorticks_off()
    axes[0, 0].set_ylabel("spread of the diameter (nm)")
    _legend(figure, axes[0, 0])
    return figure


def against_the_bound(table):
    """Bias and spread over the bound, and the coverage of stated 90 % intervals, against d'.

    Takes `size_tables.errors` by method and a class of d', with d_prime. What lies beyond a panel is a triangle at its
    edge.
    """
    figure, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.9), sharex=True, layout="constrained")
    panels = [("bias_by_bound", "bias / bound", 0.0, (-4, 4)), ("spread_by_bound", "spread / bound", 1.0, (0, 6))]
    panels += [("coverage", "share within the 90 % interval", 0.9, (0.4, 1.02))]
    for place, (column, label, ideal, limits) in zip(axes, panels, strict=True):
        place.axhline(ideal, **(BOUND | {"label": None}))
        for style, line in _by_method(table):
            shown = line[np.isfinite(line[column])]
            _drawn(place, line["d_prime"], line[column], limits, **style)
            if shown["method"].isin(STRONG).all() and f"{column}_low" in shown:
                ends = shown[f"{column}_low"], shown[f"{column}_high"].replace(np.inf, np.nan)
                place.fill_between(shown["d_prime"], *ends, color=style["color"], alpha=0.15, lw=0)
        place.set(xscale="log", xlabel="d' of the particle in one exposure", ylabel=label)
        place.set_xticks([3, 6, 12, 24], ["3", "6", "12", "24"])
        place.minorticks_off()
    _legend(figure, axes[0])
    return figure


def found_and_invented(recall, curves):
    """Share found against d', and recall against false particles a field as the threshold goes down.

    Takes `found_tables.recall` and `found_tables.froc` with specimen and false_in.
    """
    figure, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.9), layout="constrained")
    for style, line in _by_method(recall):
        axes[0].plot(line["d_prime"], line["recall"], marker=".", ms=3, **style)
    axes[0].axvspan(0.5, 3, color="0.95", zorder=0)
    axes[0].set(xscale="log", xlabel="d' of the particle in one exposure", ylabel="share found")
    axes[0].set_xticks([1, 3, 6, 12], ["1", "3", "6", "12"])
    axes[0].minorticks_off()
    curves = curves[curves["specimen"] == "sized"]
    for place, false_in, where in zip(axes[1:], ("sized", "empty"), ("with particles", "that is empty"), strict=True):
        shown = curves[curves["false_in"] == false_in]
        least = shown.loc[shown["false_per_field"] > 0, "false_per_field"].min() / 2
        for style, line in _by_method(shown):
            place.step(line["false_per_field"].clip(lower=least), line["recall"], where="post", **style)
        place.axvline(0.05, color="0.8", lw=0.7, zorder=1)
        place.set(xscale="log", xlabel=f"false particles, a field {where}", ylim=(0.5, 1.01))
    axes[1].set_ylabel("recall at d' of 6 or more")
    _legend(figure, axes[0])
    return figure


def pairs(table):
    """Share of pairs told apart against their gap. Takes `found_tables.pairs_apart`."""
    figure, axes = plt.subplots(figsize=(0.6 * PAGE_WIDTH_IN, 3.0), layout="constrained")
    for style, line in _by_method(table):
        axes.plot(line["gap_nm"], line["told_apart"], marker=".", ms=3, **style)
        if line["method"].isin(STRONG).all():
            axes.fill_between(
                line["gap_nm"], line["told_apart_low"], line["told_apart_high"], color=style["color"], alpha=0.15, lw=0
            )
    axes.axvspan(table["gap_nm"].min() - 5, 0, color="0.95", zorder=0)
    axes.set(xlabel="gap between the rims (nm); overlap is shaded", ylabel="share told apart", ylim=(0, 1.02))
    _legend(figure, axes)
    return figure
