"""Look through a folder for sets: what each file is, and the field, material and split of each set."""

import hashlib
import math
import re

from temlib.errors import PairMismatchError, TemlibError
from temlib.formats import FORMATS
from temlib.frames import read_frame
from temlib.inputs import is_output
from temlib.pairing import Recording, one_name, pair, roles_by_size
from temlib.paths import load_npz

SUFFIXES = set(FORMATS) - {".png"}  # pictures of frames lie beside frames
ROLE = re.compile(r"(?<![^\W\d_])(hde|lde)(?![^\W\d_])", re.IGNORECASE)  # no letter on either side
SPLITS = {"train": "train", "training": "train", "val": "val", "validation": "val"}
VALIDATION_ONE_IN = 6  # fields that go to validation where no folder says it


def read_single(path):
    """Read a file that must hold one image.

    Raises
    ------
    FrameError
        If it cannot be used.
    PairMismatchError
        If it is a stack.
    """
    frame = read_frame(path, warn=False)
    if frame.image.ndim != 2:
        raise PairMismatchError(
            f"{path.name} is a stack of {len(frame.image)} images: a pair is made of single frames. "
            "Export the frame that belongs to the pair."
        )
    return frame


def look(path):
    """Read a file for what pairing needs to know of it, and let go of its image."""
    try:
        if path.suffix == ".npz":
            return Recording(path, shape=stored_targets(path)["hde"].shape)
        frame = read_single(path)
    except TemlibError as error:
        return Recording(path, error=str(error))
    return Recording(
        path,
        shape=frame.image.shape,
        exposure_s=frame.exposure_s or math.nan,
        dose_e_per_px=float(frame.image.mean()) if frame.unit == "e-" else math.nan,
        pixel_size_nm=frame.square_pixel_nm or math.nan,
        recorded_at=frame.recorded_at,
        notes=frame.notes,
    )


def find_sets(folder):
    """All sets below a folder, named, with their material and split.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    sets : list of Set
        Those with an HDE frame and at least one LDE frame; files of no use are in them too.
    refusals : list of str
        A sentence for each file that found no partner.
    recordings : list of Recording
        Every file that was looked at.
    """
    recordings = _recordings(folder)
    roles_by_size(recordings)
    groups = {}
    for recording in recordings:
        groups.setdefault(recording.group, []).append(recording)
    sets, refusals = [], []
    for members in groups.values():
        found, alone = pair(members)
        sets += found
        refusals += alone
    for found in sets:
        group = found.hde.group
        said = [SPLITS[part.casefold()] for part in group if part.casefold() in SPLITS]
        places = [part for part in (*folder.absolute().parts, *group) if part.casefold() not in SPLITS]
        found.split = said[-1] if said else None
        found.material = [part for part in places if not ROLE.fullmatch(part)][-1]
        name = "_".join(filter(None, [*group, found.hde.key])) or found.material
        found.name = re.sub(r"[^\w.-]+", "-", name).strip(".")
    split_by_hash(sets)
    return sets, refusals, recordings


def split_by_hash(sets):
    """Split fields by a hash of their name, which is the same on every machine and in every run."""
    unsaid = {s: int(hashlib.sha256(s.name.encode()).hexdigest(), 16) for s in sets if s.split is None}
    for found, digest in unsaid.items():
        found.split = "val" if digest % VALIDATION_ONE_IN == 0 else "train"
    if len(unsaid) == len(sets) > 1 and len({s.split for s in sets}) == 1:  # few fields: both parts need one
        min(unsaid, key=unsaid.get).split = "train" if sets[0].split == "val" else "val"


def _recordings(folder):
    by_name = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() not in SUFFIXES or hidden or is_output(path):  # denoised images are no recordings
            continue
        if path.is_dir() and path.suffix.lower() != ".zspy":
            continue
        if path.suffix.lower() == ".emi" and any(path.parent.glob(f"{path.stem}_*.ser")):
            continue  # the image is in the .ser file
        by_name.setdefault((path.parent, path.stem.casefold()), []).append(path)
    recordings = []
    for paths in by_name.values():
        if len(paths) == 1:
            recording = look(paths[0])
        else:
            recording = Recording(paths[0], error=one_name(paths))
        inside = recording.path.relative_to(folder)
        said = list(filter(None, map(_role, [*inside.parts[:-1], inside.stem])))
        recording.role = said[-1] if said else None
        recording.named = bool(said)
        recording.key = _without_role(inside.stem)
        before, *role = ROLE.split(inside.stem, maxsplit=1)
        recording.before = before.strip("_-. ") if role else ""
        recording.group = tuple(filter(None, map(_without_role, inside.parts[:-1])))
        recordings.append(recording)
    return recordings


def _role(name):
    """The role that a name says; none where it names both, as a folder of pairs may."""
    said = {word.lower() for word in ROLE.findall(name)}
    return said.pop() if len(said) == 1 else None


def _without_role(name):
    if _role(name) is None:
        return name
    return re.sub(r"([_\-. ])[_\-. ]+", r"\1", ROLE.sub("", name)).strip("_-. ")


def stored_targets(path):
    """The two targets that stand in a `.npz` in place of an HDE frame."""
    stored = load_npz(path)
    if {"hde", "hde_faithful"} - stored.keys() or stored["hde"].shape != stored["hde_faithful"].shape:
        raise TemlibError(
            f"{path.name} lacks hde and hde_faithful of one shape: both targets are needed. "
            "Delete the data folder and simulate it again."
        )
    return stored
