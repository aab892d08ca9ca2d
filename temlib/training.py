"""Fit the paper's network on pairs; a training that was cut off goes on as if it had not been.

Corrected mode adds two things that cost nothing. In the last epochs batch normalisation uses the
statistics that it will use ever after: those of batches of four differ from them, most where a deep
channel is seldom active, and there the finished network painted bright patches into empty film. And
since single steps throw the network about, a moving average of its weights is kept.

Checkpoints keep no random state. Lightning runs the loop; the pairs lie on the device as buffers of the module.
"""

import hashlib
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from temlib.errors import ModelFileError, TemlibError
from temlib.paths import whole_file
from temlib.training_pairs import epoch_plan

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # between our lines of progress, not its advice


def keep_statistics(network):
    """Let batch normalisation use its running statistics, and change them no more, until the next `train()`."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


class Denoiser(pl.LightningModule):
    """L1, Adam, constant learning rate, flips: the paper's training of one network.

    `falling` is the share of the steps, the last ones, in which the learning rate falls to 0 in a line. `kept` is the
    network that is validated and kept: `network` itself, or the moving average of its weights.
    """

    def __init__(
        self,
        network,
        training,
        validation,
        *,
        seed,
        batch_size,
        learning_rate,
        average_decay=0.0,
        settled_from=None,
        falling=0.0,
        augment=None,
        loss=torch.nn.functional.l1_loss,
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
        self.settled_from = settled_from  # the epoch from which batch normalisation keeps its statistics
        self.average = None
        if average_decay:
            averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(average_decay)
            self.average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
        self.seed, self.batch_size, self.learning_rate = seed, batch_size, learning_rate
        self.falling, self.augment, self.loss = falling, augment, loss
        self.history = []  # one dict an epoch; travels with the checkpoint
        self.sums = {"training": [0.0, 0], "validation": [0.0, 0]}
        for name, (inputs, targets) in {"training": training, "validation": validation}.items():
            self.register_buffer(f"{name}_inputs", torch.from_numpy(inputs), persistent=False)
            self.register_buffer(f"{name}_targets", torch.from_numpy(targets), persistent=False)

    def on_train_epoch_start(self):
        if self.settled_from is not None and self.current_epoch >= self.settled_from:
            keep_statistics(self.network)

    @property
    def kept(self):
        return self.network if self.average is None else self.average.module

    def train_dataloader(self):
        order, flips = epoch_plan(self.seed, self.current_epoch, len(self.training_inputs))
        batches = np.split(order, range(self.batch_size, len(order), self.batch_size))
        plan = [(torch.from_numpy(batch), torch.from_numpy(flips[batch])) for batch in batches]
        return torch.utils.data.DataLoader(plan, batch_size=None)

    def val_dataloader(self):
        batches = torch.arange(len(self.validation_inputs)).split(self.batch_size)
        return torch.utils.data.DataLoader(batches, batch_size=None)

    def training_step(self, batch, number):
        index, flips = batch
        both = torch.stack([self.training_inputs[index], self.training_targets[index]], dim=1)
        if self.augment:
            both = self.augment(both, np.random.default_rng([self.seed, self.current_epoch, number]))
        for dim in (-2, -1):
            turned = flips[:, dim].view(-1, 1, 1, 1, 1)
            both = torch.where(turned, both.flip(dim), both)
        return self._loss("training", self.network, both[:, 0], both[:, 1])

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validation_step(self, index, _):
        self._loss("validation", self.kept, self.validation_inputs[index], self.validation_targets[index])

    def _loss(self, part, network, inputs, targets):
        loss = self.loss(network(inputs), targets)
        self.sums[part][0] += loss.detach() * len(inputs)
        self.sums[part][1] += len(inputs)
        return loss

    def end_epoch(self):
        """Close the books of one epoch: mean losses over pairs."""
        losses = {f"{part}_loss": float(total) / n for part, (total, n) in self.sums.items()}
        self.history.append({"epoch": self.current_epoch + 1, **losses})
        self.sums = {"training": [0.0, 0], "validation": [0.0, 0]}

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        if not self.falling:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        left = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (steps - step) / (self.falling * steps))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": left, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint):
        checkpoint |= {"history": self.history, "learns_from": self.learns_from}

    def on_load_checkpoint(self, checkpoint):
        self.history = checkpoint["history"]


class _EndOfEpoch(pl.Callback):
    """Checkpoint, best weights and one line of progress after every epoch."""

    def __init__(self, checkpoint, report):
        self.checkpoint, self.report = checkpoint, report
        self.best = checkpoint and checkpoint.with_name(checkpoint.stem + "_best.pt")

    def on_train_epoch_start(self, trainer, denoiser):
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, denoiser):
        denoiser.end_epoch()
        losses = [row["validation_loss"] for row in denoiser.history]
        if self.checkpoint and losses[-1] == min(losses):
            with whole_file(self.best) as partial:
                torch.save(denoiser.kept.state_dict(), partial)
        if self.checkpoint:
            with whole_file(self.checkpoint) as partial:
                trainer.save_checkpoint(partial, weights_only=False)
        seconds = time.perf_counter() - self.started
        last, left = denoiser.history[-1], trainer.max_epochs - denoiser.current_epoch - 1
        self.report(
            f"epoch {last['epoch']}/{trainer.max_epochs}: training {last['training_loss']:.4f}, "
            f"validation {last['validation_loss']:.4f}, {seconds:.1f} s, {left * seconds / 60:.0f} min left"
        )


def _digest(*parts):
    """What tells arrays and numbers from others."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def load_best(network, checkpoint):
    """Put the weights of the epoch with the lowest validation loss into a network, in place.

    Raises
    ------
    ModelFileError
        If they are missing or damaged.
    """
    path = Path(checkpoint).with_name(Path(checkpoint).stem + "_best.pt")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises whatever the damaged bytes lead it to
        raise ModelFileError(
            f"{path.name} is missing or damaged ({type(error).__name__}): delete it and the .ckpt beside it, and "
            "train again."
        ) from error


