"""Measurements on simulated fields: what every method finds in them, beside the truth and the bound.

A method is a function of two exposures and the HDE image of a field that gives the table of `measure.measure`.
"""

import hashlib
from functools import lru_cache, partial

import numpy as np
import pandas as pd

from temlib.camera import ONEVIEW_BIN8, Camera
from temlib.errors import TemlibError
from temlib.inference import denoise_image, fingerprint
from temlib.limits import with_limits
from temlib.measure import COLUMNS, measure, measure_denoised
from temlib.measuring import RAW, camera_and_unit
from temlib.networks import load
from temlib.particles import match_particles
from temlib.paths import whole_file
from temlib.provenance import digest_of_code
from temlib.simulate import field_rng, illumination
from temlib.sized_fields import FIELDS, RECORDED, recorded_field
from temlib.trials import FILTERS, expose, shots, tuned_filters

HDE_E_PER_PX = 64 * 1100.0  # on a binned pixel of the paper's HDE frames
RAW_TWICE = "raw_twice"  # the matched fit of the mean of two raw exposures; RAW is that of one
TRIAL = ["specimen", "material", "index", "dose_e_per_px"]  # what one trial is
TUNING_FROM = 10_000  # number of the first field that filters are tuned on
EMPTY_LIKE = "silicate"  # what the filters expect on an empty film
TRUTH = ["row_px", "col_px", "diameter_nm", "shape", "transmission", "gap_nm", "at_border", "d_prime"]
TRUTH += ["bound_nm", "centre_bound_nm", "gap_bound_nm"]


def methods(networks, filtered, *, finder, pixel_size_nm):
    """Everything that measures diameters here.

    Parameters
    ----------
    networks : dict of str to networks.Network
    filtered : dict of str to callable
        From one raw frame (M, N) to its expected intensity [e-/px]; see `trials.tuned_filters`.
    finder : str
        The network with which particles are found that are fitted in raw exposures.
    pixel_size_nm : float

    Returns
    -------
    dict of str to callable
        From (first, second, hde), each (M, N) [e-/px], to the table of `measure.measure`.
    """
    options = {"pixel_size_nm": pixel_size_nm, "camera": ONEVIEW_BIN8}
    find, scale = partial(denoise_image, network=networks[finder]), {"pixel_size_nm": pixel_size_nm}

    def fitted(*frames):
        shown = [find(frame) for frame in frames]
        try:  # the camera is what one frame tells of it
            found, _ = camera_and_unit(frames[0], shown[0], electrons=True)
        except TemlibError:  # `temlib measure` refuses such a frame
            return pd.DataFrame(columns=COLUMNS)
        per_e, camera = found["unit_per_e"], Camera(**found["fitted"])
        how = {"camera": camera, "clipped": found["clipped"], "exposures": len(frames), **scale}
        return measure(np.mean(frames, axis=0) / per_e, np.mean(shown, axis=0) / per_e, **how)

    def once(first, second, hde):
        return fitted(first)

    def twice(first, second, hde):
        return fitted(first, second)

    def denoised(first, second, hde, by):
        return measure_denoised(by(first), **options)

    def ceiling(first, second, hde):
        return measure_denoised(hde, **options)

    found = {RAW: once, RAW_TWICE: twice}
    found |= {name: partial(denoised, by=partial(denoise_image, network=n)) for name, n in networks.items()}
    found |= {name: partial(denoised, by=by) for name, by in filtered.items()}
    return found | {"hde": ceiling}


def exposed(transmission, *, dose_e_per_px, rng):
    """Two exposures (see `trials.expose`) and the HDE image of a field, on the scale of these; (M, N) [e-/px] each.

    Each kind in a light of its own (`simulate.illumination`), as the paper's frames are.
    """
    low, high = (transmission * illumination(transmission.shape, rng) for _ in range(2))
    twice = [expose(low, "clipped", dose_e_per_px=dose_e_per_px, rng=rng) for _ in range(2)]
    spread = np.sqrt(ONEVIEW_BIN8.excess_factor * high / HDE_E_PER_PX)
    return *twice, dose_e_per_px * (high + spread * rng.standard_normal(high.shape))


def beside_truth(found, truth, *, pixel_size_nm):
    """Found and true particles in one table.

    Parameters
    ----------
    found : pandas.DataFrame
        Of `measure.measure`.
    truth : pandas.DataFrame
        Of `limits.with_limits`.
    pixel_size_nm : float

    Returns
    -------
    pandas.DataFrame
        One row for each matched, missed and invented particle, as `kind` says (`particles.match_particles`; unmatched
        pieces of what is found are "split", true ones in a found one "merged"): the columns of both with true_
        before those of the truth, error_nm of the diameter and centre_error_nm.
    """
    found, truth = found.reset_index(drop=True), truth.reset_index(drop=True)
    pairs, invented, lost = match_particles(found, truth, pixel_size_nm=pixel_size_nm)
    told = truth[[c for c in TRUTH if c in truth]].add_prefix("true_")
    sides = [side.loc[of].reset_index(drop=True) for side, of in zip((found, told), pairs.T, strict=True)]
    matched = pd.concat(sides, axis=1)
    unmatched = np.setdiff1d(np.arange(len(truth)), pairs[:, 1])
    extra = np.setdiff1d(np.arange(len(found)), pairs[:, 0])
    parts = [
        matched.assign(kind="matched"),
        told.loc[unmatched].assign(kind=np.where(np.isin(unmatched, lost), "missed", "merged")),
        found.loc[extra].assign(kind=np.where(np.isin(extra, invented), "invented", "split")),
    ]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    for column in (*told, *found):
        table[column] = table.get(column, np.nan)
    moved = np.hypot(*(table[f"{axis}_px"] - table[f"true_{axis}_px"] for axis in ("row", "col")))
    return table.assign(
        error_nm=table["diameter_nm"] - table["true_diameter_nm"], centre_error_nm=moved * pixel_size_nm
    )


