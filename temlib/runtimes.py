"""Every network on every runtime of this machine, as functions from a camera's counts to electrons.

Without torch the runtimes that need it are left out. Knows no clock but the one that tells the
parts of a frame's way apart; `bench` times, `replay` plays movies.
"""

import importlib.util
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from temlib.camera import ONEVIEW_BIN8, expose
from temlib.errors import ModelFileError
from temlib.inference import denoise_image
from temlib.networks import SHIPPED, Network, as_module, card_path, in_torch, infer, load, requests, weights_file
from temlib.provenance import processor_name
from temlib.wide_phantom import learning_field

THREADS = 2
PARTS = ("normalise", "transfer", "network", "return")
ELECTRONS_PER_COUNT = np.float32(1 / ONEVIEW_BIN8.counts_per_e)
DOSE_E_PER_PX = 4.5
PAPER_CARD = {"stride_px": 32, "halo_px": 256}
CALIBRATION = {"n": 16, "size_px": 256, "seed": 1}  # frames for the integers' ranges


@dataclass(frozen=True)
class Runtime:
    """One network in one runtime.

    Attributes
    ----------
    model, backend, precision, device : str
        Precision is what most of the convolutions really compute in.
    threads : int or None
        Of a CPU.
    denoise : callable
        uint16 counts of shape (M, N), to float32 electrons and the time of each of `PARTS` [ms].
    """

    model: str
    backend: str
    precision: str
    device: str
    threads: int | None
    denoise: Callable

    def told(self):
        """What a row says of it."""
        return {name: getattr(self, name) for name in ("model", "backend", "precision", "device", "threads")}


def simulated_frames(*, n, size_px, seed=0):
    """Frames to time networks with; uint16 counts of shape (n, size_px, size_px)."""
    rng = np.random.default_rng(seed)
    fields = (learning_field(seed, index, size_px) for index in range(n))
    return np.stack([expose(field, dose_e_per_px=DOSE_E_PER_PX, camera=ONEVIEW_BIN8, rng=rng) for field in fields])


def runtimes(size_px, *, threads=THREADS, models=SHIPPED, paper=None):
    """Everything that can be timed here, the reference first.

    Parameters
    ----------
    size_px : int
        Edge of the frames [px]; a GPU's graph is recorded for it.
    threads : int
        Of the CPU.
    models : sequence
        Besides the paper's network.
    paper : torch.nn.Module, optional
        The paper's network; if not given, one with random weights, which take as long as any.

    Returns
    -------
    found : list of Runtime
    left_out : list of str
        A sentence for each that is not there.
    """
    found, left_out = [], []
    with_torch = _installed("torch") and _installed("segmentation_models_pytorch")
    if with_torch:
        import torch

        torch.set_num_threads(threads)
        network = _paper_network() if paper is None else paper
        versions = _in_openvino(network, left_out)
        found += _everywhere("paper", PAPER_CARD, network, versions, size_px, threads, left_out)
    else:
        left_out.append("The paper's network and the torch rows are left out: install the extra [paper] to time them.")
    for model in models:
        card_file = card_path(model)
        if str(model) in SHIPPED and not card_file.is_file():
            left_out.append(f"The network {model!r} is left out: this version has no weights of it.")
            continue
        shipped = load(model, threads=threads)  # refuses files that do not belong together
        card = shipped.card
        versions = [weights_file(card_file, card, ".xml")]
        network = as_module(card_file) if with_torch else None
        if network is not None and card["precision"] == "int8":  # what the integers cost
            from temlib.export import converted

            versions.append(converted(network))
        found += _everywhere(card_file.stem, card, network, versions, size_px, threads, left_out)
        if shipped.device != "CPU":  # as `temlib denoise` takes it
            denoise = with_clock(shipped.run, card)
            found.append(Runtime(card_file.stem, "torch", shipped.precision, shipped.device, None, denoise))
    if not found:
        raise ModelFileError(f"There is nothing to time: {' '.join(left_out)}")
    return found, left_out


