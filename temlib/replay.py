"""A movie that arrives live: frames come at the camera's rate, and leave denoised or are lost.

Knows clocks and a ring buffer; what denoises is any function of a frame.
"""

import threading
import time

import numpy as np
import pandas as pd

BUFFER_FRAMES = 8


def replay(denoise, frames, *, fps, seconds, buffer_frames=BUFFER_FRAMES):
    """Play a movie into a ring buffer at a set rate, and denoise what can be had from it.

    Parameters
    ----------
    denoise : callable
        Takes one frame; what it gives is thrown away.
    frames : ndarray of shape (n, M, N)
        The movie, repeated as long as the replay lasts.
    fps : float
        Rate of arrival [1/s].
    seconds : float
        How long frames arrive.
    buffer_frames : int
        Length of the ring buffer. A frame that nobody has taken when its place is needed for a
        newer one is lost; among those that wait, the oldest is taken.

    Returns
    -------
    pandas.DataFrame
        One row a frame: `arrived_s`, when the camera was due to deliver it, and `left_s`, when
        its result was there [s]; NaN where it was lost.
    """
    n_frames = max(round(fps * seconds), 1)
    ring = np.empty((buffer_frames, *frames.shape[1:]), frames.dtype)
    arrived_s, left_s = np.arange(n_frames) / fps, np.full(n_frames, np.nan)
    arrival, written = threading.Condition(), 0
    start = time.perf_counter()

    def camera():
        nonlocal written
        for number, due_s in enumerate(arrived_s):
            time.sleep(max(start + due_s - time.perf_counter(), 0))
            with arrival:
                ring[number % buffer_frames] = frames[number % len(frames)]
                written = number + 1
                arrival.notify()

    threading.Thread(target=camera, daemon=True).start()
    number = 0
    while number < n_frames:
        with arrival:
            while written <= number:
                arrival.wait()
            number = max(number, written - buffer_frames)
            frame = ring[number % buffer_frames].copy()  # the camera may need the place meanwhile
        denoise(frame)
        left_s[number] = time.perf_counter() - start
        number += 1
    return pd.DataFrame({"arrived_s": arrived_s, "left_s": left_s})


def kept_up(log):
    """What a replay shows.

    Parameters
    ----------
    log : pandas.DataFrame
        From `replay`.

    Returns
    -------
    dict
        frames, dropped; sustained_fps, results over the time from the first arrival to the last
        result [1/s]; p50_ms, p95_ms and p99_ms from arrival to result.
    """
    done = log.dropna()
    p50, p95, p99 = np.percentile(1e3 * (done.left_s - done.arrived_s), [50, 95, 99])
    return {
        "frames": len(log),
        "dropped": len(log) - len(done),
        "sustained_fps": len(done) / done.left_s.max(),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def replay_table(runtimes, frames, *, rates, seconds):
    """Every runtime at every rate, one replay after the other.

    Parameters
    ----------
    runtimes : list of temlib.runtimes.Runtime
    frames : ndarray of uint16, shape (n, M, N)
        Counts.
    rates : sequence of float
        Of arrival [1/s].
    seconds : float
        A replay.

    Returns
    -------
    pandas.DataFrame
        One row a replay: what runs, `fps`, and the numbers of `kept_up`.
    """
    rows = []
    for runtime in runtimes:
        runtime.denoise(frames[0])  # the first frame of a size is slower
        for fps in rates:
            log = replay(runtime.denoise, frames, fps=fps, seconds=seconds)
            rows.append(runtime.told() | {"size": frames.shape[1], "fps": fps} | kept_up(log))
    return pd.DataFrame(rows)
