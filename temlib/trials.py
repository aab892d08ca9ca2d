"""Trials of networks and filters: simulated frames whose truth is known, and what each method makes of them.

A method is a function of one raw frame (M, N) [e-/px] that gives the expected intensity [e-/px]. The filters
are tuned on other fields of the same material and dose, which no network is told.
"""

import hashlib
import importlib.util
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from temlib import camera, filters, phantom, quality, quality_tables
from temlib.exposed_images import transmission_of
from temlib.paths import whole_file
from temlib.preprocess import bin_area
from temlib.provenance import digest_of_code
from temlib.simulate import field_rng

OVERSAMPLING = 4  # of the phantom's grid
CAMERAS = ("clipped", "unclipped", "counting")  # that filters and networks are compared on
# Outside of what the shipped networks learn from (`fresh_noise.RANGES`) in noise, blur and width of its segments
OTHER_CAMERA = replace(
    camera.ONEVIEW_BIN8,
    pulse_shape=0.5,
    white_counts=8 * camera.ONEVIEW_BIN8.counts_per_e,
    segment_counts=2 * camera.ONEVIEW_BIN8.counts_per_e,
    segment_width_px=48,
    blur_px=0.9,
)
OTHER_DOSE_E_PER_PX = 12.0
ORIGIN_COUNTS = 5000.0  # an offset that keeps every count of an unclipped camera above zero
# Not everybody may use the package bm3d, which is free for noncommercial use only
HAS_BM3D = importlib.util.find_spec("bm3d") is not None
FILTERS = tuple(name for name in filters.WIDTHS | filters.PATCH_WIDTHS if name != "bm3d" or HAS_BM3D)
TUNING_FIELDS = 2
TRIAL = ["specimen", "camera", "material", "dose_e_per_px"]  # what one trial is: these name it in every table
TRANSMISSION_BINS = np.arange(0.0, 1.15, 0.1)


def paper_field(seed, index, *, size_px, pixel_size_nm, material):
    """Transmission of one field of the paper's specimens, and what is in it.

    As `second_phantom.second_field`: a function of its arguments; float32 (size_px, size_px) and a table.
    """
    rng = np.random.default_rng([seed, index, list(phantom.MATERIALS).index(material), 1])
    particles = phantom.draw_specimen(material, size_px=size_px, pixel_size_nm=pixel_size_nm, rng=rng)
    film = film_with(particles, size_px=size_px, pixel_size_nm=pixel_size_nm, rng=rng)
    return film, phantom.truth_table(f"{material}_{index}", particles)


def film_with(particles, *, size_px, pixel_size_nm, rng):
    """Transmission of particles on carbon film, with its texture and fringes of one random defocus.

    Parameters
    ----------
    particles : list of phantom.Particle
    size_px : int
        Edge of the field.
    pixel_size_nm : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (size_px, size_px)
    """
    grid = {"size_px": size_px, "pixel_size_nm": pixel_size_nm, "oversampling": OVERSAMPLING, "margin_px": 0}
    depth = phantom.draw_depth(particles, **grid)
    film = {"step_nm": pixel_size_nm / OVERSAMPLING, **phantom.draw_fringes(rng)}
    return bin_area(phantom.transmission(depth, rng=rng, **film), OVERSAMPLING)


def recorded_fields(images):
    """Transmission of recorded pictures (see `exposed_images`), relative to their commonest level."""
    return [transmission_of(image) for image in images]


def expose(transmission, kind, *, dose_e_per_px, rng):
    """One frame of a transmission image through one of the `CAMERAS`, or another.

    Parameters
    ----------
    transmission : ndarray of shape (M, N)
    kind : str
        "clipped": the paper's, which cuts at zero; "unclipped": the same with a dark level that is taken off;
        "counting": whole electrons and nothing else; "other": `OTHER_CAMERA`, which cuts at zero.
    dose_e_per_px : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (M, N) [e-/px]
    """
    if kind == "counting":
        return rng.poisson(dose_e_per_px * transmission).astype(np.float32)
    model = OTHER_CAMERA if kind == "other" else camera.ONEVIEW_BIN8
    origin = ORIGIN_COUNTS if kind == "unclipped" else 0.0
    pattern = origin + camera.fixed_pattern(transmission.shape, model, rng)
    counts = camera.expose(transmission, dose_e_per_px=dose_e_per_px, camera=model, rng=rng, fixed_pattern=pattern)
    return ((counts - origin) / model.counts_per_e).astype(np.float32)


