import json
import shutil

import numpy as np
import pytest

from temlib import networks
from temlib.errors import ModelFileError


@pytest.fixture
def copied(tiny_card, tmp_path):
    for file in tiny_card.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / tiny_card.name


def test_a_card_gives_its_network_the_answers_that_torch_gives(copied):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    from temlib.plain_unet import PlainUNet

    network = networks.load(copied, threads=1)
    frames = np.random.default_rng(1).normal(1, 0.5, (2, 1, 16, 24)).astype(np.float32)
    same = PlainUNet(**network.card["architecture"])
    same.load_state_dict(load_file(copied.with_suffix(".safetensors")))
    with torch.inference_mode():
        expected = same.eval()(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(network.run(frames), expected, atol=2e-3)  # stored in 16 bits


def test_weights_that_are_not_the_card_s_are_refused(copied):
    weights = copied.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelFileError, match=r"tiny\.bin is not the file that tiny\.json names"):
        networks.load(copied)


def test_a_missing_file_is_named(copied):
    copied.with_suffix(".xml").unlink()
    with pytest.raises(ModelFileError, match=r"tiny\.xml is missing, which tiny\.json names"):
        networks.load(copied)


@pytest.mark.parametrize("text", ["", "[1]", '{"sha256": 3}', "{}"])
def test_what_is_no_card_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"odd\.json is no card of a network"):
        networks.load(tmp_path / "odd.json")


def test_an_unknown_name_is_refused_with_what_there_is():
    with pytest.raises(ModelFileError, match="no network 'bets': give best or fast"):
        networks.load("bets")


def test_a_card_tells_what_a_user_must_know(tiny_card):
    card = json.loads(tiny_card.read_text())
    assert card["limits"]
    assert card["stride_px"] == 4  # 2 x 2 pixels become channels, and one pooling halves once more
    assert set(card["sha256"]) == {"tiny.safetensors", "tiny.xml", "tiny.bin"}
