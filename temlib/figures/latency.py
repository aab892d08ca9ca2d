"""Table 3 as a picture: waiting times beside the frame times of the camera."""

import matplotlib.pyplot as plt

from temlib.figures import COLOURS, PAGE_WIDTH_IN

MARKERS = {"calculation": "o", "with transfer": "s"}
FILLED = {"paper": False, "this run": True}


def waiting_times(table, *, camera_fps):
    """One line a processor of `temlib.latency.beside_paper`; vertical lines where a camera rate is kept.

    Markers are means; the bar of this run's reaches to the 99th percentile.
    """
    timed = table.dropna(subset="mean_ms")
    groups = list(timed.groupby(["source", "machine", "processor"], sort=False))
    figure, axes = plt.subplots(figsize=(PAGE_WIDTH_IN, 0.9 + 0.32 * len(groups)))
    labels = []
    for height, ((source, _, processor), rows) in enumerate(groups):
        threads = rows.threads.dropna()
        labels.append(f"{processor}, {threads.iloc[0]} threads" if len(threads) else processor)
        colour = COLOURS["denoised"] if source == "this run" else COLOURS["HDE"]
        for row in rows.itertuples():
            axes.plot([row.mean_ms, row.p99_ms], [height, height], color=colour, lw=1.5)
            face = colour if FILLED[source] else "white"
            axes.plot(row.mean_ms, height, MARKERS[row.measure], mec=colour, mfc=face, ms=6)
    for fps in camera_fps:
        axes.axvline(1000 / fps, color="0.6", lw=0.8, ls=":", zorder=0)
        axes.text(1000 / fps, -0.75, f"{fps} fps", color="0.35", ha="center", va="bottom", fontsize=7)
    for measure, marker in MARKERS.items():
        axes.plot([], [], marker, mec="0.2", mfc="white", label=measure)
    for source, colour in {"paper": COLOURS["HDE"], "this run": COLOURS["denoised"]}.items():
        axes.plot([], [], color=colour, lw=2, label=source)
    axes.set(xscale="log", xlabel="waiting time for one frame [ms]", ylim=(len(groups) - 0.5, -0.8))
    axes.set_yticks(range(len(groups)), labels)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
