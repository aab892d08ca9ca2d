import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from temlib import training
from temlib.errors import ModelFileError, TemlibError
from temlib.paths import save_npz
from temlib.preprocess import network_input
from temlib.training import fit, load_best
from temlib.training_pairs import epoch_plan, training_arrays

# A training of seconds: a small network on small fields, in a process of its own that can be killed
SCRIPT = """
import sys, json
import numpy as np, torch
from temlib.training import fit
torch.set_num_threads(1)
rng = np.random.default_rng(0)
data = [rng.normal(size=(n, 1, 24, 32)).astype(np.float32) for n in (12, 12, 4, 4)]
torch.manual_seed(1)
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3, padding=1)
)
history = fit(network, data[:2], data[2:], sys.argv[1], epochs=40, seed=1, batch_size=4, learning_rate=1.0e-3,
              precision="32-true", average_decay=0.9, settle_epochs=15,
              report=lambda line: print(line, flush=True))
weights = [p.double().sum().item() for p in network.state_dict().values()]
print(json.dumps({"history": history, "weights": weights}))
"""


def start(checkpoint):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(checkpoint)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def result(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def test_three_kills_change_nothing(tmp_path):
    whole = start(tmp_path / "whole.ckpt")  # beside the others
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = start(tmp_path / "cut.ckpt")
        for _ in range(rng.integers(2, 8)):  # let it finish some epochs, then strike in the middle of one
            if not process.stdout.readline():
                break
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "cut.ckpt").is_file()
    undisturbed = result(whole)
    assert result(start(tmp_path / "cut.ckpt")) == undisturbed
    assert len(undisturbed["history"]) == 40


def small_network():
    torch.manual_seed(0)
    return torch.nn.Conv2d(1, 1, 3, padding=1)


def pairs(n=4):
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=(n, 1, 8, 12)).astype(np.float32) for _ in range(2))


OPTIONS = dict(seed=1, batch_size=3, learning_rate=1.0e-2, precision="32-true", report=lambda line: None)


def test_the_loss_is_the_mean_absolute_error_over_all_pairs(tmp_path):
    network = small_network()
    validation = pairs(5)
    fit(network, pairs(), validation, tmp_path / "a.ckpt", epochs=1, **OPTIONS)
    history = fit(network, pairs(), validation, tmp_path / "a.ckpt", epochs=1, **OPTIONS)
    with torch.inference_mode():
        output = network(torch.from_numpy(validation[0])).numpy()
    assert history[0]["validation_loss"] == pytest.approx(np.abs(output - validation[1]).mean(), rel=1e-5)


def test_training_lowers_the_loss(tmp_path):
    inputs, _ = pairs(8)
    history = fit(
        small_network(),
        (inputs, 2 * inputs),
        (inputs, 2 * inputs),
        tmp_path / "a.ckpt",
        epochs=30,
        **(OPTIONS | {"learning_rate": 0.1}),
    )
    assert history[-1]["training_loss"] < 0.5 * history[0]["training_loss"]


def test_the_learning_rate_falls_in_a_line_in_the_last_epochs(monkeypatch):
    rates, step = [], training.Denoiser.optimizer_step

    def seen(self, *args, **kwargs):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        step(self, *args, **kwargs)

    monkeypatch.setattr(training.Denoiser, "optimizer_step", seen)
    fit(small_network(), pairs(6), pairs(), None, epochs=3, falling_epochs=2, **OPTIONS)  # two steps an epoch
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2])


def test_a_finished_training_gives_its_history_and_weights_again(tmp_path):
    network, again = small_network(), small_network()
    history = fit(network, pairs(), pairs(), tmp_path / "a.ckpt", epochs=2, **OPTIONS)
    assert fit(again, pairs(), pairs(), tmp_path / "a.ckpt", epochs=2, **OPTIONS) == history
    assert torch.equal(network.weight, again.weight)


def test_a_checkpoint_of_other_frames_is_not_gone_on_with(tmp_path):
    told, others = [], pairs(4)
    others[0][0, 0, 0, 0] += 1
    options = OPTIONS | {"report": told.append}
    fit(small_network(), pairs(4), pairs(), tmp_path / "a.ckpt", epochs=2, **options)
    network, anew = small_network(), small_network()
    fit(network, others, pairs(), tmp_path / "a.ckpt", epochs=2, **options)
    assert sum("starts anew" in line for line in told) == 1
    fit(anew, others, pairs(), tmp_path / "b.ckpt", epochs=2, **options)
    assert torch.equal(network.weight, anew.weight)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", bytes(200)])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path, damage):
    (tmp_path / "a.ckpt").write_bytes(damage)
    with pytest.raises(ModelFileError, match=r"a\.ckpt is damaged"):
        fit(small_network(), pairs(), pairs(), tmp_path / "a.ckpt", epochs=1, **OPTIONS)


def test_a_plan_depends_on_seed_and_epoch_only():
    order, flips = epoch_plan(1, 5, 10)
    again, _ = epoch_plan(1, 5, 10)
    other, _ = epoch_plan(1, 6, 10)
    assert sorted(order) == list(range(10))
    assert flips.shape == (10, 2)
    assert list(order) == list(again) != list(other)


def test_corrected_input_is_zero_on_the_film():
    np.testing.assert_allclose(network_input(np.array([[4.0, 2.0]]), 4.0, "corrected"), [[0, -0.5]])


