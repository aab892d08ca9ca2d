"""Train the variants of `ablations` and judge them against the truth; what is finished is kept.

Each variant and seed has a file of scores, named by what decides it: hours of work go on where they were cut off.
"""

import hashlib
import json
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from temlib import filters, models, quality, simulate, training, trials
from temlib.ablation_samples import augmentation, clipped_l2, learning_arrays, mode_of
from temlib.ablations import CORRECTED, SEGMENT_PX, TESTS, VARIANTS
from temlib.errors import ProfileError
from temlib.paths import whole_file
from temlib.preprocess import background_level
from temlib.provenance import digest_of_code, sha256

DARK = 0.5  # transmission below which is dark
NOT_HERE = "the weights to start from are not available here"
ROUNDS, FALLING = 5, 3  # of a training; the last ones, in which the learning rate falls. In the very last one batch
# normalisation keeps its statistics


def _loss(recipe, sets):
    if recipe["loss"] == "clipped L2":
        read_e = float(np.mean([one["background_e"] for one in sets]))
        return clipped_l2(float(filters.unclip(read_e)), read_e)
    return torch.nn.functional.mse_loss if recipe["loss"] == "L2" else torch.nn.functional.l1_loss


def train(
    sets,
    recipe,
    *,
    seed,
    steps,
    crop_px,
    batch_size,
    learning_rate,
    average_decay,
    precision,
    pretrained,
):
    """Train one variant.

    Parameters
    ----------
    sets : list of dict
    recipe : dict
    seed : int
        Of the weights, the order, the flips and the augmentation.
    steps : int
        A multiple of `ROUNDS`; as many for each variant, however many samples it has, times its own "steps".
    crop_px, batch_size : int
    learning_rate, average_decay : float
    precision : str
    pretrained : str
        What an encoder that is not random starts from, see `models.build_unet`.

    Returns
    -------
    torch.nn.Module or None
        In evaluation mode; None where the pretrained weights cannot be had.

    Raises
    ------
    ProfileError
        If the steps are no multiple of `ROUNDS`.
    """
    if steps % ROUNDS:
        raise ProfileError(f"ablation_steps = {steps}: a multiple of {ROUNDS} is needed, as many rounds are trained.")
    torch.manual_seed(seed)
    weights = pretrained if recipe["encoder"] == "pretrained" else "random"
    network, used = models.build_unet(weights, recipe["architecture"])
    if weights != "random" and used.startswith("random"):
        return None
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout2d):  # which FPN alone comes with
            module.p = 0.0
    arrays = learning_arrays(sets, recipe, crop_px, seed)
    needed, rng = recipe["steps"] * steps // ROUNDS * batch_size, np.random.default_rng([seed, 10])
    # in any order, as arrays are sorted by corner, and a round may have room for a part of them only
    turns = [rng.permutation(len(arrays[0])) for _ in range(-(-needed // len(arrays[0])))]
    samples = np.concatenate(turns)[:needed]
    settled = {"average_decay": average_decay} if recipe["averaged"] else {}
    settled |= {"settle_epochs": 1} if recipe["statistics_kept"] else {}
    settled |= {"falling_epochs": FALLING} if recipe["rate_falls"] else {}
    training.fit(
        network,
        tuple(images[samples] for images in arrays),
        tuple(images[:batch_size] for images in arrays),  # nothing is chosen by it
        None,
        epochs=ROUNDS,
        seed=seed,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=precision,
        augment=augmentation(recipe["augmentation"], crop_px),
        loss=_loss(recipe, sets),
        report=lambda line: None,
        **settled,
    )
    return network.eval()


def judge(network, recipe, sets, test, *, seed, pixel_size_nm):
    """Scores of a network, or of a Gaussian filter, on every field of one test.

    The network is given 32 columns less than the field has, and is judged on those that all tests show.

    Parameters
    ----------
    network : torch.nn.Module or None
        None: the Gaussian that is best for these very frames, one for each material.
    recipe : dict
    sets : list of dict
        The held-out fields, of which only the transmission is taken.
    test : dict
        Of `ablations.TESTS`.
    seed : int
        Of the noise, which is that of all variants.
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        field, `quality.fitted_scores` against the true transmission, and dark_bias: how much more than the truth the
        output has, as it is, where less than DARK of the light comes through (NaN where the scale is the authors');
        and of how many parameters (0 for a filter).
    """
    camera = {name: test[name] for name in ("kind", "dose_e_per_px")}
    truths, frames, levels = [], [], []
    for one in sets:
        rng = simulate.field_rng(seed, f"{one['field']} {camera}", "ablation test")
        n_frames = 2 if recipe["exposures"] == "summed" else 1
        frame = np.mean([trials.expose(one["transmission"], rng=rng, **camera) for _ in range(n_frames)], axis=0)
        first, width = test["first_col_px"], frame.shape[1] - SEGMENT_PX
        frames.append(frame[:, first : first + width])
        levels.append(background_level(frames[-1], 4.0))
        truths.append(one["transmission"][:, first : first + width])
    by_film = recipe["target_scale"] == "background"
    if network is None:
        materials = [one["field"].split("_")[0] for one in sets]
        images = _best_gaussians(frames, truths, levels, materials, trials.clipping_camera(test["kind"]))
    else:
        images = models.run_network(network, np.stack(frames), np.array(levels), mode=mode_of(recipe))
        images += by_film - (mode_of(recipe) == "corrected")  # that mode has added 1: film is 0 in its targets
    seen = np.s_[:, SEGMENT_PX // 2 - first : width - first]
    scores = [
        quality.fitted_scores(image[seen], truth[seen], pixel_size_nm=pixel_size_nm)
        for image, truth in zip(images, truths, strict=True)
    ]
    n_parameters = sum(weights.numel() for weights in network.parameters()) if network else 0
    scores = pd.DataFrame(scores).assign(
        field=[one["field"] for one in sets], parameters=n_parameters, dark_bias=np.nan
    )
    if network is not None and by_film:
        dark = [truth[seen] < DARK for truth in truths]
        wrong = [image[seen] - truth[seen] for image, truth in zip(images, truths, strict=True)]
        scores["dark_bias"] = [
            one[where].mean() if where.any() else np.nan for one, where in zip(wrong, dark, strict=True)
        ]
    return scores


def _best_gaussians(frames, truths, levels, materials, camera):
    """Every frame through the Gaussian that is best for those of its material; as transmission."""
    images = [None] * len(frames)
    for material in dict.fromkeys(materials):
        here = [number for number, name in enumerate(materials) if name == material]
        of_material = [[values[number] for number in here] for values in (frames, truths, levels)]
        best_px = filters.tune_width("gaussian", *of_material, camera=camera)
        for number in here:
            images[number] = filters.filter_frame("gaussian", frames[number], levels[number], best_px, camera=camera)
    return images


@contextmanager
def workers(number):
    """A pool of processes of one thread each: two of them make a quarter more steps than one of two threads."""
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"), initializer=_begin)  # forked, torch may hang
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin():
    """A worker: Ctrl-C is not for it, and it leaves the other processors to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def trained_and_judged(folder, sets, wanted, *, seeds, pixel_size_nm, pool=None, report=print, **options):
    """Scores of many variants; those that an earlier run left are read.

    Parameters
    ----------
    folder : path
        Receives a table a variant and seed.
    sets : dict
        Of `simulated_sets`.
    wanted : dict of str to list of str
        Tests of each variant, see `ablations.what_to_judge`.
    seeds : sequence of int
    pixel_size_nm : float
    pool : concurrent.futures.Executor, optional
        Of `workers`; without one, all is done here, one after the other.
    report : callable
        Takes a line for every variant and seed.
    **options
        Of `train`.

    Returns
    -------
    pandas.DataFrame
        variant, test, seed, field, and the scores of `judge`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = [_digest(sets), digest_of_code("ablation_runs", without=("ablations",))]
    alike = {name: value for name, value in options.items() if name != "pretrained"}
    files = {}
    # seed after seed, so that what is cut off is whole for some seeds
    for seed, variant in product(seeds, wanted):
        recipe, tests = CORRECTED | VARIANTS[variant], {name: TESTS[name] for name in wanted[variant]}
        about = [*known, recipe, tests, seed, pixel_size_nm, training.resolve_precision(options["precision"]), alike]
        if recipe["encoder"] == "pretrained":
            weights = Path(options["pretrained"])
            about.append(sha256(weights) if weights.is_file() else str(weights))
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        files[seed, variant] = folder / f"{_file_name(variant)}_{seed}_{key}.csv"
    missing = [(*job, wanted[job[1]], file) for job, file in files.items() if not file.is_file()]
    work = partial(_train_and_judge, sets=sets, pixel_size_nm=pixel_size_nm, **options)
    started = time.perf_counter()
    for done, (job, ended) in enumerate(zip(missing, (pool.map if pool else map)(work, missing), strict=True), 1):
        left_min = (time.perf_counter() - started) / done * (len(missing) - done) / 60
        said = f"trained and judged, {left_min:.0f} min left"
        report(f"{done}/{len(missing)} {job[1]}, seed {job[0]}: {said if ended else NOT_HERE}")
    return pd.concat([pd.read_csv(file) for file in files.values() if file.is_file()], ignore_index=True)


def _train_and_judge(job, *, sets, pixel_size_nm, **options):
    """One variant and seed, into its file; whether the weights that it starts from could be had."""
    seed, variant, tests, file = job
    recipe = CORRECTED | VARIANTS[variant]
    network = train(sets["train"], recipe, seed=seed, **options) if recipe["architecture"] else None
    if recipe["architecture"] and network is None:
        return False
    judged = [
        judge(network, recipe, sets["val"], TESTS[name], seed=seed, pixel_size_nm=pixel_size_nm).assign(test=name)
        for name in tests
    ]
    with whole_file(file) as partial_file:
        pd.concat(judged).assign(variant=variant, seed=seed).to_csv(partial_file, index=False)
    return True


def _digest(sets):
    """What tells these sets from others."""
    digest = hashlib.sha256()
    for one in [*sets["train"], *sets["val"]]:
        for name in sorted(one):
            digest.update(np.ascontiguousarray(one[name]).tobytes() if name != "field" else one[name].encode())
    return digest.hexdigest()


def _file_name(variant):
    return "".join(letter if letter.isalnum() else "_" for letter in variant)
