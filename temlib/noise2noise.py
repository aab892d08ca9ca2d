"""Go on training a network on repeated exposures, mixed with simulated ones of the same camera.

A frame is asked to predict the other, which is as good as the truth, since their noise is
independent (Lehtinen et al., 2018); what is simulated keeps it from forgetting, and sets the
intensity scale. A network and fields in, a network out; files are none of its business but for
the checkpoint.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch

from temlib.camera import cut_mean
from temlib.errors import ModelFileError, TemlibError
from temlib.film import film_level, light_terms
from temlib.long_training import batch_of_step, relative_to_film
from temlib.paths import whole_file
from temlib.training import keep_statistics, resolve_precision

CROP_PX = 192
CROPS = 4  # of frames, and as many of simulated ones, in a step
LEARNING_RATE = 6e-4
WARM_UP = 0.05  # share of the training
LIGHT_RATE = 10  # the light on a field, seven numbers, is learnt faster than the network
SHAPE_OF_LOSS = 0.1  # of simulated samples; below this error, in units of the level, it is quadratic
REAL_WEIGHT = 4.0  # of the squared error, whose noise-free part curves a fifth as much as the simulated loss
AVERAGE_DECAY = 0.99
# Passes over the frames, after which their noise is learnt by heart: on the paper's two pairs 70 and 180 passes gave
# 30.7 and 30.8 dB against the HDE panel, 530 passes 28.8
MOST_SEEN = 100
SAVE_S = 20.0  # between two checkpoints


class Samples:
    """Crops of pairs, and where they may lie: the largest that are whole segments, or within one, in every pair.

    Parameters
    ----------
    fields : sequence of repeats.Field
    own : own_camera.OwnCamera
    stride_px : int
        Edges of a crop are multiples of this.
    rows : float
        Share of the rows, the first ones, that are used.

    Raises
    ------
    TemlibError
        If no crop can lie in some pair.
    """

    def __init__(self, fields, own, stride_px, rows=1.0):
        self.fields, self.own, self.rows = fields, own, rows
        self.levels = [film_level(field.frames)[:, 0, 0] for field in fields]
        self.pairs = [(k, *pair) for k, field in enumerate(fields) for pair in field.pairs]
        height = min(int(rows * fields[k].frames.shape[1]) - abs(shift[0]) for k, *_, shift in self.pairs)
        places = {(fields[k].frames.shape[2], sign * shift[1]) for k, *_, shift in self.pairs for sign in (1, -1)}
        widths = range(CROP_PX // stride_px * stride_px, 0, -stride_px)
        width = next((w for w in widths if all(self._columns(w, *place).size for place in places)), 0)
        self.crop_px = (min(CROP_PX, height) // stride_px * stride_px, width)
        if min(self.crop_px) < stride_px:
            found = " and ".join(sorted({f"{f.frames.shape[1]} x {f.frames.shape[2]}" for f in fields}))
            segments = f", whole segments of {own.segment_px} px or within one," if own.segment_px > 1 else ""
            moved = ", which moved," if any(any(shift) for *_, shift in self.pairs) else ""
            raise TemlibError(
                f"The frames have {found} px: crops of {stride_px} px{segments} must lie in the rows that are trained "
                f"on, in what both frames of every pair{moved} show. Give larger frames."
            )

    @property
    def most_steps(self):
        """After which each pixel has been seen MOST_SEEN times, from both frames of its pairs."""
        pixels = sum(2 * self.rows * self.fields[k].frames[0].size for k, *_ in self.pairs)
        return math.ceil(MOST_SEEN * pixels / (CROPS * math.prod(self.crop_px)))

    def draw(self, n, rng):
        """n pairs of crops.

        Returns
        -------
        given, wanted : torch.Tensor of shape (n, 1, *crop_px)
            Relative to the level of their frames.
        level : torch.Tensor of shape (n, 1, 1, 1)
            Of the frames that are wanted [e-/px].
        terms : torch.Tensor of shape (n, 6, *crop_px)
            Of the light on the frames that are wanted, see `light_terms`.
        index : torch.Tensor of shape (n,)
            Of their fields.
        """
        given, wanted, level, terms, index = [], [], [], [], []
        for k, i, j, shift in (self.pairs[p] for p in rng.integers(0, len(self.pairs), n)):
            if rng.random() < 0.5:
                i, j, shift = j, i, (-shift[0], -shift[1])
            frames, levels = self.fields[k].frames, self.levels[k]
            row, col = self._place(frames.shape, shift, rng)
            flip = np.s_[..., :: rng.choice((1, -1)), :: rng.choice((1, -1))]  # keeps segments; a quarter turn does not
            here, there = (
                np.s_[..., at[0] : at[0] + self.crop_px[0], at[1] : at[1] + self.crop_px[1]]
                for at in ((row, col), (row + shift[0], col + shift[1]))
            )
            given.append(frames[i][here][flip] / levels[i])
            wanted.append(frames[j][there][flip] / levels[j])
            terms.append(light_terms(frames.shape[1:])[there][flip])
            level.append(levels[j] / self.own.unit_per_e)
            index.append(k)
        given, wanted = (torch.from_numpy(np.stack(crops)[:, None]) for crops in (given, wanted))
        level = torch.tensor(np.array(level, np.float32)).view(-1, 1, 1, 1)
        return given, wanted, level, torch.from_numpy(np.stack(terms)), torch.tensor(index)

    def _place(self, shape, shift, rng):
        """First row and column of a crop that lies in both frames, its ends where segments end."""
        height = int(self.rows * shape[1])
        row = rng.integers(max(0, -shift[0]), min(height, height - shift[0]) - self.crop_px[0] + 1)
        return row, rng.choice(self._columns(self.crop_px[1], shape[2], shift[1]))

    def _columns(self, width, cols, shift):
        """First columns of crops of some width in frames of `cols` columns, which moved by `shift` of them."""
        columns = np.arange(max(0, -shift), min(cols, cols - shift) - width + 1)
        segment = self.own.segment_px
        if width % segment == 0:
            return columns[columns % segment == 0]
        return columns[columns // segment == (columns + width - 1) // segment]


def clipped_mean(mean_e, own):
    """`filters.clipped_mean` on tensors: what pixels of these means read on average [e-/px]."""
    if not own.clipped:
        return mean_e
    at_zero, growth = own.variance[0], own.variance[1] - own.variance[0]
    spread = torch.sqrt(at_zero + growth * mean_e.clamp(min=0))
    return spread * cut_mean(mean_e / spread)


def adapt_network(network, samples, simulated, checkpoint, *, key, seconds=None, steps=None, seed=1, progress=None):
    """Train a network further, from the checkpoint if there is one of the same key.

    Parameters
    ----------
    network : plain_unet.PlainUNet
        Changed in place; ends with the moving average of its weights.
    samples : Samples
        Of its stride.
    simulated : ndarray of shape (n, M, M)
        Fields to expose, as `long_training.field_library` draws them.
    checkpoint : path
        Written every SAVE_S seconds.
    key : str
        Of what is trained on what; a checkpoint of another one is not gone on from.
    seconds, steps : float, int
        How long at most; one of the two. It ends earlier where the frames have been seen MOST_SEEN times. The
        learning rate falls to 0 towards the end, whichever comes first.
    seed : int
        Crops, cameras and noise of a step are functions of (seed, step).
    progress : callable, optional
        `progress(done, total, loss)` after each step, in seconds or steps.

    Returns
    -------
    steps : int
        That were made.
    seconds : float
        That they took.
    """
    checkpoint = Path(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = resolve_precision("auto") == "bf16-mixed"
    network.to(device, memory_format=torch.channels_last).train()
    keep_statistics(network)
    # what the light adds to its terms, and an offset
    lights = torch.nn.Parameter(torch.zeros(len(samples.fields), 7, device=device))
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging)
    groups = [{"params": network.parameters(), "part": 1}]
    groups.append({"params": [lights], "part": LIGHT_RATE, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=1e-4)
    parts = {"network": network, "average": average, "optimiser": optimiser}
    step, spent = _resume(checkpoint, key, parts, lights)
    begun = saved = time.perf_counter()
    total, most = seconds or steps, samples.most_steps

    def share_done():
        return max(step / most, (spent + time.perf_counter() - begun) / seconds if seconds else step / steps)

    while (done := share_done()) < 1:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * group["part"] * _rate(done)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = _loss(network, lights, samples, simulated, seed, step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        step += 1
        if progress:
            progress(done * total, total, float(loss.detach()))
        if (now := time.perf_counter()) - saved > SAVE_S:
            _save(checkpoint, key, parts, lights, step, spent + now - begun)
            saved = now
    spent += time.perf_counter() - begun
    _save(checkpoint, key, parts, lights, step, spent)
    network.load_state_dict(average.module.state_dict())
    network.eval()
    return step, spent


def _rate(done):
    """Share of the learning rate: up in the first steps, then half a cosine down to 0."""
    return min(1.0, (done + 1e-3) / WARM_UP) * (1 + math.cos(math.pi * done)) / 2


def _loss(network, lights, samples, simulated, seed, step):
    own = samples.own
    rng = np.random.default_rng([seed, step])
    device = lights.device
    given, wanted, level, terms, index = (x.to(device) for x in samples.draw(CROPS, rng))
    output = network(given.contiguous(memory_format=torch.channels_last)).float()
    light, offset = lights[index].view(-1, 7, 1, 1).split((6, 1), dim=1)
    light = 1 + (light * terms).sum(1, keepdim=True)
    real = ((clipped_mean(light * output * level, own) / level + offset - wanted) ** 2).mean()
    crop_px = min(CROP_PX, simulated.shape[1]) // network.stride_px * network.stride_px
    drawn = batch_of_step(simulated, step, seed=seed, batch_size=CROPS, crop_px=crop_px)
    crops, light, misjudged = (drawn[i].to(device) for i in (0, 1, 3))
    cameras = own.draw(CROPS, rng)
    frames, target = relative_to_film(crops, light, cameras, misjudged, generator_seed=seed * 1_000_003 + step)
    output = network(frames.contiguous(memory_format=torch.channels_last)).float()
    return REAL_WEIGHT * real + _robust_l1(output - target)


def _robust_l1(error):
    """Mean of sqrt(e^2 + s^2) - s: quadratic for small errors, absolute for large ones."""
    return (torch.sqrt(error**2 + SHAPE_OF_LOSS**2) - SHAPE_OF_LOSS).mean()


def _save(checkpoint, key, parts, lights, step, spent):
    stored = {name: part.state_dict() for name, part in parts.items()}
    with whole_file(checkpoint) as partial:
        torch.save({**stored, "lights": lights.detach(), "key": key, "step": step, "seconds": spent}, partial)


def _resume(checkpoint, key, parts, lights):
    """Put what a checkpoint of the same key holds in its place; step and seconds that were spent."""
    if not checkpoint.is_file():
        return 0, 0.0
    try:
        stored = torch.load(checkpoint, map_location=lights.device, weights_only=True)
        if stored["key"] != key:
            return 0, 0.0
        for name, part in parts.items():
            part.load_state_dict(stored[name])
        lights.data.copy_(stored["lights"])
    except Exception as error:  # torch raises whatever the damaged bytes lead it to
        raise ModelFileError(
            f"{checkpoint.name} is damaged ({type(error).__name__}): delete it, and the adaptation starts from the "
            "beginning."
        ) from error
    return stored["step"], stored["seconds"]