def measured(trial, *, folder, cards, finder, tuning_fields, seed, size_px, pixel_size_nm):
    """All methods on one field and dose, or what an earlier run left of it.

    Parameters
    ----------
    trial : tuple
        Values of `TRIAL`.
    folder : Path
        Receives a table a method.
    cards : dict of str to str or Path
        A shipped network, or the path of a card, by the name of the method.
    finder : str
        Of `cards`; see `methods`.
    tuning_fields : int
        Fields on which filters are tuned, other than those that are judged; 0 leaves the filters out.
    seed, size_px, pixel_size_nm
        Of the fields.

    Returns
    -------
    pandas.DataFrame
        Of `beside_truth` for every method, with the columns of `TRIAL`, field and method.
    """
    specimen, material, index, dose = trial
    field, scale = f"{specimen}_{material}_{index}", {"size_px": size_px, "pixel_size_nm": pixel_size_nm}
    networks = {name: _network(str(card)) for name, card in cards.items()}
    wanted = {name: fingerprint(network) for name, network in networks.items()}
    wanted |= {RAW: wanted[finder], RAW_TWICE: wanted[finder], "hde": None}
    wanted |= dict.fromkeys(FILTERS if tuning_fields else (), tuning_fields)
    wanted = {name: made_by for name, made_by in wanted.items() if is_tried(name, specimen)}
    code = digest_of_code("size_trials")
    decides = {name: repr([trial, scale, made_by, seed, code]).encode() for name, made_by in wanted.items()}
    stem = f"{field}_{dose:g}"
    files = {
        name: folder / f"{stem}_{name}_{hashlib.sha256(key).hexdigest()[:12]}.csv" for name, key in decides.items()
    }
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        transmission, truth = FIELDS[specimen](seed, index, material=material, **scale)
        truth = with_limits(truth, transmission.shape, dose_e_per_px=dose, pixel_size_nm=pixel_size_nm)
        filtered = {}
        if not set(FILTERS).isdisjoint(missing):
            filtered = _filters(specimen, material, dose, tuning_fields, seed, *scale.values())
        by = methods(networks, filtered, finder=finder, pixel_size_nm=pixel_size_nm)
        frames = exposed(transmission, dose_e_per_px=dose, rng=field_rng(seed, stem, "exposures"))
    for name in missing:
        table = beside_truth(by[name](*frames), truth, pixel_size_nm=pixel_size_nm)
        told = {"field": field, "method": name} | dict(zip(TRIAL, trial, strict=True))
        with whole_file(files[name]) as partial_file:
            table.assign(**told).to_csv(partial_file, index=False)
    return pd.concat([pd.read_csv(file) for file in files.values()], ignore_index=True)


def is_tried(method, specimen):
    """Whether a method is tried on a specimen: on empty film all but those that see more than one exposure."""
    return specimen != "empty" or method not in (RAW_TWICE, "hde")


def tried_areas(trials, methods, *, seed, size_px, pixel_size_nm):
    """What each method was tried on.

    Parameters
    ----------
    trials : sequence of tuple
        Values of `TRIAL`.
    methods : sequence of str
    seed, size_px, pixel_size_nm
        As for `measured`.

    Returns
    -------
    pandas.DataFrame
        method, specimen, n_fields, area_nm2 of all these together, and edge_nm of a square as large as one on average.
    """
    scale = {"size_px": size_px, "pixel_size_nm": pixel_size_nm}
    of_trial = {trial: size_px**2 * pixel_size_nm**2 for trial in trials}
    for trial in trials:  # images have sizes of their own
        if trial[0] == "recorded":
            of_trial[trial] = recorded_field(seed, trial[2], material=trial[1], **scale)[0].size * pixel_size_nm**2
    rows = [
        (method, trial[0], area) for method in methods for trial, area in of_trial.items() if is_tried(method, trial[0])
    ]
    table = pd.DataFrame(rows, columns=["method", "specimen", "area_nm2"])
    by = table.groupby(["method", "specimen"], sort=False, as_index=False)
    table = by.agg(n_fields=("area_nm2", "size"), area_nm2=("area_nm2", "sum"))
    return table.assign(edge_nm=np.sqrt(table["area_nm2"] / table["n_fields"]))


@lru_cache
def _network(card):
    return load(card, threads=1, with_gpu=False)


@lru_cache(maxsize=2)
def _filters(specimen, material, dose, tuning_fields, seed, size_px, pixel_size_nm):
    """Every filter, tuned on fields of this material that are not judged; on an empty film, as if for `EMPTY_LIKE`."""
    specimen, material = ("sized", EMPTY_LIKE) if specimen == "empty" else (specimen, material)
    others = range(TUNING_FROM, TUNING_FROM + tuning_fields) if specimen != "recorded" else [RECORDED]
    scale = {"size_px": size_px, "pixel_size_nm": pixel_size_nm}
    truths = [FIELDS[specimen](seed, i, material=material, **scale)[0] for i in others]
    frames = shots(truths, "clipped", name="sizes", dose_e_per_px=dose, seed=seed)
    return tuned_filters(frames, truths, "clipped", dose_e_per_px=dose)[0]
