"""Adapt a shipped network to a camera and a specimen: from repeated exposures to a card, without any HDE frame.

What `temlib adapt` does; `repeats` has the frames, `own_camera` the camera, `noise2noise` the training,
`repeat_score` the verdict.
"""

import hashlib
import importlib.util
import json
import math
import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from temlib import networks
from temlib.errors import ModelFileError, TemlibError
from temlib.inference import denoise_image
from temlib.paths import whole_file
from temlib.provenance import git_state, sha256, versions
from temlib.repeats import read_fields

KEPT_ASIDE = 0.2  # of the rows, the last ones, where there is only one field
TRIED_ON = 1 / 3  # of several fields, kept aside in a trial
LEAST_OF_TRIAL = 0.3  # of the time
SIMULATED, SIMULATED_PX = 300, 256  # fields to expose, and their edge
MOST_QUANTISED = 8  # frames
TRIAL, TRAINING = ".trial.ckpt", ".ckpt"  # checkpoints
LIMITS = "Adapted to one camera at one dose and to one specimen: for others take the network that it is from."


def adapt_files(paths, card_file, *, model="best", minutes=10.0, report=print, progress=None):
    """Adapt a network to the frames of some files; see `adapt`.

    Parameters
    ----------
    paths : sequence of path
        As `inputs.find` gives them.
    card_file : path
    model : "best", "fast" or path of a card
    minutes : float

    Returns
    -------
    record : dict
        The card.
    refusals : list of str
        A sentence for each file of no use.

    Raises
    ------
    TemlibError
        If there are not two exposures of any field.
    """
    check(card_file, model)
    fields, refusals, notes = read_fields(paths)
    for note in notes:
        report(f"note: {note}")
    if not fields:
        raise TemlibError(
            " ".join(refusals)
            or f"No two frames show the same field ({len(paths)} came): two exposures of one field are the least from "
            "which noise can be told from specimen. Record a field twice, or give a movie."
        )
    return adapt(
        fields, card_file, model=model, seconds=60 * minutes, notes=notes, report=report, progress=progress
    ), refusals


