"""Figures of notebook 08: real frames side by side, their correlation, quality in simulation, bias."""

import matplotlib.pyplot as plt

from temlib.figures import COLOURS, PAGE_WIDTH_IN, micrograph

# name in the tables: label, colour, line style; what is not listed gets the last entry with its own name
STYLES = {
    "raw": ("raw", COLOURS["LDE"], ":"),
    "best": ("best", COLOURS["denoised"], "-"),
    "fast": ("fast", "#E69F00", "-"),
    "middle": ("middle", COLOURS["other"], "-."),
    "narrow": ("narrow", COLOURS["other"], "--"),
    "tiny": ("tiny", COLOURS["other"], ":"),
    "paper": ("paper's U-Net", COLOURS["HDE"], "--"),
    "adapted": ("adapted, all fields", COLOURS["denoised"], ":"),
    "adapted_others": ("adapted, others", COLOURS["denoised"], "--"),
    "authors": ("authors' output", COLOURS["HDE"], "-"),
    "gaussian": ("Gaussian", "#56B4E9", "-"),
    "median": ("median", "#56B4E9", ":"),
    "total_variation": ("total variation", COLOURS["filter"], ":"),
    "non_local_means": ("non-local means", COLOURS["filter"], "-"),
    "bm3d": ("BM3D", COLOURS["truth"], "-"),
    "hde_panel": ("HDE", COLOURS["HDE"], "-"),
}
OTHER = COLOURS["other"], "-."


def label_of(method):
    """How a method is called in figures and sentences."""
    return STYLES[method][0] if method in STYLES else method


def _line(method):
    label, colour, style = STYLES.get(method, (method, *OTHER))
    strong = method not in STYLES or method in ("best", "fast", "paper", "authors")
    return {"label": label, "color": colour, "ls": style, "lw": 1.6 if strong else 1.0, "zorder": 3 if strong else 2}


def real_fidelity(images, *, pixel_size_nm, limits, box):
    """One real exposure by all methods, whole and a part of it enlarged, on one grey scale.

    Parameters
    ----------
    images : dict of str to ndarray of shape (M, N)
        On one grid and scale, in the order in which they are shown.
    pixel_size_nm : float
    limits : tuple of float
        Black and white.
    box : tuple of int
        (top_px, left_px, edge_px) of what is enlarged.
    """
    top, left, edge = box
    figure, axes = plt.subplots(2, len(images), figsize=(PAGE_WIDTH_IN, 2.15 * PAGE_WIDTH_IN / len(images)))
    for (whole, part), (method, image) in zip(axes.T, images.items(), strict=True):
        micrograph(whole, image, pixel_size_nm=pixel_size_nm, limits=limits, title=label_of(method))
        outline = {"fc": "none", "ec": COLOURS["denoised"], "lw": 0.8}
        whole.add_patch(plt.Rectangle((left - 0.5, top - 0.5), edge, edge, **outline))
        cut = image[top : top + edge, left : left + edge]
        micrograph(part, cut, pixel_size_nm=pixel_size_nm, limits=limits)
    return figure


def correlations(table):
    """Fourier ring correlation with the raw other exposure, a panel a field, means over its exposures.

    Takes field, method, frequency_per_nm, frc.
    """
    fields = list(table["field"].unique())
    figure, axes = plt.subplots(
        1, len(fields), figsize=(PAGE_WIDTH_IN, 2.6), sharey=True, squeeze=False, layout="constrained"
    )
    for place, field in zip(axes[0], fields, strict=True):
        of_field = table[table["field"] == field]
        for method, curve in of_field.groupby("method", sort=False):
            mean = curve.groupby("frequency_per_nm")["frc"].mean()
            place.plot(1000 * mean.index, mean, **_line(method))
        place.axhline(0, color="0.8", lw=0.6, zorder=0)
        place.set(xlim=(0, 50), ylim=(-0.05, 1), xlabel="spatial frequency [1/µm]", title=f"{field} field")
    axes[0, 0].set_ylabel("correlation with the raw other exposure")
    handles = {line.get_label(): line for place in axes[0] for line in place.lines if line.get_label()[0] != "_"}
    figure.legend(handles.values(), handles, loc="outside right center", fontsize=7)
    return figure


