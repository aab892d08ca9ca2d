"""Where things are, and files that are whole when they exist.

Every file of a run is written under a temporary name beside its own and renamed when
complete, so a run that was cut off resumes from what exists without looking inside it.
"""

import errno
import os
import shutil
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from temlib.errors import TemlibError

ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params"
NOTEBOOKS = ROOT / "notebooks"
PAPER_TABLES = ROOT / "data" / "paper"
RUNS = ROOT / "runs"
FIGURES = ROOT / "figures"

LEAST_FREE_BYTES = 2**16
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# what NumPy and zipfile raise on bytes that are no npz, or no longer one
DAMAGED = (ValueError, TypeError, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile)


@contextmanager
def whole_file(path):
    """Temporary path to write to; becomes `path` when the block ends well, and nothing otherwise.

    The temporary name keeps the suffix, because many writers choose the format by it.

    Raises
    ------
    TemlibError
        If the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except Exception as error:
        # NumPy, torch and safetensors report a short write in errors of their own
        full = shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES
        if full or getattr(error, "errno", None) in DISK_FULL:
            raise TemlibError(
                f"No space left while writing {path.name} to {path.parent}: free some space there "
                "and start again; what was finished before is kept."
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def rounded(array, typical):
    """Array as float32 in steps of at most a 2048th of a typical value: a third smaller as a file.

    The step is a power of two, and its error of 0.014 % is far below the noise of any frame.
    """
    step = 2.0 ** np.floor(np.log2(typical / 2048))
    return (np.rint(array / step) * step).astype(np.float32)


def save_npz(path, **arrays):
    """Write named arrays to a compressed `.npz` that is whole or absent."""
    with whole_file(path) as partial:
        np.savez_compressed(partial, **arrays)


def load_npz(path):
    """Read a `.npz` into a dict of arrays, without running anything it may hold.

    Raises
    ------
    TemlibError
        If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise TemlibError(
            f"{path} is missing: run the notebook that makes it first (README, table of notebooks)."
        ) from error
    except DAMAGED as error:
        raise TemlibError(
            f"{path} cannot be read ({error}): delete it and run the notebook that makes it again."
        ) from error
