import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from test_fresh_noise import cameras  # noqa: E402

from temlib.long_training import (  # noqa: E402
    LearnsFromSimulation,
    batch_of_step,
    beginning,
    field_library,
    fit_from_simulation,
    relative_to_film,
)
from temlib.plain_unet import PlainUNet  # noqa: E402


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    return field_library(tmp_path_factory.mktemp("fields"), 5, seed=1, size_px=48, report=lambda line: None)


class CutOffError(Exception):
    pass


def train(fields, checkpoint, *, stop_after=None):
    torch.manual_seed(0)
    module = LearnsFromSimulation(
        PlainUNet(2, (4, 6), 1), fields, seed=1, rounds=3, steps_a_round=2, batch_size=2, crop_px=32, learning_rate=1e-3
    )

    def report(line):
        if stop_after and line.startswith(f"step {stop_after}/"):
            raise CutOffError

    return fit_from_simulation(module, checkpoint, precision="32-true", report=report)


def test_fields_that_are_there_are_not_drawn_again(tmp_path):
    lines = []
    first = field_library(tmp_path, 3, seed=2, size_px=32, report=lines.append)
    again = field_library(tmp_path, 3, seed=2, size_px=32, report=lines.append)
    np.testing.assert_array_equal(first, again)
    assert len(lines) == 1


def test_a_batch_is_a_function_of_seed_and_step(fields):
    options = {"seed": 3, "batch_size": 4, "crop_px": 32}
    (one, light, cameras, level), again, other = (batch_of_step(fields, step, **options) for step in (7, 7, 8))
    assert one.shape == light.shape == (4, 1, 32, 32)
    assert cameras["dose_e_per_px"].shape == (4,)
    assert torch.equal(one, again[0])
    assert torch.equal(light, again[1])
    assert torch.equal(level, again[3])
    assert not torch.equal(one, other[0])


def test_uneven_light_is_in_the_frame_and_not_in_the_target():
    transmission = torch.ones(1, 1, 96, 128)
    transmission[..., 30:60, 20:50] = 0.4
    light = torch.linspace(0.8, 1.2, 128).expand(1, 1, 96, 128)
    bright = cameras(1, dose_e_per_px=5000.0)
    frames, target = relative_to_film(transmission, light, bright, torch.ones(1, 1, 1, 1), generator_seed=1)
    # seven tenths of the film are darker than light of 0.8 + 0.7 * 0.4, so that is its level
    np.testing.assert_allclose(target[0, 0], transmission[0, 0] / 1.08, rtol=0.01)
    smooth = frames[0, 0].view(96, 8, 16).mean((0, 2)) / target[0, 0].view(96, 8, 16).mean((0, 2))
    np.testing.assert_allclose(smooth[-2:], [1.125, 1.175], rtol=0.01)


def test_a_frame_whose_level_is_misjudged_gets_a_target_on_the_same_scale():
    crops, light = torch.full((1, 1, 64, 64), 0.8), torch.ones(1, 1, 64, 64)
    both = [
        relative_to_film(crops, light, cameras(1, dose_e_per_px=50.0), torch.full((1, 1, 1, 1), by), generator_seed=1)
        for by in (1.0, 1.25)
    ]
    for right, wrong in zip(*both, strict=True):
        np.testing.assert_allclose(right, 1.25 * wrong, rtol=1e-5)


def test_a_training_that_was_cut_off_ends_with_the_same_weights(fields, tmp_path):
    whole, history = train(fields, tmp_path / "whole.ckpt")
    with pytest.raises(CutOffError):
        train(fields, tmp_path / "cut.ckpt", stop_after=4)
    resumed, history_again = train(fields, tmp_path / "cut.ckpt")
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    losses, losses_again = ([row["loss"] for row in rows] for rows in (history, history_again))
    assert losses == losses_again
    assert [row["step"] for row in history] == [2, 4, 6]


def test_what_is_kept_is_an_average_and_not_the_last_step(fields, tmp_path):
    averaged, _ = train(fields, tmp_path / "a.ckpt")
    last = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]["network.head.weight"]
    assert not torch.equal(averaged.head.weight, last)
    assert torch.allclose(averaged.head.weight, last, atol=0.05)


def test_a_training_that_goes_on_begins_with_the_weights_of_its_card(tiny_card):
    stored = load_file(tiny_card.with_suffix(".safetensors"))
    network, card = beginning("best", tiny_card)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, stored[name].to(tensor.dtype))
    assert card["stride_px"] == 4
    assert not network.training  # so that batch normalisation keeps the statistics it came with


def test_a_training_from_nothing_has_random_weights():
    network, card = beginning("tiny")
    assert (network.stem, network.widths, card) == (4, (16, 32, 64), {})