def check(card_file, model):
    """Refuse what cannot end well, before any work.

    Raises
    ------
    TemlibError
        If torch is not installed, the network is not there, or the card would replace what is no adapted card.
    """
    card_file = Path(card_file)
    if importlib.util.find_spec("torch") is None:
        raise TemlibError(
            "Adapting trains a network, which needs torch, and it is not installed: install the extra, "
            "pip install '.[paper]' in the folder of the project."
        )
    if card_file.suffix != ".json":
        raise TemlibError(f"{card_file} cannot be a card: a name that ends in .json is needed. Give one to -o.")
    networks.load(model)
    try:
        replaced = json.loads(card_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        replaced = None
    if not isinstance(replaced, dict) or "adapted_from" not in replaced or card_file.resolve() == Path(model).resolve():
        raise TemlibError(
            f"{card_file} is there already and is {'the network to adapt' if replaced else 'no adapted card'}: what "
            "an adaptation writes must not replace it. Give another name to -o."
        )


def adapt(
    fields,
    card_file,
    *,
    kept_aside=None,
    model="best",
    seconds=None,
    steps=None,
    seed=1,
    notes=(),
    report=print,
    progress=None,
):
    """Train a network further on repeated exposures and keep it if it became better.

    Parameters
    ----------
    fields : sequence of repeats.Field
        To train on; all in one unit.
    card_file : path
        Receives the card, with its weights beside it. Until it is whole, a checkpoint and simulated
        fields lie there too, from which a call with the same fields goes on.
    kept_aside : sequence of repeats.Field, optional
        To score on. Without them, of several fields a third, those that show most, are kept aside in a trial, and if
        the network became better, a training on all follows; of one field KEPT_ASIDE of the rows are kept aside.
    model : "best", "fast" or path of a card
    seconds, steps : float, int
        Of training; one of the two. A trial and the training after it share the seconds, and each has the steps.
    seed : int
    notes : sequence of str
        For the card.
    report : callable
        Takes a line for every stage.
    progress : callable, optional
        `progress(done, total, loss)` after each step, in seconds or steps.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    TemlibError
        If the frames are too small, moved too far, or are in several units, or the network is not there.
    """
    from temlib.export import export
    from temlib.long_training import field_library
    from temlib.noise2noise import Samples, adapt_network
    from temlib.own_camera import fit_own_camera
    from temlib.repeat_score import BLOCK_PX, compare, errors

    check(card_file, model)
    card_file = Path(card_file)
    shipped_file = networks.card_path(model)
    shipped = networks.load(model)
    weights = networks.weights_file(shipped_file, shipped.card, ".safetensors")
    if "architecture" not in shipped.card:
        known = " or ".join(networks.SHIPPED)
        raise ModelFileError(f"{shipped_file.name} describes no network that can be adapted: give {known}.")
    if len({f.unit for f in [*fields, *(kept_aside or ())]}) > 1:
        raise TemlibError(
            "Some frames are in electrons and some in counts: frames of one camera in one unit are needed. Adapt to "
            "each by itself."
        )
    rows = 1.0 if kept_aside or len(fields) > 1 else 1 - KEPT_ASIDE
    _refuse_small([*fields, *(kept_aside or ())], rows, shipped.card["stride_px"], BLOCK_PX // 2)
    own = fit_own_camera(fields)
    report(own.sentence())
    trainings, scored = _plan(fields, kept_aside, shipped)
    samples = [Samples(trained_on, own, shipped.card["stride_px"], rows) for trained_on in trainings]
    network = networks.as_module(model)
    as_shipped = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def score():
        return errors(network, scored, own, rows=rows if rows < 1 else 0.0)

    drawn = card_file.with_suffix(".fields")
    # before torch has threads, as this forks
    simulated = field_library(drawn, SIMULATED, seed=seed, size_px=SIMULATED_PX, jobs=os.cpu_count(), report=report)
    before, notes = score(), list(notes)
    checkpoints = [card_file.with_suffix(suffix) for suffix in (TRIAL, TRAINING)[-len(trainings) :]]
    shares = [1.0]
    if len(samples) > 1:  # a trial that is cut short would tell nothing
        of_trial = max(LEAST_OF_TRIAL, len(samples[0].pairs) / sum(len(of_one.pairs) for of_one in samples))
        shares = [of_trial, 1 - of_trial]
    made, spent = [], []
    for number, checkpoint in enumerate(checkpoints):
        if checkpoint.is_file():
            report(f"going on from {checkpoint}, if it is of these frames")
        network.load_state_dict(as_shipped)
        limits = {"seconds": seconds and shares[number] * seconds, "steps": steps}
        done = adapt_network(
            network,
            samples[number],
            simulated,
            checkpoint,
            key=_key(trainings[number], rows, shipped.card_sha256, seed),
            seed=seed,
            progress=progress and _part_of(progress, number, shares, seconds, steps),
            **limits,
        )
        made, spent = [*made, done[0]], [*spent, done[1]]
        if made[-1] < (steps or math.inf) and spent[-1] < (limits["seconds"] or math.inf):
            ended = f"training ended after {made[-1]} steps, as more of them would teach it the noise of these frames"
            notes.append(ended)
            report(f"note: {ended}; more frames train longer")
        if number == 0:
            result = compare(before, score())
            result["on"] = _told(scored, kept_aside, trainings)
            report(_verdict(result, shipped.name))
            if not result["improved"]:
                break
    card = {
        "limits": f"{shipped.card.get('limits', 'Dry film only.').removesuffix(LIMITS).strip()} {LIMITS}",
        "learnt_from": shipped.card.get("learnt_from"),
        "git_commit": git_state()[0],
        "versions": versions(),
        "adapted_from": {
            "name": shipped.name,
            "card_sha256": shipped.card_sha256,
            "weights_sha256": sha256(weights),
        },
        "adaptation": {
            "fields": [{"name": f.name, "pairs": len(f.pairs), "files": f.sources} for f in fields],
            "camera": own.as_dict(),
            "minutes": round(sum(spent) / 60, 2),
            "steps": made,
            "seed": seed,
            "score": result,
            "notes": notes,
        },
    }
    if result["improved"]:
        frames = _to_quantise(fields, shipped.card, report)
        if frames is not None:
            notes.append("it was scored in 32 bits and computes in 8-bit integers, whose cost was not measured")
        export(network, card_file, card, frames=frames)
    else:
        _copy(shipped_file, shipped.card, card_file, card)
    for suffix in (TRIAL, TRAINING):  # an earlier call may have had other fields
        card_file.with_suffix(suffix).unlink(missing_ok=True)
    shutil.rmtree(drawn, ignore_errors=True)
    return json.loads(card_file.read_text(encoding="utf-8"))


def _plan(fields, kept_aside, network):
    """What each training is on, a trial before the last where there is one; and what the first is scored on."""
    if kept_aside:
        return [list(fields)], list(kept_aside)
    images = [denoise_image(field.frames[0], network) for field in fields]
    if len(fields) > 1:
        by_contents = np.argsort([image.std() / image.mean() for image in images])
        first_aside = len(fields) - max(1, round(TRIED_ON * len(fields)))
        rest, fullest = ([fields[k] for k in sorted(part)] for part in np.split(by_contents, [first_aside]))
        return [rest, list(fields)], fullest
    [field], [image] = fields, images
    rows = int(KEPT_ASIDE * len(image))
    if image[:rows].std() > image[-rows:].std():  # upside down, its last rows show more
        pairs = [(i, j, (-shift[0], shift[1])) for i, j, shift in field.pairs]
        field = replace(field, frames=field.frames[:, ::-1], pairs=pairs)
    return [[field]], [field]


def _told(scored, kept_aside, trainings):
    """What was kept aside, for the card."""
    names = ", ".join(field.name for field in scored)
    if kept_aside:
        return names
    if len(trainings) > 1:
        return f"{names}, kept aside in a trial; the network of this card was then trained on all, and not scored"
    return f"{KEPT_ASIDE:.0%} of the rows, not trained on"


def _part_of(progress, number, shares, seconds, steps):
    """Progress of one training as that of all of them."""
    before, total = (seconds * sum(shares[:number]), seconds) if seconds else (steps * number, steps * len(shares))
    return lambda done, _, loss: progress(before + done, total, loss)


def _refuse_small(fields, rows, stride_px, block_px):
    """Refuse frames in whose common part no crop, or no two blocks that are scored, could lie."""
    for field in fields:
        moved = [max(abs(shift[axis]) for *_, shift in field.pairs) for axis in (0, 1)]
        scored = (block_px + moved[0]) / (1 - rows if rows < 1 else 1)
        needed = math.ceil(max((stride_px + moved[0]) / rows, scored)), max(stride_px, 2 * block_px) + moved[1]
        came = field.frames.shape[1:]
        if came[0] < needed[0] or came[1] < needed[1]:
            drift = f" and moved by up to {moved[0]} rows and {moved[1]} columns" if any(moved) else ""
            raise TemlibError(
                f"The frames of {field.name} have {came[0]} x {came[1]} px{drift}: at least {needed[0]} x "
                f"{needed[1]} px are needed to train and score on. Give larger frames, or such that moved less."
            )


def _to_quantise(fields, shipped, report):
    """Frames by which the adapted network finds its ranges, where the shipped one computes in integers."""
    if shipped["precision"] != "int8":
        return None
    if importlib.util.find_spec("nncf") is None:
        report(
            "note: nncf, which the extra [paper] brings, is not installed, so the adapted network computes in 32 bits, "
            "several times slower"
        )
        return None
    stride = shipped["stride_px"]
    rows, cols = (min(f.frames.shape[axis] for f in fields) // stride * stride for axis in (1, 2))
    frames = np.concatenate([f.frames[:, :rows, :cols] for f in fields])
    return frames[np.unique(np.linspace(0, len(frames) - 1, MOST_QUANTISED).round().astype(int))]


def _key(fields, rows, card_sha256, seed):
    """What a checkpoint belongs to."""
    digest = hashlib.sha256(f"{card_sha256} {rows} {seed}".encode())
    for field in fields:
        digest.update(repr((field.frames.shape, field.pairs, field.unit)).encode())
        digest.update(np.ascontiguousarray(field.frames))
    return digest.hexdigest()


def _verdict(result, name):
    told = (
        f"score {result['before']:.5f} before, {result['after']:.5f} after: change {result['change']:+.5f} +- "
        f"{result['change_standard_error']:.5f}"
    )
    return told if result["improved"] else f"{told}; that is no improvement, so the card has the weights of {name}"


def _copy(shipped_file, shipped, card_file, card):
    """A card with weights that were not changed, in whatever precision they are."""
    files = {}
    with ExitStack() as stack:  # what is entered first takes its name last
        whole_card = stack.enter_context(whole_file(card_file))
        for name in shipped["sha256"]:
            copied = card_file.with_suffix(Path(name).suffix)
            partial = stack.enter_context(whole_file(copied))
            shutil.copyfile(shipped_file.with_name(name), partial)
            files[copied.name] = sha256(partial)
        told = {**shipped, "adapted_from": card["adapted_from"], "adaptation": card["adaptation"], "sha256": files}
        whole_card.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
