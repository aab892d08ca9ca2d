import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from temlib import models
from temlib.errors import ModelFileError

CARD = {"architecture": "smp.Unet(resnet18, in_channels=1)", "mode": "corrected"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network, _ = models.build_unet()
    models.save_network(network.eval(), folder / "unet", CARD)
    return folder, network


def test_a_loaded_network_answers_as_the_saved_one(saved):
    folder, network = saved
    loaded, card = models.load_network(folder / "unet.json")
    image = torch.rand(1, 1, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), network(image))
    assert card == CARD


def test_any_frame_size_comes_back_in_its_own_size(saved):
    frames = np.random.default_rng(0).uniform(0, 9, (2, 45, 71))
    output = models.run_network(saved[1], frames, np.array([4.0, 4.0]), mode="corrected")
    assert output.shape == (2, 45, 71)
    assert output.dtype == np.float32


def test_padding_does_not_change_a_frame_that_needs_none(saved):
    frame = np.random.default_rng(1).uniform(0, 9, (1, 64, 32)).astype(np.float32)
    output = models.run_network(saved[1], frame, np.array([5.0]), mode="corrected")
    with torch.inference_mode():
        direct = saved[1](torch.from_numpy(frame[None] / 5 - 1))[0].numpy() + 1
    np.testing.assert_allclose(output, direct, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "content"),
    [("unet.json", b"{not json"), ("unet.safetensors", b"damaged"), ("unet.safetensors", b""), ("unet.json", None)],
)
def test_a_damaged_or_missing_file_is_refused_in_one_sentence(saved, tmp_path, file, content):
    for name in ("unet.json", "unet.safetensors"):
        (tmp_path / name).write_bytes((saved[0] / name).read_bytes())
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        models.load_network(tmp_path / "unet.json")
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "unet.safetensors")
    (tmp_path / "unet.json").write_text(json.dumps(CARD))
    with pytest.raises(ModelFileError, match="do not fit"):
        models.load_network(tmp_path / "unet.json")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_weights_of_a_local_file_are_summed_over_colours(tmp_path, suffix):
    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    path = tmp_path / f"resnet18{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    network, used = models.build_unet(str(path))
    assert used == f"file resnet18{suffix}"
    torch.testing.assert_close(network.encoder.conv1.weight, state["conv1.weight"].sum(dim=1, keepdim=True))
    torch.testing.assert_close(network.encoder.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"weights\.pth is no ResNet-18 state dict"):
        models.build_unet(str(path))


def test_imagenet_falls_back_to_random_and_says_so(monkeypatch):
    def unreachable(*args, encoder_weights, **kwargs):
        if encoder_weights == "imagenet":
            raise OSError("the hub cannot be reached")
        return torch.nn.Identity()

    monkeypatch.setattr(models.smp, "Unet", unreachable)
    _, used = models.build_unet("imagenet")
    assert used.startswith("random (ImageNet weights could not be had")
    assert "the hub cannot be reached" in used
