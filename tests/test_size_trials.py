"""Fields of spheres, what is true of them, and how found ones are put beside."""

import numpy as np
import pandas as pd
import pytest

from temlib import size_trials, sized_fields
from temlib.camera import ONEVIEW_BIN8
from temlib.networks import Network
from temlib.particles import gaps

SCALE = {"size_px": 128, "pixel_size_nm": 3.0}


def particles(*rows):
    columns = ["row_px", "col_px", "diameter_nm", "transmission", "contrast", "diameter_error_nm", "edge_width_nm"]
    return pd.DataFrame([(*row, 0.5, 0.5, 1.0, 3.0) for row in rows], columns=columns).assign(shape="sphere")


def test_a_field_is_made_of_its_arguments_and_its_spheres_are_dark():
    (one, truth), (again, _), (other, _) = (
        sized_fields.sized_field(1, index, material="FeNi", **SCALE) for index in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and one.shape == (128, 128)
    for particle in truth.itertuples():
        centre = one[round(particle.row_px), round(particle.col_px)]
        assert centre < particle.transmission + 0.2


def test_an_empty_field_has_film_only():
    film, truth = sized_fields.empty_field(1, 0, material="none", **SCALE)
    assert truth.empty and abs(film.mean() - 1) < 0.01 and film.std() < 0.03


def test_found_and_true_ones_are_told_from_each_other():
    truth = particles((20.0, 20, 60), (20, 80, 60), (80, 80, 60), (92, 80, 60)).drop(columns="contrast")
    # the first found, the second missed, the last two as one, something where nothing is
    found = particles((21.0, 20, 66), (86, 80, 100), (100, 20, 45))
    table = size_trials.beside_truth(found, truth, pixel_size_nm=3.0)
    assert sorted(table["kind"]) == ["invented", "matched", "matched", "merged", "missed"]
    first = table[table["true_col_px"] == 20].iloc[0]
    assert first["error_nm"] == 6 and first["centre_error_nm"] == 3


def test_without_particles_all_is_invented():
    table = size_trials.beside_truth(particles((21.0, 20, 66)), sized_fields.NOTHING, pixel_size_nm=3.0)
    assert list(table["kind"]) == ["invented"] and table["error_nm"].isna().all()


def test_the_two_exposures_and_the_long_one_have_one_scale():
    flat = np.full((96, 160), 0.8)
    first, second, hde = size_trials.exposed(flat, dose_e_per_px=20.0, rng=np.random.default_rng(0))
    assert not np.array_equal(first, second)
    assert [image.mean() for image in (first, second, hde)] == pytest.approx([16, 16, 16], rel=0.01)
    noise = np.diff(hde).std() / np.sqrt(2)  # the light, which is not even, is in no difference of neighbours
    assert noise == pytest.approx(20 * np.sqrt(0.8 * ONEVIEW_BIN8.excess_factor / 70400), rel=0.05)


def test_pieces_of_a_particle_are_split():
    truth = particles((40.0, 60, 150)).drop(columns="contrast")
    table = size_trials.beside_truth(particles((40.0, 58, 120), (52.0, 70, 60)), truth, pixel_size_nm=3.0)
    assert list(table["kind"]) == ["matched", "split"]


def test_sizes_are_drawn_as_often_in_each_octave():
    fields = [sized_fields.sized_field(1, i, material="FeNi", size_px=256, pixel_size_nm=3.0)[1] for i in range(20)]
    found = pd.concat(fields)
    share = np.mean(found["diameter_nm"] > np.sqrt(30 * 200))  # geometric middle: half, but for what finds no place
    assert 0.3 < share < 0.55


def test_two_particles_are_a_pair_or_far_apart():
    fields = [sized_fields.sized_field(1, i, material="FeNi", size_px=256, pixel_size_nm=3.0)[1] for i in range(6)]
    places = [field[["row_px", "col_px", "diameter_nm"]].to_numpy() for field in fields]
    apart_nm = np.concatenate([gaps(one, one, 3.0)[np.triu_indices(len(one), 1)] for one in places])
    assert apart_nm.min() > -20 and (apart_nm < 0).any()
    assert not ((apart_nm > 40) & (apart_nm < 60)).any()


def test_filters_are_not_tuned_on_what_is_judged(monkeypatch):
    drawn = []

    def field(seed, index, **_):
        drawn.append(index)
        return np.ones((8, 8)), None

    monkeypatch.setattr(size_trials, "FIELDS", dict.fromkeys(("sized", "recorded"), field))
    monkeypatch.setattr(size_trials, "shots", lambda *a, **k: [])
    monkeypatch.setattr(size_trials, "tuned_filters", lambda *a, **k: ({}, None))
    size_trials._filters("recorded", "recorded", 5.0, 2, 1, 8, 3.0)
    size_trials._filters("sized", "FeNi", 5.0, 2, 1, 8, 3.0)
    assert drawn == [sized_fields.RECORDED, size_trials.TUNING_FROM, size_trials.TUNING_FROM + 1]


def test_areas_are_those_of_the_fields_that_a_method_was_tried_on():
    trials = [("sized", "Ni", i, 5.0) for i in range(4)] + [("empty", "none", i, 5.0) for i in range(2)]
    table = size_trials.tried_areas(trials, ["raw", "hde"], seed=1, **SCALE)
    assert (table["area_nm2"] == table["n_fields"] * (128 * 3.0) ** 2).all()
    found = table.set_index(["method", "specimen"])["n_fields"]
    # what is no single exposure on no empty one
    assert found.to_dict() == {("raw", "sized"): 4, ("raw", "empty"): 2, ("hde", "sized"): 4}


def test_the_network_sees_two_exposures_one_by_one():
    transmission, zeros = np.ones((96, 128)), []

    def run(frames):
        zeros.append(np.mean(frames == 0))
        return np.ones_like(frames)

    by = size_trials.methods(
        {"flat": Network("flat", {"stride_px": 4, "halo_px": 4}, run, "CPU")}, {}, finder="flat", pixel_size_nm=3.0
    )
    frames = size_trials.exposed(transmission, dose_e_per_px=1.5, rng=np.random.default_rng(1))
    by["raw_twice"](*frames)
    # a third of a single exposure is cut at zero; of the mean of two a ninth, which no network has learnt
    assert zeros == pytest.approx([1 / 3, 1 / 3], abs=0.05)


def test_what_was_measured_once_is_not_measured_again(tmp_path, monkeypatch):
    options = {"folder": tmp_path, "cards": {"fast": "fast"}, "finder": "fast", "tuning_fields": 0, "seed": 1}
    options |= {"size_px": 96, "pixel_size_nm": 3.0}
    trial = ("sized", "FeNi", 0, 10.0)
    before = size_trials.measured(trial, **options)
    assert set(before["method"]) == {"fast", "raw", "raw_twice", "hde"}
    monkeypatch.setattr(size_trials, "exposed", lambda *a, **k: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(size_trials.measured(trial, **options), before)
