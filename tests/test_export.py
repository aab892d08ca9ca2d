"""What is exported is whole, or not there."""

import pytest

torch = pytest.importorskip("torch")

from temlib import export, networks  # noqa: E402
from temlib.plain_unet import PlainUNet  # noqa: E402


@pytest.mark.parametrize("failing", ["save_file", "openvino.save_model", "sha256"])
def test_an_interrupted_export_leaves_the_earlier_network_as_it_was(failing, tmp_path, monkeypatch):
    card = tmp_path / "own.json"
    export.export(PlainUNet(2, (4, 6), 1), card, {"limits": "the first"})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 4

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"temlib.export.{failing}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.export(PlainUNet(2, (4, 8), 1), card, {"limits": "the second"})
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert networks.load(card, threads=1).card["limits"] == "the first"


def test_a_card_takes_its_name_after_what_it_names(tmp_path, monkeypatch):
    from temlib import paths

    order, replace = [], paths.os.replace
    monkeypatch.setattr(paths.os, "replace", lambda old, new: (order.append(new.name), replace(old, new)))
    export.export(PlainUNet(2, (4, 6), 1), tmp_path / "own.json", {"limits": "none"})
    assert sorted(order) == ["own.bin", "own.json", "own.safetensors", "own.xml"]
    assert order[-1] == "own.json"
