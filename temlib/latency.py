"""How long one frame waits for its denoised image, on every processor of this machine.

Knows PyTorch's devices and clocks; what the network computes does not matter to it.
"""

import time
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import torch

from temlib.film import film_level, film_scale
from temlib.networks import LARGEST_HALF
from temlib.provenance import processor_name

# On a GPU; else single precision is rounded to 10 bits where the GPU can
in_single_precision = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)
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
    with torch.inference_mode(), in_single_precision():
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


def on_gpu(network, *, stride_px, scale, shape, half):
    """A frame's whole way through a CUDA GPU: uint16 up, normalised there, network, float32 down.

    Parameters
    ----------
    network : torch.nn.Module
        Of frames relative to their level, (1, 1, M, N); a copy of it goes to the GPU.
    stride_px : int
        Edges of what the network is given are multiples of this.
    scale : float
        What one count is worth in the result's unit.
    shape : tuple of int
        Of every frame, (M, N): a recorded graph knows no other.
    half : bool
        Half precision in channels-last order, else single precision.

    Returns
    -------
    callable
        Takes uint16 counts of `shape`; gives the float32 image and the `transfer`, `normalise`,
        `network` and `return` times [ms]. The GPU's own clock times what the GPU does.

    Notes
    -----
    Buffers in main memory are pinned, so that the GPU reads and writes them by itself. What it
    computes is recorded as two CUDA graphs, so that a frame costs a few calls instead of hundreds.
    """
    network = deepcopy(network).cuda()
    if half:
        network = network.half().to(memory_format=torch.channels_last)
    sent = torch.empty(shape, dtype=torch.int16, pin_memory=True)  # torch knows few operations on uint16
    received = torch.empty(shape, dtype=torch.float32, pin_memory=True)
    counts = torch.ones(shape, dtype=torch.int16, device="cuda")
    places = [torch.from_numpy(continued(n, stride_px)).cuda() for n in shape]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(5)]

    def normalised():
        relative, level = relative_to_level(counts, scale, places)
        if half:
            relative = relative.clamp(-LARGEST_HALF, LARGEST_HALF).half().contiguous(memory_format=torch.channels_last)
        return relative, level

    def computed(relative, level):
        rows, cols = shape
        image = network(relative).float()[..., :rows, :cols]
        return (image * level * film_scale(relative.float()[..., :rows, :cols], image))[0, 0].contiguous()

    with torch.no_grad(), in_single_precision():
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # cuDNN chooses its algorithms before the recording
            for _ in range(3):
                computed(*normalised())
        torch.cuda.current_stream().wait_stream(aside)
        first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(first):
            relative, level = normalised()
        with torch.cuda.graph(second):
            image = computed(relative, level)
    alive = network, places, relative, level  # the graphs know their addresses only

    def denoise(frame, _alive=alive):
        start = time.perf_counter()
        sent.numpy()[:] = frame.view(np.int16)
        copied_ms = 1e3 * (time.perf_counter() - start)
        marks[0].record()
        counts.copy_(sent, non_blocking=True)
        marks[1].record()
        first.replay()
        marks[2].record()
        second.replay()
        marks[3].record()
        received.copy_(image, non_blocking=True)
        marks[4].record()
        marks[4].synchronize()
        result = received.numpy().copy()
        total_ms = 1e3 * (time.perf_counter() - start)
        sent_ms, normalised_ms, network_ms = (marks[i].elapsed_time(marks[i + 1]) for i in range(3))
        parts = {"normalise": normalised_ms, "transfer": copied_ms + sent_ms, "network": network_ms}
        return result, parts | {"return": total_ms - sum(parts.values())}

    return denoise


def continued(n, stride_px):
    """Places along an axis of n pixels, continued by reflection to a multiple of the stride."""
    return np.pad(np.arange(n), (0, -n % stride_px), mode="symmetric")


def relative_to_level(counts, scale, places):
    """What `inference.denoise_image` does before the network, on the device that holds the frame.

    Parameters
    ----------
    counts : torch.Tensor of int16, shape (M, N)
        The bits of uint16 counts.
    scale : float
        What one count is worth.
    places : pair of torch.Tensor
        Rows and columns as `continued` gives them.

    Returns
    -------
    relative : torch.Tensor of float32, shape (1, 1, M', N')
        The continued frame over its level.
    level : torch.Tensor of float32, shape (1, 1, 1, 1)
        In the unit of `scale`.
    """
    frame = (counts.int() & 0xFFFF).float()[None, None] * float(scale)
    level = film_level(frame)
    return frame.index_select(-2, places[0]).index_select(-1, places[1]) / level, level


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
