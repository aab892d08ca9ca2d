"""Who made a file, from what: the json beside every figure and table."""

import ast
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from temlib.paths import ROOT

PACKAGES = (
    "temlib numpy scipy pandas scikit-image rosettasciio tifffile matplotlib torch "
    "pytorch-lightning segmentation-models-pytorch papermill"
).split()


def sha256(path):
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def digest_of_code(module, *, without=()):
    """Of the source of a module of temlib and of all that it imports: other code makes anew what is kept under it.

    Without some modules that say nothing of the results, or whose part in them is told apart.
    """
    here, sources, left = Path(__file__).parent, {}, {module}
    while left:
        name = left.pop()
        sources[name] = (here / f"{name}.py").read_bytes()
        for node in ast.walk(ast.parse(sources[name])):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "temlib":
                _, *inner = node.module.split(".")
                names = inner[:1] or [alias.name for alias in node.names]
                left |= {name for name in names if (here / f"{name}.py").is_file()} - sources.keys() - {*without}
    return hashlib.sha256(b"".join(sources[name] for name in sorted(sources))).hexdigest()


@functools.cache
def git_state():
    """`(commit, dirty)` of the project's checkout; `(None, None)` where it is none."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")) != ROOT.resolve():  # an installed temlib, in another's checkout
            return None, None
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments):
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@functools.cache
def processor_name():
    """The processor's own name for itself, as precise as the system tells it."""
    try:
        if sys.platform == "darwin":
            return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return platform.processor() or platform.machine()


@functools.cache
def versions():
    """Versions of Python and of the packages that make numbers here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def describe(run_dir, inputs=()):
    """Provenance of something made in `run_dir` from the files `inputs`.

    Parameters
    ----------
    run_dir : path
        A `runs/<profile>` folder; its `profile.json` gives name and parameters.
    inputs : iterable of path
        Files it was made from; stored relative to `run_dir` with their SHA-256.
    """
    run_dir = Path(run_dir).resolve()
    profile_file = run_dir / "profile.json"
    profile = json.loads(profile_file.read_text()) if profile_file.is_file() else {}
    commit, dirty = git_state()
    return {
        "profile": profile.get("name"),
        "parameters": profile.get("parameters"),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": versions(),
        "hardware": {"processor": processor_name(), "cores": os.cpu_count(), "system": platform.system()},
        "inputs": {os.path.relpath(Path(p).resolve(), run_dir): sha256(p) for p in sorted(map(str, inputs))},
    }
