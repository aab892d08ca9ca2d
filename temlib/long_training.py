"""Training of the shipped networks: simulated fields, noise drawn afresh for every sample.

Hours on two cores: checkpointed, and resumed as if it had not been cut off, since which
fields, which camera and which noise a step sees are functions of (seed, step).
"""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial as with_arguments
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from temlib import networks
from temlib.film import film_level
from temlib.fresh_noise import RANGES, SEGMENT_WIDTHS_PX, draw_cameras, expose
from temlib.models import build_unet
from temlib.paths import whole_file
from temlib.plain_unet import ARCHITECTURES, PlainUNet
from temlib.training import keep_statistics
from temlib.wide_phantom import DIAMETER_PX, PIXEL_SIZE_NM, learning_field

FIELDS_A_FILE = 200
RESOLVED = 2e-4  # mean squared error, in units of the level, below which a sample is as good as done
# The light on a crop, against that on its whole frame: spread of the logarithm of its mean; of its slope from edge to
# edge; and how much darker the middles of the edges are than the centre. The paper's frames vary by 12 to 18 %
LIGHT_SPREAD, LIGHT_SLOPE, LIGHT_BOW = 0.05, 0.04, (-0.03, 0.06)
# Spread of the logarithm of the level that a frame is divided by, against its film's, and the share of samples that
# have it: about right in most frames, by far not where particles hide the film
LEVEL_SPREAD, MISJUDGED_SPREAD, MISJUDGED_SHARE = 0.02, 0.2, 0.2
# Of the steps, the last ones, in which batch normalisation keeps its statistics: those of a batch hang on its doses and
# contrasts. When they settled, the mean error fell by 2.5 dB within 200 steps
SETTLED_SHARE = 0.85
AVERAGE_DECAY = 0.999
PEAK_RATE, GOING_ON_RATE = 2.0e-3, 1.0e-3  # learning rates of AdamW, from random weights and from trained ones
LIMITS = (
    "Bright-field TEM images of particles on a dry film. Not for liquid cells, lattice images, diffraction or STEM. "
    "Uneven light is evened out, and with it what changes as slowly across the frame. "
    "What is smaller than 4 pixels, or hidden in the noise, may be lost or invented: measure on the raw frame."
)


def field_library(folder, n_fields, *, seed, size_px, jobs=1, report=print):
    """Draw the fields to learn from, once; what is there is kept.

    Parameters
    ----------
    folder : path
    n_fields : int
    seed : int
    size_px : int
        Edge of a field [px].
    jobs : int
        Processes that draw.
    report : callable
        Takes a line for every file of fields.

    Returns
    -------
    ndarray of float16, shape (n_fields, size_px, size_px)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, n_fields, FIELDS_A_FILE):
        indices = range(first, min(first + FIELDS_A_FILE, n_fields))
        file = folder / f"fields_{seed}_{size_px}px_{indices.start}_{indices.stop}.npy"
        if not file.is_file():
            with ProcessPoolExecutor(jobs) as pool:
                drawn = list(pool.map(with_arguments(learning_field, seed, size_px=size_px), indices, chunksize=10))
            with whole_file(file) as partial, open(partial, "wb") as stream:
                np.save(stream, np.stack(drawn).astype(np.float16))
            report(f"drew fields {indices.start} to {indices.stop} of {n_fields}")
        parts.append(np.load(file))
    return np.concatenate(parts)


def batch_of_step(fields, step, *, seed, batch_size, crop_px):
    """Turned crops of random fields, the light on them, and their cameras: a function of (seed, step).

    Returns
    -------
    transmission : torch.Tensor of shape (batch_size, 1, crop_px, crop_px)
    light : torch.Tensor of that shape
        Relative to the mean over their whole frame.
    cameras : dict
        See `fresh_noise.draw_cameras`.
    misjudged : torch.Tensor of shape (batch_size, 1, 1, 1)
        By what the film's level is to be wrong.
    """
    rng = np.random.default_rng([seed, step])
    crops = []
    for index in rng.integers(0, len(fields), batch_size):
        row, col = rng.integers(0, fields.shape[1] - crop_px + 1, 2)
        crop = np.rot90(fields[index, row : row + crop_px, col : col + crop_px], rng.integers(4))
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    hidden = rng.random(batch_size) < MISJUDGED_SHARE
    misjudged = np.exp(rng.normal(0, np.where(hidden, MISJUDGED_SPREAD, LEVEL_SPREAD)))
    transmission, light, misjudged = (
        torch.from_numpy(np.asarray(values, np.float32))
        for values in (np.stack(crops)[:, None], _light(batch_size, crop_px, rng), misjudged[:, None, None, None])
    )
    return transmission, light, draw_cameras(batch_size, rng), misjudged


def _light(n, size_px, rng):
    """Smooth light on n crops, (n, 1, size_px, size_px)."""
    along = np.linspace(-0.5, 0.5, size_px)
    mean, slopes = np.exp(rng.normal(0, LIGHT_SPREAD, (n, 1))), rng.normal(0, LIGHT_SLOPE, (2, n, 1))
    bow = 4 * rng.uniform(*LIGHT_BOW, (n, 1))
    rows, cols = (slope * along - bow * (along**2 - 1 / 12) for slope in slopes)
    return (mean[:, :, None] * (1 + rows[:, :, None] + cols[:, None, :]))[:, None]


def relative_to_film(transmission, light, cameras, misjudged, *, generator_seed):
    """Frames as a network is given them, and what it is to make of them.

    The target knows no light: it is even, and on the scale of the whole frame.

    Parameters
    ----------
    transmission, light, cameras, misjudged
        Of `batch_of_step`.
    generator_seed : int

    Returns
    -------
    frames, target : torch.Tensor of shape (n, 1, M, N)
        Both relative to the level.
    """
    frames, expected = expose(transmission * light, cameras, generator_seed)
    dose = torch.as_tensor(cameras["dose_e_per_px"], dtype=torch.float32, device=light.device).view(-1, 1, 1, 1)
    # that of the film were there nothing on it: the level of a crop that is mostly covered would be anything
    level = film_level(frames + dose * light - expected) / light.mean((-2, -1), keepdim=True) * misjudged
    return frames / level, dose * transmission / level


def learnt_ranges():
    """What the samples cover, from and to, for a network's card."""
    of_fields = {"diameter_px": DIAMETER_PX, "pixel_size_nm": PIXEL_SIZE_NM}
    widths = {"segment_px": SEGMENT_WIDTHS_PX, "clipped_at_0": (False, True), "counting": (False, True)}
    return {name: list(values) for name, values in (of_fields | RANGES | widths).items()}


