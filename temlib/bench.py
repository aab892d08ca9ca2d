"""How long a frame takes: every runtime of this machine in turns, in one run.

The clock runs from a camera's uint16 counts to float32 electrons.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from time import perf_counter

import numpy as np
import pandas as pd

from temlib.inference import denoise_image
from temlib.networks import SHIPPED, load
from temlib.paths import whole_file
from temlib.quality import affine_fit
from temlib.runtimes import ELECTRONS_PER_COUNT, PARTS, THREADS, runtimes, simulated_frames

REFERENCE = {"model": "paper", "backend": "torch", "precision": "fp32"}
TURN_FRAMES = 5
SETTLE_MS = 20  # threads of the runtime before spin this long, waiting for work that does not come
N_FRAMES = 4
OVERLAPPING_S = 3.0


def measure(found, frames, *, repeats=100):
    """Time runtimes in turns, so that a busy moment of the machine hits them all.

    Parameters
    ----------
    found : list of Runtime
    frames : ndarray of uint16, shape (n, M, M)
        Counts.
    repeats : int
        Frames timed of each runtime, TURN_FRAMES a turn. Every turn begins with frames that are
        not timed, at least one and SETTLE_MS long: they fill the caches again.

    Returns
    -------
    list of dict
        One row a runtime: what it is, `size`, the quantiles and `parts_ms` of `quantiles`.
    """
    times = [[] for _ in found]
    parts = [[] for _ in found]
    for turn in range(0, repeats, TURN_FRAMES):
        for number, runtime in enumerate(found):
            settled = perf_counter() + SETTLE_MS / 1e3
            runtime.denoise(frames[0])
            while perf_counter() < settled:
                runtime.denoise(frames[0])
            for frame in range(turn, min(turn + TURN_FRAMES, repeats)):
                start = perf_counter()
                _, of_parts = runtime.denoise(frames[frame % len(frames)])
                times[number].append(1e3 * (perf_counter() - start))
                parts[number].append(of_parts)
    return [
        runtime.told() | {"size": frames.shape[1]} | quantiles(*of_one)
        for runtime, *of_one in zip(found, times, parts, strict=True)
    ]


def quantiles(times_ms, parts_ms):
    """Median, p5, p95 and p99 of one runtime's times [ms], and the median of each part."""
    names = ("median_ms", "p5_ms", "p95_ms", "p99_ms")
    values = np.percentile(times_ms, [50, 5, 95, 99]).tolist()
    parts = {part: float(np.median([of_one[part] for of_one in parts_ms])) for part in PARTS}
    return dict(zip(names, values, strict=True)) | {"parts_ms": parts}


def overlapping(models, frames, *, seconds, threads=THREADS):
    """Frames a second where several are under way at once, each on one thread, with a network of its own.

    Parameters
    ----------
    models : sequence
        As `networks.load` takes them.
    frames : ndarray of uint16, shape (n, M, M)
        Counts.
    seconds : float
        For which each network runs, after a frame that is not counted.
    threads : int
        As many frames are under way.

    Returns
    -------
    list of dict
        model, device, threads, size and frames_per_s.
    """

    def run(network, stop):
        made = 0
        while perf_counter() < stop:
            image = denoise_image(frames[made % len(frames)], network)
            image *= ELECTRONS_PER_COUNT
            made += 1
        return made

    rows = []
    for model in models:
        networks = [load(model, threads=1) for _ in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(denoise_image, repeat(frames[0]), networks))
            start = perf_counter()
            made = sum(pool.map(run, networks, repeat(start + seconds)))
            rate = made / (perf_counter() - start)
        told = {"model": networks[0].name, "device": networks[0].device, "threads": threads, "size": frames.shape[1]}
        rows.append(told | {"frames_per_s": rate})
    return rows


def with_ratios(rows):
    """Rows as a table: parts in columns of their own, and how many times as fast as the reference.

    The reference is the paper's network in eager PyTorch, fp32, on the CPU; without it there
    are no ratios.
    """
    table = pd.DataFrame([row | {f"{part}_ms": row["parts_ms"][part] for part in PARTS} for row in rows])
    table = table.drop(columns="parts_ms").astype({"threads": "Int64"})
    is_reference = table.threads.notna()
    for name, value in REFERENCE.items():
        is_reference &= table[name] == value
    reference_ms = table.median_ms[is_reference].squeeze() if is_reference.any() else np.nan
    return table.assign(times_as_fast=reference_ms / table.median_ms)


def losses(found, frames, expected_e):
    """How far each runtime's images are from the truth, and what its precision costs.

    Parameters
    ----------
    found : list of Runtime
    frames : ndarray of uint16, shape (n, M, M)
        Counts.
    expected_e : ndarray of shape (n, M, M)
        What they would be without noise and clipping [e-/px].

    Returns
    -------
    pandas.DataFrame
        What each runtime is, `rms_error_e` and `bias_e` (of image minus truth [e-/px]), `fitted_error_e` (root mean
        square after the best affine fit) and `loss_db`: that over the same of the network in single precision, NaN
        where there is none.
    """
    rows = []
    for runtime in found:
        images = [runtime.denoise(frame)[0] for frame in frames]
        errors = np.array(images) - expected_e
        left = [affine_fit(image, truth) - truth for image, truth in zip(images, expected_e, strict=True)]
        told = {"rms_error_e": _rms(errors), "bias_e": float(np.mean(errors)), "fitted_error_e": _rms(left)}
        rows.append(runtime.told() | told)
    table = pd.DataFrame(rows)
    single = table[table["precision"] == "fp32"].groupby("model")["fitted_error_e"].first()
    return table.assign(loss_db=20 * np.log10(table["fitted_error_e"] / table["model"].map(single)))


def _rms(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


def bench(size_px, *, repeats, json_file=None, models=SHIPPED):
    """What `temlib bench` does: time everything that is here, and keep the rows if a file is given.

    Returns
    -------
    table : pandas.DataFrame
        From `with_ratios`.
    at_once : list of dict
        Of `overlapping`.
    left_out : list of str
        A sentence for each network or runtime that is not here.
    """
    found, left_out = runtimes(size_px, models=models)
    frames = simulated_frames(n=N_FRAMES, size_px=size_px)
    rows = measure(found, frames, repeats=repeats)
    at_once = overlapping(models, frames, seconds=OVERLAPPING_S)
    if json_file is not None:
        with whole_file(json_file) as partial_file:
            partial_file.write_text(json.dumps({"rows": rows, "overlapping": at_once}, indent=2) + "\n")
    return with_ratios(rows), at_once, left_out