def test_every_lde_frame_makes_a_pair_with_the_hde_of_its_field(tmp_path):
    rng = np.random.default_rng(2)
    save_npz(
        tmp_path / "f.npz",
        lde=rng.uniform(0, 9, (2, 6, 8)),
        background_e=np.array([4.0, 5.0]),
        hde=np.full((6, 8), 900.0),
        hde_faithful=rng.uniform(800, 1000, (6, 8)),
        hde_background_e=np.float64(1000),
    )
    inputs, targets = training_arrays([tmp_path / "f.npz"], "corrected")
    assert inputs.shape == targets.shape == (2, 1, 6, 8)
    np.testing.assert_allclose(targets, -0.1, rtol=1e-6)
    inputs, targets = training_arrays([tmp_path / "f.npz"], "faithful")
    assert inputs.min() == targets.min() == 0
    assert inputs.max() == targets.max() == 1


def test_frames_of_two_sizes_are_refused_in_one_sentence(tmp_path):
    for name, shape in (("a", (6, 8)), ("b", (4, 8))):
        ones = np.ones(shape)
        save_npz(
            tmp_path / f"{name}.npz", lde=ones[None], background_e=np.ones(1), hde=ones, hde_background_e=np.float64(1)
        )
    with pytest.raises(TemlibError, match="4 x 8 px and 6 x 8 px"):
        training_arrays([tmp_path / "a.npz", tmp_path / "b.npz"], "corrected")


def test_no_pair_is_refused_in_one_sentence():
    with pytest.raises(TemlibError, match="found: none"):
        training_arrays([], "corrected")


def test_damaged_best_weights_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "a_best.pt").write_bytes(b"no weights")
    with pytest.raises(ModelFileError, match=r"a_best\.pt is missing or damaged"):
        load_best(small_network(), tmp_path / "a.ckpt")


def test_the_kept_network_is_the_one_that_was_validated(tmp_path):
    network, validation = small_network(), pairs()
    history = fit(network, pairs(), validation, tmp_path / "a.ckpt", epochs=2, average_decay=0.9, **OPTIONS)
    with torch.inference_mode():
        output = network.eval()(torch.from_numpy(validation[0]))
    assert history[-1]["validation_loss"] == pytest.approx(np.abs(output.numpy() - validation[1]).mean(), rel=1e-5)


def test_averaging_leaves_the_training_itself_as_it_is(tmp_path):
    plain, averaged = (
        fit(small_network(), pairs(), pairs(), tmp_path / f"{decay}.ckpt", epochs=3, average_decay=decay, **OPTIONS)
        for decay in (0.0, 0.9)
    )
    assert [row["training_loss"] for row in plain] == [row["training_loss"] for row in averaged]
    assert [row["validation_loss"] for row in plain] != [row["validation_loss"] for row in averaged]


def test_an_average_that_forgets_at_once_is_the_network_itself(tmp_path):
    plain, averaged = (
        fit(small_network(), pairs(), pairs(), tmp_path / f"{decay}.ckpt", epochs=2, average_decay=decay, **OPTIONS)
        for decay in (0.0, 1e-12)
    )
    assert plain[-1]["validation_loss"] == pytest.approx(averaged[-1]["validation_loss"], rel=1e-6)


def test_in_the_last_epochs_batch_normalisation_keeps_its_statistics(tmp_path):
    means = []
    for epochs, settle_epochs in ((2, 0), (4, 2), (4, 0)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2))
        network.append(torch.nn.Conv2d(2, 1, 1))
        file = tmp_path / f"{epochs}_{settle_epochs}.ckpt"
        fit(network, pairs(), pairs(), file, epochs=epochs, settle_epochs=settle_epochs, **OPTIONS)
        means.append(network[1].running_mean)
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[1], means[2])


def test_more_epochs_to_settle_than_to_train_are_refused(tmp_path):
    with pytest.raises(TemlibError, match=r"settle_epochs = 20, epochs = 10: .* Lower it as well\."):
        fit(small_network(), pairs(), pairs(), tmp_path / "a.ckpt", epochs=10, settle_epochs=20, **OPTIONS)


def test_another_loss_can_be_had(tmp_path):
    network, validation = small_network(), pairs(5)
    squared = {"loss": torch.nn.functional.mse_loss}
    history = fit(network, pairs(), validation, tmp_path / "a.ckpt", epochs=1, **squared, **OPTIONS)
    with torch.inference_mode():
        output = network(torch.from_numpy(validation[0])).numpy()
    assert history[0]["validation_loss"] == pytest.approx(np.mean((output - validation[1]) ** 2), rel=1e-5)


def test_samples_are_augmented_alike_when_a_training_goes_on(tmp_path):
    def shifted(both, rng):
        assert both.shape[1:] == (2, 1, 8, 12)  # inputs and targets of some pairs
        return both[..., : rng.integers(4, 9), :] + rng.normal()

    whole = fit(small_network(), pairs(), pairs(), tmp_path / "a.ckpt", epochs=3, augment=shifted, **OPTIONS)
    fit(small_network(), pairs(), pairs(), tmp_path / "b.ckpt", epochs=1, augment=shifted, **OPTIONS)
    gone_on = fit(small_network(), pairs(), pairs(), tmp_path / "b.ckpt", epochs=3, augment=shifted, **OPTIONS)
    assert gone_on == whole
    assert len({row["training_loss"] for row in whole}) == 3


def test_without_a_checkpoint_the_training_is_the_same_and_leaves_no_file(tmp_path):
    kept = fit(small_network(), pairs(), pairs(), tmp_path / "a" / "a.ckpt", epochs=2, **OPTIONS)
    assert fit(small_network(), pairs(), pairs(), None, epochs=2, **OPTIONS) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