def clipping_camera(kind):
    """The camera that cuts at zero, of a kind as `expose` takes it; None for one that does not."""
    return {"clipped": camera.ONEVIEW_BIN8, "other": OTHER_CAMERA}.get(kind)


def tuned_filters(frames, truths, kind, *, dose_e_per_px):
    """Every filter with its best width on these frames.

    Parameters
    ----------
    frames, truths : sequence of ndarray of shape (M, N)
    kind : str
        The camera.
    dose_e_per_px : float

    Returns
    -------
    methods : dict of str to method
    widths : dict of str to float
    """
    clipping = clipping_camera(kind)
    film_e = float(filters.clipped_mean(dose_e_per_px, clipping)) if clipping else dose_e_per_px
    methods, widths = {}, {}
    for name in FILTERS:
        widths[name] = filters.tune_width(name, frames, truths, [film_e] * len(frames), camera=clipping)
        methods[name] = partial(_filtered, name, widths[name], film_e, dose_e_per_px, clipping)
    return methods, widths


def _filtered(name, width, film_e, dose_e_per_px, clipping, frame):
    return dose_e_per_px * filters.filter_frame(name, frame, film_e, width, camera=clipping)


def parted(fields, n_judged):
    """Fields to judge on, the first ones, and as many as `TUNING_FIELDS` of the rest: those with most to see.

    An empty field asks for the widest of all filters, and nothing can be tuned on it.
    """
    rest = sorted(fields[n_judged:] or fields[:1], key=np.std, reverse=True)
    return fields[:n_judged], rest[:TUNING_FIELDS]


def shots(fields, kind, *, name, dose_e_per_px, seed):
    """One frame of each field, a function of the name of the trial and the seed: list of (M, N) [e-/px]."""
    rng = field_rng(seed, name, "exposure")
    return [expose(transmission, kind, dose_e_per_px=dose_e_per_px, rng=rng) for transmission in fields]


def judge(methods, frames, truths, *, dose_e_per_px, pixel_size_nm):
    """What every method makes of the frames of one trial.

    Parameters
    ----------
    methods : dict of str to method
    frames, truths : sequence of ndarray of shape (M, N)
        Frames [e-/px] and transmissions.
    dose_e_per_px, pixel_size_nm : float

    Returns
    -------
    scores : pandas.DataFrame
        field, method and `quality.fitted_scores` of it.
    bias : pandas.DataFrame
        method, transmission (middle of a bin of the truth), error_sum (of output minus truth, as transmission and
        without any fit) and pixels.
    """
    rows, errors = [], []
    for field, (frame, truth) in enumerate(zip(frames, truths, strict=True)):
        for method, denoise in methods.items():
            image = denoise(frame) / dose_e_per_px
            row = {"field": field, "method": method}
            rows.append(row | quality.fitted_scores(image, truth, pixel_size_nm=pixel_size_nm))
            errors.append(_error_by_transmission(image, truth).assign(method=method))
    bias = pd.concat(errors).groupby(["method", "transmission"], sort=False, as_index=False).sum()
    return pd.DataFrame(rows), bias


