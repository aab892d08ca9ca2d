import gc
import json
import shutil
import sys
import weakref

import numpy as np
import pytest

from temlib import networks
from temlib.errors import ModelFileError
from temlib.provenance import sha256


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


def rewrite(card_file, **changes):
    card_file.write_text(json.dumps(json.loads(card_file.read_text()) | changes))


@pytest.mark.parametrize("beside", ["nothing", "another network's files"])
def test_a_renamed_card_gives_the_network_whose_files_it_names(copied, beside):
    frames = np.random.default_rng(1).normal(1, 0.5, (1, 1, 16, 24)).astype(np.float32)
    expected = networks.load(copied, threads=1).run(frames)
    renamed = copied.rename(copied.with_name("lab.json"))
    if beside == "another network's files":
        for suffix in (".xml", ".bin", ".safetensors"):
            renamed.with_suffix(suffix).write_bytes(b"of no network")
    network = networks.load(renamed, threads=1)
    np.testing.assert_array_equal(network.run(frames), expected)
    assert network.name == "lab"


def test_a_card_that_vouches_for_no_file_is_refused(copied):
    rewrite(copied, sha256={})
    with pytest.raises(ModelFileError, match=r"tiny\.json names no \.\w+ file"):
        networks.load(copied)


@pytest.mark.parametrize("key", ["stride_px", "halo_px"])
def test_a_card_without_what_every_frame_needs_is_refused_before_any_frame(copied, key):
    card = json.loads(copied.read_text())
    del card[key]
    copied.write_text(json.dumps(card))
    with pytest.raises(ModelFileError, match=rf"tiny\.json is no card of a network \(without {key}\)"):
        networks.load(copied)


def test_a_graph_that_the_runtime_cannot_read_is_one_sentence(copied, monkeypatch):
    monkeypatch.setattr(networks, "_has_cuda", lambda: False)
    graph = copied.with_suffix(".xml")
    graph.write_text("<net>")
    rewrite(copied, sha256=json.loads(copied.read_text())["sha256"] | {graph.name: sha256(graph)})
    with pytest.raises(ModelFileError, match=r"^tiny\.xml cannot be loaded \(.*\): weights of this version.*") as told:
        networks.load(copied)
    assert "\n" not in str(told.value)


def test_weights_of_another_architecture_are_one_sentence_on_a_gpu(copied, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(networks, "_has_cuda", lambda: True)
    rewrite(copied, architecture={"stem": 2, "widths": [8, 12], "depth": 1})  # its weights have 4 and 6 channels
    with pytest.raises(ModelFileError, match=r"^tiny\.safetensors cannot be loaded \(RuntimeError: .*size mismatch"):
        networks.load(copied)


def test_where_the_gpu_cannot_be_used_the_cpu_computes(copied, monkeypatch):
    def fail(*args):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(networks, "_has_cuda", lambda: True)
    monkeypatch.setattr(networks, "_on_gpu", fail)
    with pytest.warns(UserWarning, match="the GPU cannot be used .CUDA error: no kernel.*: the CPU computes"):
        assert networks.load(copied).device == "CPU"


def test_a_shipped_network_on_a_gpu_needs_torch_alone(copied, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "temlib.models", raising=False)
    assert networks.as_module(copied).stem == 2


def test_what_was_compiled_for_a_shape_is_let_go_after_other_shapes(copied):
    openvino = pytest.importorskip("openvino")
    request_for = networks.requests(openvino.Core().read_model(copied.with_suffix(".xml")), threads=1)
    first = weakref.ref(request_for((1, 1, 16, 24)))
    assert request_for((1, 1, 16, 24)) is first()
    for columns in (28, 32, 36):
        request_for((1, 1, 16, columns))
    gc.collect()
    assert first() is None


@pytest.mark.parametrize("text", ["", "[1]", '{"sha256": 3}', "{}"])
def test_what_is_no_card_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"odd\.json is no card of a network"):
        networks.load(tmp_path / "odd.json")


@pytest.mark.parametrize(
    ("pixel_size_nm", "dose_e_per_px", "said"),
    [(3.0, 5.0, []), (None, None, []), (0.02, 5.0, ["pixels of 0.02 nm"]), (3.0, 1700, ["a dose of 1.7e+03 e-/px"])],
)
def test_what_a_network_has_not_learnt_from_is_told(pixel_size_nm, dose_e_per_px, said):
    card = {"learnt_from": {"pixel_size_nm": [1, 6], "dose_e_per_px": [1, 50]}}
    found = networks.unlike_learnt(card, pixel_size_nm=pixel_size_nm, dose_e_per_px=dose_e_per_px)
    assert len(found) == len(said) and all(words in found[0] for words in said)


def test_an_unknown_name_is_refused_with_what_there_is():
    with pytest.raises(ModelFileError, match="no network 'bets': give best or fast"):
        networks.load("bets")


def test_a_card_tells_what_a_user_must_know(tiny_card):
    card = json.loads(tiny_card.read_text())
    assert card["limits"]
    assert card["stride_px"] == 4  # 2 x 2 pixels become channels, and one pooling halves once more
    assert set(card["sha256"]) == {"tiny.safetensors", "tiny.xml", "tiny.bin"}