def resolve_precision(precision):
    """Lightning's name for a precision; "auto" is bfloat16 where the processor has units for it.

    That is 2.4 times faster than 32 bits on a CPU that multiplies matrices of it (AMX), 1.7 times on one with vectors
    of it (AVX-512), and slower on others.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    units = torch.cpu.get_capabilities()
    return "bf16-mixed" if units.get("amx_bf16") or units.get("avx512_bf16") else "32-true"


def fit(
    network,
    training,
    validation,
    checkpoint,
    *,
    epochs,
    seed,
    batch_size,
    learning_rate,
    precision,
    average_decay=0.0,
    settle_epochs=0,
    falling_epochs=0,
    augment=None,
    loss=torch.nn.functional.l1_loss,
    report=print,
):
    """Train a network, from its last checkpoint if there is one.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; ends with the weights that are kept of the last epoch.
    training, validation : tuple of ndarray
        Inputs and targets as `training_pairs.training_arrays` gives them.
    checkpoint : path or None
        Written after every epoch; `<stem>_best.pt` beside it holds the weights of the epoch
        with the lowest validation loss. None, for a training of a minute: neither is written.
        One of other arrays, seed, batches or learning rate is replaced, and training starts anew.
    epochs : int
    seed : int
    batch_size : int
    learning_rate : float
    precision : str
        As Lightning's Trainer takes it ("32-true", "bf16-mixed"), or "auto" (see `resolve_precision`).
    average_decay : float
        Of the moving average of the weights, by step; 0 keeps the weights themselves.
    settle_epochs : int
        Last epochs, in which batch normalisation keeps its statistics.
    falling_epochs : int
        Last epochs, in which the learning rate falls to 0.
    augment : callable, optional
        Takes a batch, inputs and targets together, a torch.Tensor of shape (n, 2, 1, M, N), and a
        numpy.random.Generator that is a function of (seed, epoch, batch); gives the batch back, of any M and N.
    loss : callable
        Takes outputs and targets of shape (n, 1, M, N); the paper's L1.
    report : callable
        Takes one line an epoch.

    Returns
    -------
    history : list of dict
        epoch, training_loss, validation_loss.

    Raises
    ------
    TemlibError
        If settle_epochs are not fewer than epochs.
    ModelFileError
        If the checkpoint is damaged.
    """
    if 0 < epochs <= settle_epochs:
        raise TemlibError(
            f"settle_epochs = {settle_epochs}, epochs = {epochs}: batch normalisation must first learn its statistics. "
            "settle_epochs must be smaller. Lower it as well."
        )
    checkpoint = Path(checkpoint) if checkpoint else None
    options = {"batch_size": batch_size, "learning_rate": learning_rate, "average_decay": average_decay}
    options |= {"augment": augment, "loss": loss}
    options["settled_from"] = epochs - settle_epochs if settle_epochs else None
    options["falling"] = falling_epochs / max(epochs, 1)
    denoiser = Denoiser(network, training, validation, seed=seed, **options)
    denoiser.learns_from = _digest(*training, *validation, seed, batch_size, learning_rate)
    begun = checkpoint is not None and checkpoint.is_file()
    if begun:
        try:
            stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
            done, learnt_from = len(stored["history"]), stored["learns_from"]
        except Exception as error:  # torch raises whatever the damaged bytes lead it to
            raise ModelFileError(
                f"{checkpoint.name} is damaged ({type(error).__name__}): delete it, and training "
                "starts from the beginning."
            ) from error
        if begun := learnt_from == denoiser.learns_from:
            report(f"going on after epoch {done} of {epochs}")
        else:
            report(f"{checkpoint.name} learnt from other frames, or in another way: training starts anew")
        if begun and done >= epochs:
            denoiser.load_state_dict(stored["state_dict"])
            network.load_state_dict(denoiser.kept.state_dict())
            return stored["history"]
    pl.seed_everything(seed, verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            precision=resolve_precision(precision),
            callbacks=[_EndOfEpoch(checkpoint, report)],
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(denoiser, ckpt_path=checkpoint if begun else None, weights_only=True)
    network.load_state_dict(denoiser.kept.state_dict())
    return denoiser.history