def fringes(table):
    """Film beside particles, relative to far away from them, a panel a field; bars are standard errors of raw frames.

    Takes field, method, distance_nm, intensity, standard_error.
    """
    figure, axes = _panels(table, "field", "distance_nm", "intensity", level=1, error="standard_error")
    for place in axes:
        place.set(ylim=(0.88, 1.12), xlabel="distance from the nearest particle [nm]")
    axes[0].set_ylabel("relative to film far away")
    return figure


def quality(table):
    """nRMSE against dose: a row a specimen, a column a material; bands are a network's 95 % intervals over fields.

    Takes the rows of one camera of the table of `temlib.trials.summarise`.
    """
    specimens = list(table["specimen"].unique())
    materials = {name: list(table.loc[table["specimen"] == name, "material"].unique()) for name in specimens}
    columns = max(len(names) for names in materials.values())
    size = (PAGE_WIDTH_IN, 0.6 + 1.4 * len(specimens))
    figure, axes = plt.subplots(len(specimens), columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    lines = {}
    for row, specimen in zip(axes, specimens, strict=True):
        for place, material in zip(row, materials[specimen], strict=False):
            chosen = (table["specimen"] == specimen) & (table["material"] == material)
            lines |= _against_dose(place, table[chosen])
            place.set_title(material if material == specimen else f"{specimen}: {material}", fontsize=7)
        for place in row[len(materials[specimen]) :]:
            place.set_axis_off()
        row[0].set_ylabel("nRMSE")
    for column in axes.T:
        lowest = [place for place in column if place.axison][-1]
        lowest.set_xlabel("dose [e⁻/px]")
        lowest.tick_params(labelbottom=True)
    labels = [line.get_label() for line in lines.values()]
    if axes[-1, -1].axison:
        figure.legend(lines.values(), labels, loc="outside upper center", ncols=4)
    else:  # a row that the materials do not fill has room for it
        place = axes[-1, len(materials[specimens[-1]])]
        place.legend(lines.values(), labels, loc="upper left", ncols=2, borderaxespad=0).set_in_layout(False)
    return figure


def _against_dose(axes, rows):
    lines = {}
    for method, curve in rows.groupby("method", sort=False):
        style = _line(method)
        if style["zorder"] == 3:  # those of the filters would hide everything
            band = (curve["dose_e_per_px"], curve["nrmse_low"], curve["nrmse_high"])
            axes.fill_between(*band, color=style["color"], alpha=0.15, lw=0)
        (lines[method],) = axes.plot(curve["dose_e_per_px"], curve["nrmse"], marker=".", ms=3, **style)
    doses = sorted(rows["dose_e_per_px"].unique())
    axes.set(xscale="log", ylim=(0, 1.1))
    axes.set_xticks(doses, [f"{dose:g}" for dose in doses])
    axes.minorticks_off()
    return lines


def bias(table):
    """Output minus truth against the true transmission, without any fit: a panel a camera.

    Takes camera, method, transmission, bias, pixels.
    """
    figure, axes = _panels(table, "camera", "transmission", "bias", level=0)
    for place in axes:
        place.set(xlabel="true transmission")
    axes[0].set_ylabel("mean output minus truth")
    return figure


def _panels(table, panel, x, y, *, level, error=None):
    """One column of a table against another for each method, a panel for each value of a third; figure and axes.

    `level` is what all curves should be at; `error` the column of the standard errors, drawn for raw frames.
    """
    names = list(table[panel].unique())
    figure, axes = plt.subplots(1, len(names), figsize=(PAGE_WIDTH_IN, 2.4), sharey=True, squeeze=False)
    for place, name in zip(axes[0], names, strict=True):
        for method, curve in table[table[panel] == name].groupby("method", sort=False):
            bars = curve[error] if error and method == "raw" else None
            place.errorbar(curve[x], curve[y], bars, elinewidth=0.8, marker=".", ms=3, **_line(method))
        place.axhline(level, color="0.8", lw=0.6, zorder=0)
        place.set_title(f"{name} {panel}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7)
    return figure, axes[0]