def judged(folder, trial, by, method, fields, *, n_judged, made_by, pixel_size_nm, seed):
    """One trial, judged or read from the files that an earlier run left.

    Parameters
    ----------
    folder : path
        Receives two tables a trial and method.
    trial : tuple
        Values of `TRIAL`.
    by : str
        Name of the network, or "filters": all of them, each tuned.
    method : method or None
        The network's.
    fields : list of ndarray of shape (M, N)
        Transmissions; those after the first `n_judged` are there to tune on.
    n_judged : int
    made_by : str
        What tells this method from another of its name, as the hash of a card does.
    pixel_size_nm : float
    seed : int

    Returns
    -------
    scores, bias : pandas.DataFrame
        Of `judge`, with the columns of `TRIAL` and parameter, a filter's width.
    """
    specimen, kind, material, dose = trial
    name = f"{specimen}_{kind}_{material}_{dose:g}"
    pixels = hashlib.sha256(b"".join(np.ascontiguousarray(field).tobytes() for field in fields)).hexdigest()
    about = repr([seed, n_judged, pixel_size_nm, made_by, pixels, digest_of_code("trials")])
    digest = hashlib.sha256(about.encode()).hexdigest()[:12]
    files = [folder / f"{name}_{by}_{digest}_{what}.csv" for what in ("bias", "scores")]
    if not files[-1].is_file():
        truths, tuned_on = parted(fields, n_judged)
        methods, widths = {by: method}, {}
        if by == "filters":
            frames = shots(tuned_on, kind, name=f"{name}_tuning", dose_e_per_px=dose, seed=seed)
            methods, widths = tuned_filters(frames, tuned_on, kind, dose_e_per_px=dose)
        frames = shots(truths, kind, name=name, dose_e_per_px=dose, seed=seed)
        scores, bias = judge(methods, frames, truths, dose_e_per_px=dose, pixel_size_nm=pixel_size_nm)
        scores = scores.assign(parameter=scores["method"].map(widths).astype(float))
        for file, table in zip(files, (bias, scores), strict=True):
            with whole_file(file) as partial_file:
                table.to_csv(partial_file, index=False)
    bias, scores = (pd.read_csv(file).assign(**dict(zip(TRIAL, trial, strict=True))) for file in files)
    return scores, bias


def _error_by_transmission(image, truth):
    number = np.digitize(truth.ravel(), TRANSMISSION_BINS) - 1
    number = np.clip(number, 0, len(TRANSMISSION_BINS) - 2)  # film in fringes and holes is above 1
    n = len(TRANSMISSION_BINS) - 1
    middles = (TRANSMISSION_BINS[1:] + TRANSMISSION_BINS[:-1]) / 2
    sums, pixels = np.bincount(number, (image - truth).ravel(), n), np.bincount(number, minlength=n)
    return pd.DataFrame({"transmission": middles, "error_sum": sums, "pixels": pixels})


def summarise(scores):
    """One row a trial and method: nRMSE, PSNR and SSIM with 95 % intervals over fields.

    Parameters
    ----------
    scores : pandas.DataFrame
        Of `judge`, with the columns of `TRIAL`.

    Returns
    -------
    pandas.DataFrame
    """
    rows = []
    for key, group in scores.groupby([*TRIAL, "method"], sort=False):
        row = dict(zip([*TRIAL, "method"], key, strict=True)) | {"parameter": group["parameter"].iloc[0]}
        error, variance = group["mse"].to_numpy(), group["variance"].to_numpy()
        row["nrmse"] = np.sqrt(error.sum() / variance.sum())
        row["nrmse_low"], row["nrmse_high"] = np.sqrt(quality_tables.ratio_interval(error, variance))
        for name, stem, unit in (("psnr_affine_db", "psnr", "_db"), ("ssim", "ssim", "")):
            values = group[name].to_numpy()
            low, high = quality_tables.ratio_interval(values, np.ones(len(values)))
            row |= {f"{stem}{unit}": values.mean(), f"{stem}_low{unit}": low, f"{stem}_high{unit}": high}
        rows.append(row | {"n_fields": len(group)})
    return pd.DataFrame(rows)


def gains(scores, against):
    """By how much every network beats a reference, trial by trial.

    Parameters
    ----------
    scores : pandas.DataFrame
        As for `summarise`.
    against : sequence of str
        Methods of which the one with the lowest nRMSE on the very frames of a trial is the reference.

    Returns
    -------
    pandas.DataFrame
        The columns of `TRIAL`, network, and of `quality_tables.gains` best_filter (the reference), gain_db with
        its interval over fields, and verdict.
    """
    tables = []
    networks = [m for m in scores["method"].unique() if m not in FILTERS and m not in against]
    for key, trial in scores.groupby(TRIAL, sort=False):
        for network in networks:
            chosen = trial[trial["method"].isin([network, *against])]
            chosen = chosen.assign(method=chosen["method"].replace(network, "output"))
            found = quality_tables.gains(chosen, list(against)).iloc[:1]
            found = found.drop(columns=["material", "filter_nrmse", "output_nrmse"])
            tables.append(found.assign(network=network, **dict(zip(TRIAL, key, strict=True))))
    columns = [*TRIAL, "network", "best_filter", "gain_db", "gain_low_db", "gain_high_db", "verdict"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
