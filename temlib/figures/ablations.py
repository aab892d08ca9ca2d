"""Figures of notebook 10: what each choice changes, and dose in training against dose at test."""

import matplotlib.pyplot as plt
import numpy as np

from temlib.figures import COLOURS, COLUMN_WIDTH_IN, PAGE_WIDTH_IN

# colour and marker: no verdict is told by its colour alone
VERDICTS = {
    "better": (COLOURS["filter"], "^"),
    "worse": (COLOURS["denoised"], "v"),
    "not resolved": ("0.45", "o"),
    "nothing learnt": ("0.7", "x"),
}
ROW_IN = 0.19
THIS = "this run"  # whose markers are filled
APART = ("cameras",)  # questions whose differences want a scale of their own
SHORT = {"authors' preprocessing": "authors'", "against a Gaussian filter": "over Gaussian"}  # of names of these


def differences(table):
    """Differences of the comparisons with their intervals, a row each; those of two runs below one another.

    Arrows are at the ends of intervals over seeds that reach beyond everything else.

    Takes run, question, comparison, difference_db, low_db and high_db (over seeds: thick), fields_low_db and
    fields_high_db (over fields: thin), seeds_db (ticks), verdict and paper.
    """
    apart = table["question"].isin(APART)
    parts = [rows for rows in (table[~apart], table[apart]) if len(rows)]
    n_rows = [rows["comparison"].nunique() + 0.5 * rows["question"].nunique() for rows in parts]
    size = (PAGE_WIDTH_IN, ROW_IN * sum(n_rows) + 0.55 * len(parts) + 0.35)
    figure, axes = plt.subplots(len(parts), 1, figsize=size, height_ratios=n_rows, squeeze=False)
    runs = sorted(table["run"].unique(), key=lambda run: run != THIS)
    for place, rows in zip(axes[:, 0], parts, strict=True):
        _forest(place, rows, runs)
    axes[0, 0].set_xlabel("difference [dB]")
    axes[-1, 0].set_xlabel("difference in −20 lg nRMSE [dB]; to the right: nearer to the truth")
    for verdict, (colour, marker) in VERDICTS.items():
        axes[0, 0].plot([], [], marker, color=colour, ms=5, label=verdict)
    for run in runs if len(runs) > 1 else ():
        axes[0, 0].plot([], [], "s", color="0.2", mfc=_face("0.2", run, runs), ms=4, label=run)
    figure.legend(loc="outside upper center", ncols=5)
    return figure


def _face(colour, run, runs):
    return colour if run == runs[0] else "white"


def _forest(axes, table, runs):
    heights, names, headings, y = {}, [], [], 0.0
    for question, rows in table.groupby("question", sort=False):
        headings.append((question, y))
        for name in rows["comparison"].unique():
            heights[name] = y
            names.append(name)
            y += 1
        y += 0.5
    axes.axvline(0, color="0.7", lw=0.8, zorder=0)
    left, right = _limits(table)
    axes.set_xlim(left, right)
    for row in table.itertuples():
        shift = 0.36 * (runs.index(row.run) - (len(runs) - 1) / 2) if len(runs) > 1 else 0.0
        at = heights[row.comparison] + shift
        if not np.isfinite(row.difference_db):
            axes.annotate(
                row.verdict,
                (0, at),
                (-4, 0),
                textcoords="offset points",
                va="center",
                ha="right",
                fontsize=6,
                color="0.4",
            )
            continue
        colour, marker = VERDICTS[row.verdict]
        seeds = np.array(str(row.seeds_db).split(), float)
        axes.plot(seeds, np.full(len(seeds), at), "|", color=colour, ms=6, mew=0.8)
        axes.plot([row.fields_low_db, row.fields_high_db], [at, at], color=colour, lw=0.6)
        axes.plot(np.clip([row.low_db, row.high_db], left, right), [at, at], color=colour, lw=1.6)
        for end, beyond, arrow in ((left, row.low_db < left, "<"), (right, row.high_db > right, ">")):
            if beyond:
                axes.plot(end, at, arrow, color=colour, ms=4, clip_on=False)
        axes.plot(row.difference_db, at, marker, color=colour, mfc=_face(colour, row.run, runs), ms=4.5)
    for row in table.drop_duplicates("comparison").dropna(subset="paper").itertuples():
        if row.paper:
            where = (1.01, heights[row.comparison])
            axes.text(*where, f"paper: {row.paper}", transform=axes.get_yaxis_transform(), va="center", fontsize=6.5)
    for question, top in headings:
        axes.axhline(top - 0.75, color="0.88", lw=0.6, zorder=0)
        where = (0.005, top - 0.5)
        axes.text(*where, question, transform=axes.get_yaxis_transform(), fontsize=6.5, color="0.4", va="center")
    labels = map(_short, names) if table["question"].isin(APART).all() else names
    axes.set_yticks([heights[name] for name in names], labels, fontsize=7)
    axes.set_ylim(y - 0.75, -0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _limits(table):
    """Of the differences and all that tells of them but intervals over seeds, which may be wide: three are few."""
    seeds = " ".join(table["seeds_db"].dropna().astype(str)).split()
    told = table[["difference_db", "fields_low_db", "fields_high_db"]].to_numpy(float).ravel()
    told = np.concatenate([told[np.isfinite(told)], np.array(seeds, float), [0.0]])
    margin = 0.08 * max(np.ptp(told), 0.1)
    return told.min() - margin, told.max() + margin


def _short(name):
    for long, short in SHORT.items():
        name = name.replace(long, short)
    return name


def doses(matrix):
    """What a network loses against one trained at the dose of the test; in brackets what is not resolved.

    Takes trained_at, tested_at, loss_db, resolved.
    """
    order = sorted(set(matrix["tested_at"]), key=float)
    rows = sorted(set(matrix["trained_at"]), key=lambda name: float(name) if name != "all" else np.inf)
    values = matrix.pivot(index="trained_at", columns="tested_at", values="loss_db").loc[rows, order]
    resolved = matrix.pivot(index="trained_at", columns="tested_at", values="resolved").loc[rows, order]
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 0.6 + 0.45 * len(rows)))
    top = max(1.0, np.nanmax(values.to_numpy(float)))
    image = axes.imshow(values.to_numpy(float), cmap="cividis_r", vmin=0, vmax=top, aspect="auto")
    for i, trained in enumerate(rows):
        for j, tested in enumerate(order):
            value = values.loc[trained, tested]
            if np.isfinite(value):
                text = f"{value:.1f}" if resolved.loc[trained, tested] else f"({value:.1f})"
                colour = "white" if value > 0.6 * top else "0.1"
                axes.text(j, i, text.replace("-", "−"), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(order)), order)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="dose at test [e⁻/px]", ylabel="dose in training [e⁻/px]")
    figure.colorbar(image, label="loss [dB]")
    return figure
