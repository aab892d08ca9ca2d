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


def replays(table):
    """Left: how long frames waited in `temlib.replay.replay_table`; right: how many were lost.

    Markers are medians from arrival to result; the bar reaches to the 99th percentile.
    """
    figure, (waits, losses) = plt.subplots(1, 2, figsize=(PAGE_WIDTH_IN, 2.6))
    rates = sorted(table.fps.unique())
    groups = list(table.groupby(["model", "backend", "precision", "device"], sort=False))
    for number, ((model, backend, precision, _), rows) in enumerate(groups):
        place = [rates.index(fps) + (number - (len(groups) - 1) / 2) * 0.6 / len(groups) for fps in rows.fps]
        (line,) = waits.plot(place, rows.p50_ms, "o", ms=5, label=f"{model}, {backend} {precision}")
        waits.vlines(place, rows.p50_ms, rows.p99_ms, color=line.get_color())
        losses.bar(place, 100 * rows.dropped / rows.frames, 0.5 / len(groups), color=line.get_color())
    for place, fps in enumerate(rates):
        waits.hlines(1000 / fps, place - 0.4, place + 0.4, color="0.6", lw=0.8, ls=":")
    for axes in (waits, losses):
        axes.set_xticks(range(len(rates)), [f"{fps:g}" for fps in rates])
        axes.set_xlabel("frames that arrive in a second")
    waits.set(yscale="log", ylabel="from arrival to result [ms]")
    waits.yaxis.set_major_formatter("{x:g}")
    losses.set(ylabel="frames lost [%]", ylim=(0, 100))
    figure.legend(*waits.get_legend_handles_labels(), loc="outside right upper")
    return figure
