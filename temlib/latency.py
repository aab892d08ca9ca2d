"""How long one frame waits for its denoised image, on every processor of this machine.

Knows PyTorch's devices and clocks; what the network computes does not matter to it.
"""

import time

import numpy as np
import pandas as pd
import torch

from temlib.provenance import processor_name

CAMERA_FPS = (25, 125, 300)  # OneView unbinned; the paper's 8 ms; OneView binned by 8


def devices():
    """The CPU and every GPU that PyTorch can use here, in this order."""
    found = [torch.device("cpu")]
    found += [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return found


def device_name(device):
    """What the processor behind a PyTorch device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = processor_name()
    return name if device.type == "cpu" else f"{name} GPU"


def waiting_times_ms(network, frame, device, *, repeats, warmup, transfer):
    """Time one frame through a network, again and again.

    Parameters
    ----------
    network : torch.nn.Module
        On `device`, in evaluation mode.
    frame : ndarray of shape (M, N)
        float32, as the camera gives it: alone, not in a batch.
    device : torch.device
        Where the network computes.
    repeats, warmup : int
        Frames timed, and frames before them that are not.
    transfer : bool
        Whether the frame starts and the image ends in the computer's (pinned) memory. If not,
        both stay on the device and the time is the computation's alone.

    Returns
    -------
    ndarray of shape (repeats,)
        Waiting times [ms]. The clock starts when the device is idle and stops when it is idle
        again, since a GPU returns from a call before it has computed anything.
    """
    on_gpu = device.type != "cpu"
    host = torch.from_numpy(frame)[None, None]
    if device.type == "cuda":
        host = host.pin_memory()  # otherwise the driver copies twice
    received = torch.empty_like(host, pin_memory=device.type == "cuda")
    on_device = host.to(device)
    times_ms = []
    with torch.inference_mode():
        for _ in range(warmup + repeats):
            if on_gpu:
                torch.accelerator.synchronize(device)
            start = time.perf_counter()
            if transfer:
                received.copy_(network(host.to(device, non_blocking=True)), non_blocking=True)
            else:
                network(on_device)
            if on_gpu:
                torch.accelerator.synchronize(device)
            times_ms.append(1e3 * (time.perf_counter() - start))
    return np.array(times_ms[warmup:])


def latency_table(network, *, size_px, repeats=100, warmup=10, on_devices=None):
    """Waiting time on the CPU and on every GPU there is.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (1, 1, M, N); moved from device to device and left on the CPU.
    size_px : int
        Edge of the frame [px].
    repeats, warmup : int
        Frames timed, and frames before them that are not.
    on_devices : list of torch.device, optional
        Only these; every one of `devices()` if not given.

    Returns
    -------
    pandas.DataFrame
        Two rows a processor, `measure` "calculation" and "with transfer": `kind` (CPU or GPU),
        `processor`, `threads` (of a CPU), `input_px`, `repeats`, the `mean_ms`, `sd_ms`,
        `median_ms`, `p95_ms` and `p99_ms`. A CPU transfers nothing, so its second row is empty.
    """
    frame = np.random.default_rng(0).random((size_px, size_px), dtype=np.float32)
    network.eval()
    rows = []
    for device in devices() if on_devices is None else on_devices:
        network.to(device)
        is_cpu = device.type == "cpu"
        for measure in ("calculation", "with transfer"):
            row = {
                "kind": "CPU" if is_cpu else "GPU",
                "processor": device_name(device),
                "threads": torch.get_num_threads() if is_cpu else None,
                "input_px": size_px,
                "measure": measure,
            }
            transfer = measure == "with transfer"
            if not (is_cpu and transfer):
                times = waiting_times_ms(network, frame, device, repeats=repeats, warmup=warmup, transfer=transfer)
                row |= {"repeats": repeats} | summary(times)
            rows.append(row)
    network.to("cpu")
    return pd.DataFrame(rows).astype({"threads": "Int64", "repeats": "Int64"})


def summary(times_ms):
    """Mean, standard deviation (of the sample) and quantiles of waiting times [ms]."""
    median, p95, p99 = np.percentile(times_ms, [50, 95, 99])
    return {
        "mean_ms": times_ms.mean(),
        "sd_ms": times_ms.std(ddof=1),
        "median_ms": median,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def beside_paper(measured, paper):
    """Table 3: the paper's rows and this machine's, with frames per second and what camera keeps up.

    Parameters
    ----------
    measured : pandas.DataFrame
        From `latency_table`.
    paper : pandas.DataFrame
        `temlib.reference.paper_table("table_3_latency")`.

    Returns
    -------
    pandas.DataFrame
        `source` ("paper" or "this run") and `machine` before the columns of both,
        `frames_per_s` = 1000 / mean, and for each rate of `CAMERA_FPS` whether it is reached.
    """
    repeats = paper.mean_ms.notna().map({True: 100, False: None}).astype("Int64")
    paper = paper.assign(source="paper", machine=paper.machine.astype(str), input_px=512, repeats=repeats)
    table = pd.concat([paper, measured.assign(source="this run", machine="this one")], ignore_index=True)
    table["frames_per_s"] = 1000 / table.mean_ms
    for fps in CAMERA_FPS:
        table[f"reaches_{fps}_fps"] = (table.frames_per_s >= fps).where(table.mean_ms.notna())
    first = ["source", "machine", *measured.columns]
    return table[first + [name for name in table.columns if name not in first]]
