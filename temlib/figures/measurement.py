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
STRONG = RAW, "best", "fast", "paper"
NONE_AT_MOST = -np.log(0.05)  # upper end of the one-sided 95 % interval of a number of which none came
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


def _band(place, x, line, column, style, limits):
    """The 95 % interval of a line, as far as it is within limits."""
    if f"{column}_low" in line:
        ends = (line[f"{column}{end}"].replace(np.inf, limits[1]).clip(*limits) for end in ("_low", "_high"))
        place.fill_between(x, *ends, color=style["color"], alpha=0.15, lw=0)


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

    Takes `size_tables.errors` of one dose by method, material and a bin of diameters. Of raw fits and best the 95 %
    intervals are drawn. Lines break where less than half of the particles is found.
    """
    materials = list(table["material"].unique())
    figure, axes = plt.subplots(
        1, len(materials), figsize=(PAGE_WIDTH_IN, 2.9), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for place, material in zip(axes[0], materials, strict=True):
        rows = table[table["material"] == material]
        for style, line in _by_method(rows):
            line = line.sort_values("diameter_nm")
            _drawn(place, line["diameter_nm"], line["spread_nm"], (0.2, 100), **style)
            if line["method"].isin([RAW, "best"]).all():
                _band(place, line["diameter_nm"], line, "spread_nm", style, (0.2, 100))
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
            if shown["method"].isin(STRONG).all():
                _band(place, shown["d_prime"], shown, column, style, limits)
        place.set(xscale="log", xlabel="d' of the particle in one exposure", ylabel=label)
        place.set_xticks([3, 6, 12, 24], ["3", "6", "12", "24"])
        place.minorticks_off()
    _legend(figure, axes[0])
    return figure


def found_and_invented(recall, curves):
    """Share found against d', and recall against false particles a field as the threshold goes down.

    Takes `found_tables.recall` and `found_tables.froc` with specimen and false_in. None at all is drawn as a half.
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
        _froc(place, curves[curves["false_in"] == false_in], (0.5, 1.01))
        place.set_xlabel(f"false particles, a field {where}")
    axes[1].set_ylabel("recall at d' of 6 or more")
    _legend(figure, axes[0])
    return figure


def _froc(place, curves, limits):
    """Recall against false particles a field, a line a method; none at all is a half, in as many fields as it has."""
    for style, line in _by_method(curves):
        half = line["false_at_most"].min() / NONE_AT_MOST / 2
        place.step(line["false_per_field"].clip(lower=half), line["recall"], where="post", **style)
    place.axvline(0.05, color="0.8", lw=0.7, zorder=1)
    place.set(xscale="log", ylim=limits)


def elsewhere(curves, sizes):
    """On specimens of another kind: recall against false particles a field, and bias and scatter of the diameters.

    Takes `found_tables.froc` and `size_tables.errors` with specimen, this one with against ("truth" or "HDE"). Of the
    second phantom diameters are drawn against the truth, of recorded images, whose truth is drawn by hand, against HDE.
    """
    figure, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.9), layout="constrained")
    names = {"second": "second phantom", "recorded": "recorded images"}
    for place, specimen in zip(axes[:2], ("second", "recorded"), strict=True):
        _froc(place, curves[curves["specimen"] == specimen], (0, 1.02))
        place.set(title=names[specimen], xlabel="false particles, a field")
    axes[0].set_ylabel("recall at d' of 6 or more")
    kinds = {("second", "truth"): ("o", "second phantom, against truth"), ("recorded", "HDE"): ("s", "recorded, HDE")}
    methods = [style["label"] for style, _ in _by_method(sizes)]
    for shift, ((specimen, against), (marker, label)) in zip((-0.15, 0.15), kinds.items(), strict=True):
        shown = sizes[(sizes["specimen"] == specimen) & (sizes["against"] == against)]
        for style, row in _by_method(shown):
            place = methods.index(style["label"]) + shift
            scatter_nm = row["scatter_nm"].where(np.isfinite(row["scatter_nm"]), np.nan)
            mark = {"fmt": marker, "ms": 4, "color": style["color"], "mfc": "white" if shift > 0 else style["color"]}
            axes[2].errorbar(row["bias_nm"], [place], xerr=scatter_nm, lw=0.9, **mark)
        axes[2].plot([], [], marker, color="0.3", ms=4, mfc="white" if shift > 0 else "0.3", label=label)
    axes[2].axvline(0, color="0.8", lw=0.7, zorder=1)
    axes[2].set_yticks(range(len(methods)), methods, fontsize="x-small")
    axes[2].invert_yaxis()
    if not np.isfinite(sizes["bias_nm"]).any():
        axes[2].text(
            0.5, 0.5, "too few particles\nfor a bias", ha="center", backgroundcolor="white", transform=axes[2].transAxes
        )
        axes[2].set_xticks([])
    axes[2].set_xlabel("diameter: bias and scatter (nm)")
    axes[2].legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _legend(figure, axes[0])
    return figure


def other_quantities(table):
    """Scatter of the centre, the gap to a neighbour and the width of the edge against the diameter.

    Takes `quantity_tables.spreads` of one dose by method, from_diameter_nm and quantity.
    """
    panels = {"centre": "centre, along one axis", "gap": "gap to a neighbour", "edge": "width of the edge"}
    figure, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH_IN, 2.9), sharex=True, layout="constrained")
    for place, (quantity, title) in zip(axes, panels.items(), strict=True):
        rows = table[table["quantity"] == quantity]
        for style, line in _by_method(rows):
            line = line.sort_values("from_diameter_nm")
            _drawn(place, line["from_diameter_nm"], line["scatter_nm"], (0.03, 30), **style)
        bound = rows[rows["method"] == RAW].dropna(subset="bound_nm").sort_values("from_diameter_nm")
        place.plot(bound["from_diameter_nm"], bound["bound_nm"], **BOUND)
        place.set(title=title, xscale="log", yscale="log", ylim=(0.03, 30), xlabel="diameter, from (nm)")
        place.set_xticks([30, 60, 120], ["30", "60", "120"])
        place.minorticks_off()
        place.yaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("scatter about the bias (nm)")
    _legend(figure, axes[0])
    return figure


def pairs(table, neighbours):
    """Share of pairs told apart, and spread of the diameters of neighbours over the bound, against the gap.

    Takes `found_tables.pairs_apart`, and `size_tables.errors` by method and gap_nm. Points of the first are moved a
    little sideways, where they would lie on each other.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH_IN, 3.0), sharex=True, layout="constrained")
    for number, (style, line) in enumerate(_by_method(table)):
        gap_nm = line["gap_nm"] + 0.5 * (number - 4)
        left.plot(gap_nm, line["told_apart"], marker=".", ms=3, **style)
        if line["method"].isin([RAW, "best"]).all():
            _band(left, gap_nm, line, "told_apart", style, (0, 1))
    for style, line in _by_method(neighbours):
        _drawn(right, line["gap_nm"], line["spread_by_bound"], (0, 8), **style)
        if line["method"].isin([RAW, "best"]).all():
            _band(right, line["gap_nm"], line, "spread_by_bound", style, (0, 8))
    right.axhline(1, **BOUND)
    for place in (left, right):
        place.axvspan(table["gap_nm"].min() - 5, 0, color="0.95", zorder=0)
        place.set_xlabel("gap between the rims (nm); overlap is shaded")
    left.set(ylabel="share told apart, d' of 6 or more", ylim=(0.4, 1.02))
    right.set_ylabel("spread of the diameters / bound")
    _legend(figure, right)
    return figure
