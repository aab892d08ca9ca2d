"""The wheel in an empty environment, as on a microscope's computer: without torch, with the shipped networks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from temlib.frames import read_frame
from temlib.networks import SHIPPED, WEIGHTS
from temlib.paths import ROOT

KATSUNO = ROOT.parent / "shared" / "real" / "katsuno"
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
LARGEST_BYTES = 1.2e9
OFFLINE = ("dns error", "error sending request", "Failed to fetch", "Connection refused", "network is unreachable")

pytestmark = [
    pytest.mark.skipif(not KATSUNO.is_dir(), reason="no folder ../shared/real with real microscope files"),
    pytest.mark.skipif(UV is None, reason="uv builds the wheel and the environment, and is not here"),
    pytest.mark.skipif(
        not all((WEIGHTS / f"{name}.json").is_file() for name in SHIPPED),
        reason="no shipped networks in temlib/weights",
    ),
]


def uv(*arguments):
    done = subprocess.run([UV, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with the wheel and what it needs, in the versions of requirements.lock."""
    folder = tmp_path_factory.mktemp("installed")
    uv("build", "--wheel", "--out-dir", folder)
    [wheel] = folder.glob("temlib-*.whl")
    uv("venv", "--python", sys.executable, folder / "env")
    uv("pip", "install", "--python", folder / "env", "--constraint", ROOT / "requirements.lock", wheel)
    return folder / "env"


def run(environment, *arguments):
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # of a checkout
    command = [programs / arguments[0], *map(str, arguments[1:])]
    return subprocess.run(command, capture_output=True, text=True, env=outside, cwd=environment)


@pytest.mark.parametrize("model", SHIPPED)
def test_the_installed_command_denoises_the_real_frames(environment, tmp_path, model):
    frames = sorted(KATSUNO.glob("*.tif"))
    done = run(environment, "temlib", "denoise", *frames, "-o", tmp_path, "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    for path in frames:
        before, after = read_frame(path), read_frame(tmp_path / f"{path.stem}_denoised.tif")
        assert (after.unit, after.pixel_size_nm) == ("e-", pytest.approx(before.pixel_size_nm))
        assert after.image.mean() == pytest.approx(before.image.mean(), rel=0.1)
        # the empty film varies by 3.3 e-/px in the camera's noise and by 5 % of 4.6 e-/px in illumination
        assert np.std(after.image[-100:, :100]) < 0.1 * np.std(before.image[-100:, :100])
        record = json.loads((tmp_path / f"{path.stem}_denoised.tif.json").read_text())
        assert (record["model"]["name"], record["versions"]["torch"]) == (model, None)


def test_the_installed_environment_is_small_and_has_no_torch(environment):
    assert run(environment, "python", "-c", "import torch").returncode == 1
    size = sum(file.lstat().st_size for file in environment.rglob("*") if file.is_file() and not file.is_symlink())
    assert size <= LARGEST_BYTES, f"{size / 1e9:.2f} GB"