def _installed(package):
    return importlib.util.find_spec(package) is not None


def _paper_network():
    from temlib.models import build_unet

    return build_unet("random")[0].eval()


def _in_openvino(network, left_out):
    """The paper's network for OpenVINO, and the same in integers."""
    from temlib.export import converted, quantised

    model = converted(network)
    if not _installed("nncf"):
        left_out.append("The paper's network in int8 is left out: install the extra [paper] for nncf.")
        return [model]
    return [model, quantised(model.clone(), simulated_frames(**CALIBRATION))]


def _everywhere(model, card, network, versions, size_px, threads, left_out):
    """A network in PyTorch (or None) and in versions for OpenVINO, wherever these run."""
    found = [] if network is None else [_eager(model, card, network, threads)]
    for version in versions:
        found += _openvino(model, card, version, threads)
    if network is not None:
        import torch

        from temlib.latency import on_gpu

        if torch.cuda.is_available():
            way = {"stride_px": card["stride_px"], "scale": ELECTRONS_PER_COUNT, "shape": (size_px, size_px)}
            for precision, half in {"fp32": False, "fp16": True}.items():
                try:
                    denoise = on_gpu(network, half=half, **way)
                except torch.OutOfMemoryError:
                    left_out.append(f"The network {model!r} in {precision} does not fit into the GPU's memory.")
                    continue
                found.append(Runtime(model, "torch graph", precision, torch.cuda.get_device_name(), None, denoise))
    return found


def _eager(model, card, network, threads):
    return Runtime(model, "torch", "fp32", processor_name(), threads, with_clock(in_torch(network, card).run, card))


def _openvino(model, card, version, threads):
    """One version of a network, at every precision that the processor has units for."""
    import openvino

    core = openvino.Core()
    version = version if isinstance(version, openvino.Model) else core.read_model(version)
    in_integers = any(op.get_type_name() == "FakeQuantize" for op in version.get_ops())
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    found = []
    for hint in ("f32", "bf16") if has_bf16 and not in_integers else ("f32",):
        request_for = requests(version, precision=hint, threads=threads)
        request = request_for((1, 1, card["stride_px"], card["stride_px"]))
        request.infer()  # only then the runtime can tell of its graph
        precision = precision_of(request.get_compiled_model())
        denoise = with_clock(partial(infer, request_for), card)
        found.append(Runtime(model, "openvino", precision, processor_name(), threads, denoise))
    return found


def precision_of(compiled):
    """What most convolutions of an OpenVINO model compute in, by the runtime's own account."""
    told = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    kernels = [info["primitiveType"].astype(str) for info in told if info["layerType"].astype(str) == "Convolution"]
    ((kernel, _),) = Counter(kernels).most_common(1)
    # as in brgconv_avx512_amx_I8; what it calls runtimePrecision is that of the stored weights
    precision = kernel.rsplit("_", 1)[-1].lower()
    return {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}.get(precision, precision)


def with_clock(run, card):
    """A frame's way through a network as `temlib denoise` takes it, with a clock beside it.

    Parameters
    ----------
    run, card
        As of a `networks.Network`.

    Returns
    -------
    callable
        As `Runtime.denoise`.
    """
    laps = []

    def watched(frames):
        laps.append(perf_counter())
        output = run(frames)
        laps.append(perf_counter())
        return output

    network = Network(name="", card=card, run=watched, device="CPU")

    def denoise(counts):
        laps.clear()
        start = perf_counter()
        image = denoise_image(counts, network)
        image *= ELECTRONS_PER_COUNT  # of counts as they are, the product would take four times as long
        stop = perf_counter()
        inside = sum(laps[1::2]) - sum(laps[::2])  # a large frame goes in tiles
        before = laps[0] - start
        parts = {"normalise": before, "transfer": 0.0, "network": inside, "return": stop - start - before - inside}
        return image, {part: 1e3 * seconds for part, seconds in parts.items()}

    return denoise
