"""How the networks of notebook 08 learnt, and what each gives for its time."""

import matplotlib.pyplot as plt
import numpy as np

from temlib.figures import PAGE_WIDTH_IN

MARKERS = {"int8": "o", "bf16": "^", "fp32": "s", "fp16": "D"}
OTHER_MARKER = "v"  # what a processor computes in is called by its runtime


def learning(history):
    """Mean error of each network against the time of its training, those that learn from another one by themselves.

    Takes network, step, loss, minutes, and learns_from, a panel each; a line is a mean over ten rounds.
    """
    figure, axes = plt.subplots(
        1, history.learns_from.nunique(), figsize=(PAGE_WIDTH_IN, 2.6), sharey=True, squeeze=False, layout="constrained"
    )
    for place, (target, chosen) in zip(axes[0], history.groupby("learns_from", sort=False), strict=True):
        for name, rows in chosen.groupby("network", sort=False):
            error_db = 10 / np.log(10) * rows.loss  # the loss is a natural logarithm
            (points,) = place.plot(rows.minutes, error_db, ".", ms=3, alpha=0.4)
            smooth = error_db.rolling(10, min_periods=1, center=True).mean()
            place.plot(rows.minutes, smooth, color=points.get_color(), label=f"{name}, {rows.step.max()} steps")
        place.set(xlabel="time of training [min]", title=f"against {target}")
        place.locator_params(axis="x", nbins=5)
        place.legend(loc="upper right")
    axes[0, 0].set_ylabel("mean squared error [dB]")
    return figure


def pareto(table, *, camera_fps):
    """Quality of networks against how long a frame takes in them.

    Parameters
    ----------
    table : pandas.DataFrame
        model, backend (markers of torch are hollow), precision, median_ms, p95_ms, gain_db (over the best filter).
    camera_fps : sequence of float
        Rates to draw as vertical lines.
    """
    figure, axes = plt.subplots(figsize=(PAGE_WIDTH_IN, 3.2))
    for name, rows in table.sort_values("median_ms").groupby("model", sort=False):
        (line,) = axes.plot(rows.median_ms, rows.gain_db, lw=0.8, alpha=0.6)
        axes.hlines(rows.gain_db, rows.median_ms, rows.p95_ms, color=line.get_color(), lw=1.5)
        for row in rows.itertuples():
            face = "white" if row.backend.startswith("torch") else line.get_color()
            axes.plot(
                row.median_ms,
                row.gain_db,
                MARKERS.get(row.precision, OTHER_MARKER),
                color=line.get_color(),
                mfc=face,
                ms=6,
            )
        first = rows.iloc[0]
        axes.annotate(name, (first.median_ms, first.gain_db), (0, 7), textcoords="offset points", ha="center")
    for fps in camera_fps:
        axes.axvline(1000 / fps, color="0.6", lw=0.8, ls=":", zorder=0)
        axes.text(
            1000 / fps,
            1.0,
            f"{fps} fps ",
            color="0.35",
            ha="right",
            va="top",
            fontsize=7,
            rotation=90,
            transform=axes.get_xaxis_transform(),
        )
    for precision in table.precision.unique():
        axes.plot([], [], MARKERS.get(precision, OTHER_MARKER), color="0.3", label=precision)
    axes.set(
        xscale="log", xlabel="counts to electrons, one 512 x 512 frame [ms]", ylabel="gain over the best filter [dB]"
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(y=0.15)
    axes.legend(loc="lower right")
    return figure
