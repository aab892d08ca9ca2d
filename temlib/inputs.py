"""Which files a command is to read: what its inputs name, and what of that an earlier run wrote.

Knows names and folders; opens nothing.
"""

import glob
import re
from pathlib import Path

from temlib import formats

IN_SITU = ("Hour_*/Minute_*/Second_*/*", "Minute_*/Second_*/*")  # as OneView in-situ writes one file an image
DENOISED = "_denoised"


def find(inputs, *, denoised=False):
    """What the inputs of a command line name.

    Parameters
    ----------
    inputs : iterable of str or path
        Files; folders, which are looked through with their subfolders; patterns with * or ?.
    denoised : bool
        Whether what temlib has denoised is wanted, too.

    Returns
    -------
    paths : list of Path
        Files and in-situ folders in their order, each once.
    refusals : list of str
        A sentence for each input in which nothing is.
    notes : list of str
        A sentence for each pattern that matches what was denoised.
    """
    paths, refusals, notes = {}, [], []
    for name in map(str, inputs):
        named = [Path(name)]
        if not named[0].exists() and glob.has_magic(name):
            matches = sorted(map(Path, glob.glob(name, recursive=True)), key=natural)
            named = [path for path in matches if not _left_out(path, denoised)]
            if not matches:
                refusals.append(f"{name} matches no file: check the pattern.")
            elif n_outputs := len(matches) - len(named):
                (notes if named else refusals).append(
                    f"{name} matches {len(matches)} files, of which {n_outputs} are temlib's own: these are left out, "
                    "as raw frames are needed."
                )
        for path in named:
            found = list(_in_folder(path, denoised)) if path.is_dir() and path.suffix != ".zspy" else [path]
            paths |= {one.resolve(): one for one in found if one.resolve() not in paths}
            if not found:
                refusals.append(
                    f"{path} holds no microscope file: {' '.join(formats.FORMATS)} are looked for. Give another folder."
                )
    return list(paths.values()), refusals, notes


def _in_folder(folder, denoised):
    of_a_movie = {file.relative_to(folder).parts[0] for file in in_situ_files(folder)}
    if of_a_movie:
        yield folder
    for path in sorted(folder.iterdir(), key=natural):
        if path.name.startswith(".") or path.name in of_a_movie or _left_out(path, denoised):
            continue
        if path.is_dir() and path.suffix != ".zspy":
            yield from _in_folder(path, denoised)
        elif path.suffix.lower() == ".emi" and path.with_name(f"{path.stem}_1.ser").exists():
            continue  # describes the SER files beside it, which hold the images
        elif path.suffix.lower() in formats.FORMATS:
            yield path


def in_situ_files(folder):
    """The images of a folder Hour_HH/Minute_MM/Second_SS/*.dm4 in the order of time; empty where it is none."""
    for pattern in IN_SITU:
        files = [file for file in folder.glob(pattern) if file.suffix.lower() in (".dm3", ".dm4")]
        if files := [file for file in files if not file.name.startswith(".")]:  # macOS's ._x.dm4 are no images
            return sorted(files, key=lambda file: [int(n) for n in re.findall(r"\d+", str(file.relative_to(folder)))])
    return []


def stem_of(path):
    """Name of a file without its extension; that of a folder of images is whole."""
    return path.name if path.is_dir() and path.suffix != ".zspy" else path.stem


def is_output(path):
    """Whether an earlier run wrote it: a_denoised.tif, a_denoised.tif.json, a_denoised.tif.mp4."""
    return f"{DENOISED}." in path.name


def _left_out(path, denoised):
    return is_output(path) and not (denoised and path.suffix.lower() in formats.FORMATS)


def natural(path):
    """Sort key in which 'frame_10' follows 'frame_9'."""
    return [int(part) if part.isdigit() else part.casefold() for part in re.split(r"(\d+)", str(path))]