def log_error(error):
    """Mean over samples of the logarithm of each one's mean squared error.

    A sample at 1 electron a pixel cannot come as near to the truth as one at 50, nor a heap as near as an empty film.
    On a logarithmic scale, that of the PSNR, a tenth of its error counts the same in each.
    """
    return torch.log(error.square().mean((-3, -2, -1)) + RESOLVED).mean()


def beginning(name, start="random"):
    """A network to train.

    Parameters
    ----------
    name : str
        Of `plain_unet.ARCHITECTURES`, or "paper".
    start : str or path
        "random", or whose weights it goes on from: a shipped network, or the path of a card.

    Returns
    -------
    network : torch.nn.Module
    card : dict
        Of what it goes on from; empty if it has random weights.
    """
    if start != "random":
        return networks.as_module(start), networks.read_card(start)[1]
    return build_unet("random")[0] if name == "paper" else PlainUNet(**ARCHITECTURES[name]), {}


class LearnsFromSimulation(pl.LightningModule):
    """Frames through random cameras against what they would be without noise, relative to the level.

    Parameters
    ----------
    network : torch.nn.Module
    fields : ndarray of shape (n, M, M)
    seed : int
    rounds, steps_a_round : int
        A checkpoint is written after every round.
    batch_size, crop_px : int
    learning_rate : float
        Its peak.
    teacher : torch.nn.Module, optional
        Whose output is as good a target as the truth.
    """

    def __init__(
        self, network, fields, *, seed, rounds, steps_a_round, batch_size, crop_px, learning_rate, teacher=None
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True
        )
        self.fields = fields
        self.seed, self.learning_rate = seed, learning_rate
        self.steps, self.steps_a_round = rounds * steps_a_round, steps_a_round
        self.batch = {"seed": seed, "batch_size": batch_size, "crop_px": crop_px}
        # in a list: not part of the checkpoint
        self.teacher = [] if teacher is None else [teacher.eval().to(memory_format=torch.channels_last)]
        self.history, self.losses = [], []

    def on_train_epoch_start(self):
        if self.current_epoch * self.steps_a_round >= (1 - SETTLED_SHARE) * self.steps:
            keep_statistics(self.network)

    def train_dataloader(self):
        first = self.current_epoch * self.steps_a_round
        return torch.utils.data.DataLoader(range(first, first + self.steps_a_round), batch_size=None)

    def training_step(self, step):
        crops, light, cameras, misjudged = batch_of_step(self.fields, int(step), **self.batch)
        crops, light, misjudged = (x.to(self.device) for x in (crops, light, misjudged))
        seed = self.seed * 1_000_003 + int(step)
        frames, target = relative_to_film(crops, light, cameras, misjudged, generator_seed=seed)
        frames = frames.contiguous(memory_format=torch.channels_last)
        output = self.network(frames).float()
        loss = log_error(output - target)
        if self.teacher:
            with torch.no_grad():
                taught = self.teacher[0].to(self.device)(frames).float()
            loss = (loss + log_error(output - taught)) / 2
        self.losses.append(loss.detach())
        return loss

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self):
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, self.steps, pct_start=0.05)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint):
        self.history = checkpoint["history"]


class _EndOfRound(pl.Callback):
    """A checkpoint and a line of progress."""

    def __init__(self, checkpoint, report):
        self.checkpoint, self.report = checkpoint, report

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        seconds = (time.perf_counter() - self.started) / module.steps_a_round
        step, loss = trainer.global_step, float(torch.stack(module.losses).mean())
        module.losses = []
        module.history.append({"step": step, "loss": loss, "seconds_a_step": seconds})
        with whole_file(self.checkpoint) as partial:
            trainer.save_checkpoint(partial, weights_only=False)
        left = (module.steps - step) * seconds / 60
        self.report(f"step {step}/{module.steps}: loss {loss:.5f}, {seconds:.2f} s a step, {left:.0f} min left")


def fit_from_simulation(module, checkpoint, *, precision, report=print):
    """Train, from the checkpoint if there is one; ends with the averaged weights.

    Parameters
    ----------
    module : LearnsFromSimulation
    checkpoint : path
    precision : str
        As Lightning's Trainer takes it.
    report : callable
        Takes one line a round.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode.
    history : list of dict
        step, loss, seconds_a_step.
    """
    checkpoint = Path(checkpoint)
    trainer = pl.Trainer(
        max_epochs=module.steps // module.steps_a_round,
        accelerator="auto",
        devices=1,
        precision=precision,
        gradient_clip_val=1.0,
        callbacks=[_EndOfRound(checkpoint, report)],
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=checkpoint if checkpoint.is_file() else None, weights_only=True)
    return module.average.module.eval(), module.history
