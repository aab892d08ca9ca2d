"""Which LDE frames belong to which HDE frame: names, sizes and times in, sets out; opens no file.

By what the names say ("hde", "lde"), else by size and name order, else by size and time of
recording. A pair that is wrong is worse than one that is missing: what is ambiguous is refused.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from temlib.errors import PairMismatchError
from temlib.inputs import natural

SAME_VIEW = 0.1  # relative difference that the calibrations of one field of view may have
DO_LIST = "Add the missing file, or list the right files in fields.csv."


@dataclass(eq=False)
class Recording:
    """What pairing needs to know of one file; `error` is its sentence where it is of no use."""

    path: Path
    shape: tuple = ()
    exposure_s: float = math.nan
    dose_e_per_px: float = math.nan
    pixel_size_nm: float = math.nan
    recorded_at: datetime | None = None
    notes: tuple = ()
    error: str | None = None
    role: str | None = None  # "hde" or "lde"
    named: bool = False  # whether its name says the role
    key: str = ""  # its name without the role
    before: str = ""  # what of its name is before the role, and so no number of an exposure
    group: tuple = ()  # its folders, without what says the role


@dataclass(eq=False)
class Set:
    """One HDE frame with the LDE frames of the same field of view."""

    hde: Recording
    ldes: list = field(default_factory=list)
    name: str = ""
    material: str = ""
    split: str | None = None


def one_name(paths):
    """The sentence for files that cannot be told apart."""
    names = " and ".join(f"{path.parent.name}/{path.name}" for path in paths)
    return f"{names} have one name: one file is needed. Remove or rename the others."


def roles_by_size(recordings):
    """Set the role where a name does not say it: in each group, or else in all, the larger frames are HDE."""
    unnamed = [r for r in recordings if not r.named and not r.error]
    overall = _edge_between(unnamed)
    for group in {r.group for r in unnamed}:
        members = [r for r in unnamed if r.group == group]
        limit = _edge_between(members) or overall
        for recording in members:
            recording.role = "hde" if limit and max(recording.shape) > limit else "lde"


def _edge_between(recordings):
    """An edge that parts large frames from small ones; None where all are about as large."""
    edges = [max(r.shape) for r in recordings]
    return math.sqrt(min(edges) * max(edges)) if edges and max(edges) >= 2 * min(edges) else None


def pair(members):
    """Pair the recordings of one group of folders.

    Parameters
    ----------
    members : list of Recording
        With their roles; None where a file cannot be read and its name does not say it.

    Returns
    -------
    sets : list of Set
        Each with at least one LDE frame.
    refusals : list of str
        A sentence for each file that found no partner.
    """
    refusals = []
    if any(r.named for r in members):
        for stray in [r for r in members if not r.named]:
            members.remove(stray)
            refusals.append(
                stray.error
                or f"{_place(stray)} says neither HDE nor LDE, as its neighbours do: "
                "put one of the two into its name, or leave it out."
            )
        if paired := _by_same_name(members):
            return paired[0], refusals + paired[1]
    by_name = sorted(members, key=lambda r: (natural(r.key), r.role != "hde", r.path.name))
    breaks = _breaks(by_name)
    sets, alone = _by_order(by_name, breaks or [False] * len(by_name))
    if breaks is None:
        sets, doubtful = _split_off_doubtful(sets)
        alone += doubtful
    if alone and all(r.recorded_at for r in members):
        by_time = sorted(members, key=lambda r: r.recorded_at)
        if by_time != by_name:
            in_time, left = _by_order(by_time, [False] * len(by_time))
            if not left:
                in_time, doubtful = _split_off_doubtful(in_time)
                return in_time, refusals + doubtful
    return sets, refusals + alone


def _by_same_name(members):
    """Pair "a_hde" with "a_lde" or "a_lde_1"; None where no two names agree."""
    sets, orphans = {}, []
    for hde in (r for r in members if r.role == "hde"):
        if hde.key in sets:
            hde.error = one_name([sets[hde.key].hde.path, hde.path])
        sets[hde.key] = Set(hde)
    for lde in (r for r in members if r.role == "lde"):
        same = [key for key in sets if re.fullmatch(re.escape(key) + r"([_\-. ].*|[a-z])?", lde.key)]
        same = [key for key in same if len(key) >= len(lde.before)]
        if same:
            sets[max(same, key=len)].ldes.append(lde)
        else:
            orphans.append(lde)
    if not any(found.ldes for found in sets.values()):
        return None
    several = all(len(found.ldes) != 1 for found in sets.values())
    for found in sets.values():
        longer = [lde for lde in found.ldes if lde.key != found.hde.key]
        if len(longer) < len(found.ldes) and not several:  # of "a", or of an "a_2" whose HDE frame is missing
            doubtful = [lde for lde in longer if not lde.before]
            found.ldes = [lde for lde in found.ldes if lde not in doubtful]
            orphans += doubtful
    for found in sets.values():
        found.ldes.sort(key=lambda r: natural(r.path.name))
    return _split_off_incomplete(list(sets.values()), orphans, "of the same name")


def _by_order(members, breaks):
    """Every HDE frame takes the LDE frames that follow it."""
    usual = _usual_number(members)
    sets, orphans = [], []
    current = None
    for recording, after_break in zip(members, breaks, strict=True):
        role = recording.role
        if role is None:  # unreadable: by its place in the order
            role = "hde" if current is None or len(current.ldes) >= usual else "lde"
        if role == "hde":
            current = Set(recording)
            sets.append(current)
            continue
        if after_break:
            current = None
        (orphans if current is None else current.ldes).append(recording)
    return _split_off_incomplete(sets, orphans, "before it")


def _split_off_incomplete(sets, orphans, where):
    """Sets that have both, and a sentence for every file that has no partner `where` it should be."""
    after = where.replace("before", "after")
    wanting = [(s.hde, "LDE", after) for s in sets if not s.ldes] + [(r, "HDE", where) for r in orphans]
    refusals = [
        r.error or f"{_place(r)} has no {role} frame {place}: a pair needs both. {DO_LIST}"
        for r, role, place in wanting
    ]
    return [s for s in sets if s.ldes], refusals


def _place(recording):
    return f"{recording.path.parent.name}/{recording.path.name}"


def _usual_number(members):
    """How many LDE frames mostly stand together; 2, as the paper has it, where there are none."""
    runs, run = [], 0
    for recording in [*members, None]:
        if recording is not None and recording.role == "lde":
            run += 1
        else:
            runs += [run] if run else []
            run = 0
    counted = Counter(runs)
    return max(counted, key=lambda length: (counted[length], length), default=2)


def _breaks(members):
    """Whether a number is missing before each file, in a folder that is numbered one by one; else None.

    After a gap nothing says that the HDE frame before it belongs to the LDE frames behind it.
    """
    numbers = [int((re.findall(r"\d+", r.key) or [-1])[-1]) for r in members]
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    one_by_one = steps.count(1) >= 2 / 3 * len(steps)
    return [False] + [step > 1 for step in steps] if one_by_one else None


def _split_off_doubtful(sets):
    """Without the sets of more LDE frames than is usual, where no numbers tell of an HDE frame that is missing."""
    counted = Counter(len(s.ldes) for s in sets)
    usual = max(counted, key=lambda length: (counted[length], -length), default=0)
    doubtful = [s for s in sets if len(s.ldes) > usual]
    refusals = [
        f"{_place(s.hde)} is followed by {len(s.ldes)} LDE frames, most by {usual}: an HDE frame may be missing "
        f"between them. {DO_LIST}"
        for s in doubtful
    ]
    return [s for s in sets if s not in doubtful], refusals


def check_sizes(hde, *ldes):
    """Refuse frames that cannot share one pixel grid.

    Parameters
    ----------
    hde, *ldes : tuple
        Path, shape (M, N), and pixel edge [nm] or NaN, of each frame of a set.

    Raises
    ------
    PairMismatchError
        If the LDE frames differ in shape, the HDE edges are no whole multiple of theirs, or the
        pixel sizes say that the fields of view differ.
    """
    lde_path, shape, lde_nm = ldes[0]
    for path, other, _ in ldes[1:]:
        if other != shape:
            raise PairMismatchError(
                f"{path.name} is {other}, {lde_path.name} is {shape}: the LDE frames of a set must have one "
                "size. Crop them alike, or give them different fields in fields.csv."
            )
    hde_path, large, hde_nm = hde
    factors = {edge / lde_edge for edge, lde_edge in zip(large, shape, strict=True)}
    if len(factors) > 1 or not max(factors).is_integer() or max(factors) < 1:
        raise PairMismatchError(
            f"{hde_path.name} is {large}, {lde_path.name} is {shape}: an HDE edge must be a whole "
            "multiple of its LDE edge, the same for both edges. Crop the HDE frame, or list the right files "
            "in fields.csv."
        )
    if abs(hde_nm * max(factors) / lde_nm - 1) > SAME_VIEW:  # false where either is NaN
        raise PairMismatchError(
            f"{hde_path.name} shows {hde_nm * large[0]:.4g} nm along an edge, {lde_path.name} "
            f"{lde_nm * shape[0]:.4g} nm: a set is one field of view. List the right files in fields.csv, or "
            "correct the pixel size."
        )
