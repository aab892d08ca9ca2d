import numpy as np
import pandas as pd
import pytest

from temlib import filters, fresh_noise, trials

GRID = {"size_px": 48, "pixel_size_nm": 4.0, "material": "FeNi"}


def scene(shape=(64, 96)):
    transmission = np.ones(shape)
    transmission[20:44, 30:60] = 0.4
    return transmission


def test_a_field_is_a_function_of_its_arguments():
    one, truth = trials.paper_field(3, 1, **GRID)
    again, _ = trials.paper_field(3, 1, **GRID)
    np.testing.assert_array_equal(one, again)
    assert one.shape == (48, 48) and {"row_px", "col_px", "diameter_nm"} <= set(truth)
    assert not np.array_equal(one, trials.paper_field(3, 2, **GRID)[0])


@pytest.mark.parametrize("kind", [*trials.CAMERAS, "other"])
def test_a_frame_holds_the_dose_and_is_clipped_or_counted_as_its_camera_does(kind):
    frame = trials.expose(np.ones((64, 96)), kind, dose_e_per_px=20.0, rng=np.random.default_rng(1))
    assert frame.mean() == pytest.approx(20, rel=0.02)
    faint = trials.expose(np.ones((64, 96)), kind, dose_e_per_px=1.0, rng=np.random.default_rng(2))
    assert (faint.min() < 0) == (kind == "unclipped")
    assert np.array_equal(faint, np.rint(faint)) == (kind == "counting")


def test_the_other_camera_is_outside_of_what_the_networks_learn_from():
    camera, gain = trials.OTHER_CAMERA, trials.OTHER_CAMERA.counts_per_e
    drawn = {
        "white_e": camera.white_counts / gain,
        "segment_e": camera.segment_counts / gain,
        "blur_px": camera.blur_px,
    }
    assert all(value > fresh_noise.RANGES[name][1] for name, value in drawn.items())
    assert camera.segment_width_px not in fresh_noise.SEGMENT_WIDTHS_PX


def test_fields_to_tune_on_are_others_and_those_with_most_to_see():
    fields = [np.full((2, 3), 1.0), np.arange(6.0).reshape(2, 3)]
    fields += [np.arange(6.0).reshape(2, 3) * height for height in (3, 0, 4, 5)]
    judged, tuned = trials.parted(fields, 2)
    assert [f.max() for f in judged] == [1, 5]
    assert [f.max() for f in tuned] == [25, 20]


def test_the_frames_of_a_trial_are_the_same_again_and_others_under_another_name():
    exposure = {"dose_e_per_px": 5.0, "seed": 1}
    one, again, other = (trials.shots([scene()] * 2, "clipped", name=name, **exposure) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and not np.array_equal(one[0], one[1])


def test_a_method_that_knows_the_truth_beats_every_filter_and_has_no_bias():
    truth = scene()
    exposure = {"name": "a", "dose_e_per_px": 5.0, "seed": 1}
    tuned, _ = trials.tuned_filters(
        trials.shots([truth.T], "clipped", **exposure), [truth.T], "clipped", dose_e_per_px=5.0
    )
    methods = {"cheat": lambda frame: 5.0 * truth} | tuned
    frames = trials.shots([truth], "clipped", **exposure)
    scores, bias = trials.judge(methods, frames, [truth], dose_e_per_px=5.0, pixel_size_nm=3.0)
    mse = scores.set_index("method")["mse"]
    assert mse["cheat"] == pytest.approx(0, abs=1e-12)
    assert set(mse.index) == {"cheat", *trials.FILTERS} and (mse[list(trials.FILTERS)] > 1e-4).all()
    cheated = bias[bias["method"] == "cheat"]
    assert cheated["pixels"].sum() == truth.size and np.abs(cheated["error_sum"]).max() < 1e-9


@pytest.mark.parametrize("kind", trials.CAMERAS)
def test_filters_bring_the_intensities_of_every_camera_back(kind):
    truth = np.full((96, 128), 0.5)
    truth[:, 64:] = 1.0
    rng = np.random.default_rng(4)
    frame = trials.expose(truth, kind, dose_e_per_px=5.0, rng=rng)
    methods, widths = trials.tuned_filters([frame], [truth], kind, dose_e_per_px=5.0)
    for name in set(trials.FILTERS) - {"median"}:  # the median of a few whole electrons is a whole electron
        image = methods[name](frame)
        assert image[20:70, 10:45].mean() == pytest.approx(2.5, abs=0.35), name
        assert image[20:70, 80:118].mean() == pytest.approx(5.0, abs=0.35), name
        assert widths[name] in (filters.WIDTHS | filters.PATCH_WIDTHS)[name]


def test_a_trial_is_judged_once_for_each_network_of_a_name(tmp_path):
    calls = []

    def network(frame):
        calls.append(frame)
        return frame

    options = {"n_judged": 2, "pixel_size_nm": 3.0, "seed": 1}
    trial = ("paper", "clipped", "Ni", 5.0)
    fields = [scene(), scene((40, 70)), scene()]
    first, _ = trials.judged(tmp_path, trial, "best", network, fields, made_by="one", **options)
    again, bias = trials.judged(tmp_path, trial, "best", network, fields, made_by="one", **options)
    assert len(calls) == 2
    pd.testing.assert_frame_equal(first, again)
    assert bias["material"].eq("Ni").all() and again["dose_e_per_px"].eq(5).all()
    trials.judged(tmp_path, trial, "best", network, fields, made_by="other", **options)
    trials.judged(tmp_path, trial, "best", network, [1.1 * field for field in fields], made_by="one", **options)
    assert len(calls) == 6


def scores_of(mse):
    """Two fields of one trial, in which each method has this error on each field."""
    rows = [
        {"specimen": "paper", "camera": "clipped", "material": "Ni", "dose_e_per_px": 5.0, "field": field}
        | {"method": method, "parameter": np.nan, "mse": value, "variance": 0.04, "psnr_affine_db": 20.0 + field}
        | {"ssim": 0.9}
        for method, values in mse.items()
        for field, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_gain_is_over_the_filter_that_is_best_in_the_trial():
    scores = scores_of({"best": (0.001, 0.001), "fast": (0.002, 0.002), "gaussian": (0.02, 0.02), "bm3d": (0.01, 0.01)})
    gain = trials.gains(scores, ["gaussian", "bm3d"]).set_index("network")
    assert gain["gain_db"].to_dict() == pytest.approx({"best": 10.0, "fast": 10 * np.log10(5)})
    assert (gain["best_filter"] == "bm3d").all() and (gain["verdict"] == "better").all()
    beside = trials.gains(scores[scores["method"].isin(["best", "fast"])], ["fast"])
    assert beside["gain_db"].tolist() == pytest.approx([10 * np.log10(2)])


def test_without_networks_there_are_no_gains():
    gain = trials.gains(scores_of({"gaussian": (0.02, 0.02)}), ["gaussian"])
    assert gain.empty and {"network", "gain_db", "verdict"} <= set(gain)


def test_a_summary_pools_errors_and_averages_decibels_over_fields():
    table = trials.summarise(scores_of({"best": (0.001, 0.003)}))
    row = table.iloc[0]
    assert row["nrmse"] == pytest.approx(np.sqrt(0.004 / 0.08))
    assert row["psnr_db"] == pytest.approx(20.5) and row["n_fields"] == 2
    # of the ratio of 0.05: standard error 0.025, t of one degree of freedom 12.706
    ends = np.sqrt(0.05 * np.exp([-12.706 / 2, 12.706 / 2]))
    assert [row["nrmse_low"], row["nrmse_high"]] == pytest.approx(ends, rel=1e-3)
