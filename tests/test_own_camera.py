"""The camera as found on exposures whose camera the test chose."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_fresh_noise import cameras, covariance  # noqa: E402

from temlib import trials  # noqa: E402
from temlib.errors import TemlibError  # noqa: E402
from temlib.frame_noise import segment_width  # noqa: E402
from temlib.fresh_noise import expose  # noqa: E402
from temlib.own_camera import fit_own_camera, least_moved  # noqa: E402
from temlib.repeats import Field  # noqa: E402

SHAPE = (256, 320)


def field(unit_per_e=1.0, unit="e-", shape=SHAPE, **camera):
    """Two exposures of film with darker rectangles, which give the fit a range of intensities."""
    transmission = np.ones(shape, np.float32)
    transmission[100:180, 50:150] = 0.4
    transmission[20:60, 200:300] = 0.7
    both = torch.from_numpy(transmission)[None, None].repeat(2, 1, 1, 1)
    frames, _ = expose(both, cameras(2, **camera), 3)
    return Field("simulated", unit_per_e * frames[:, 0].numpy(), [(0, 1, (0, 0))], unit)


@pytest.mark.parametrize("width", [1, 16, 24, 32, 40, 48, 64, 96, 320])
def test_the_width_of_segments_is_found(width):
    camera = {"segment_px": width % 320, "segment_e": 0.85} if width > 1 else {"segment_e": 0.0}  # 0: the whole row
    assert segment_width(least_moved([field(**camera)])) == width


def test_the_width_of_segments_is_found_though_the_specimen_moved():
    resting = field(segment_px=48, segment_e=0.85)
    moved = replace(resting, pairs=[(0, 1, (3, 20))])  # the frames' segments are 20 columns apart, then
    assert segment_width(least_moved([moved])) == 48


# pulse heights of an excess factor of 3 and a cloud of 0.9 px: `camera_fit` knows none so wide
@pytest.mark.parametrize("shape", [(160, 160), SHAPE])
def test_a_camera_that_cannot_be_fitted_is_replaced_by_one_of_as_much_noise(shape):
    rng = np.random.default_rng(5)
    fields = []
    for number in range(4):
        transmission = np.ones(shape)
        transmission[30:120, 20 + 10 * number : 90] = 0.4
        frames = [trials.expose(transmission, "other", dose_e_per_px=12.0, rng=rng) for _ in range(2)]
        fields.append(Field(f"field {number}", np.stack(frames), [(0, 1, (0, 0))], "e-"))
    own = fit_own_camera(fields)
    assert own.segment_px == trials.OTHER_CAMERA.segment_width_px == 48
    assert "segments of 48 px (multiples of 8 px and whole rows were tried)" in own.sentence()
    assert "does not describe" in own.note and own.sentence().endswith(own.note)
    assert own.as_dict()["said"] == own.sentence()
    assert own.doses_e == pytest.approx(12.0, rel=0.1)
    drawn = own.draw(8, rng) | {"dose_e_per_px": np.full(8, 12.0)}
    ours = expose(torch.ones(8, 1, 192, 256), drawn, 1)[0][:, 0].numpy()
    theirs = np.stack([trials.expose(np.ones((192, 256)), "other", dose_e_per_px=12.0, rng=rng) for _ in range(8)])
    for statistic, rel in {np.mean: 0.03, np.std: 0.08, lambda x: np.mean(x == 0): 0.2}.items():
        assert statistic(ours) == pytest.approx(statistic(theirs), rel=rel)
    for lag in ((1, 0), (0, 1), (0, 20)):
        assert covariance(ours, *lag) == pytest.approx(covariance(theirs, *lag), rel=0.25)


def test_a_camera_like_the_papers_is_found_as_it_is():
    own = fit_own_camera([field()])
    drawn = {name: values[0] for name, values in own.draw(1, np.random.default_rng(0)).items()}
    assert drawn["white_e"] == pytest.approx(3.02, rel=0.05)
    assert drawn["segment_e"] == pytest.approx(0.85, rel=0.1)
    assert 1 + 1 / drawn["pulse_shape"] == pytest.approx(1.65, rel=0.1)
    assert (drawn["segment_px"], bool(drawn["clipped"]), bool(drawn["counting"])) == (32, True, False)
    assert own.doses_e == pytest.approx(4.5, rel=0.05)


@pytest.mark.parametrize("unit_per_e", [1.0, 7.0])
def test_a_camera_with_much_blur_and_no_clipping_is_found_whatever_its_gain(unit_per_e):
    camera = {"dose_e_per_px": 20.0, "pulse_shape": 1 / 0.65, "white_e": 2.0, "blur_px": 0.4, "clipped": False}
    own = fit_own_camera([field(unit_per_e, "counts" if unit_per_e > 1 else "e-", **camera)])
    drawn = {name: values[0] for name, values in own.draw(1, np.random.default_rng(0)).items()}
    assert own.unit_per_e == pytest.approx(unit_per_e, rel=0.25)
    assert drawn["blur_px"] == pytest.approx(0.4, abs=0.05)
    assert drawn["white_e"] == pytest.approx(2.0, abs=0.7)
    assert 1 + 1 / drawn["pulse_shape"] == pytest.approx(1.65, rel=0.2)
    assert not drawn["clipped"]


def test_a_camera_that_counts_electrons_is_recognised():
    electrons = np.random.default_rng(1).poisson(3.0, (2, 96, 130)).astype(np.float32)
    own = fit_own_camera([Field("counted", electrons, [(0, 1, (0, 0))], "counts")])
    assert own.counting
    drawn = own.draw(5, np.random.default_rng(0))
    assert np.isinf(drawn["pulse_shape"]).all()
    assert not drawn["white_e"].any()


def test_noise_that_no_camera_of_the_model_makes_is_said_and_the_training_s_cameras_are_drawn():
    rng = np.random.default_rng(2)
    frames = rng.normal(9, 1, (2, 96, 130)).astype(np.float32)  # less noise than 9 electrons have
    own = fit_own_camera([Field("quiet", frames, [(0, 1, (0, 0))], "e-")])
    assert own.camera is None
    assert "does not describe" in own.sentence()
    assert len(set(own.draw(50, rng)["white_e"])) > 10


def test_frames_whose_film_is_not_above_zero_are_refused():
    frames = np.random.default_rng(2).normal(-0.5, 3, (2, 96, 130)).astype(np.float32)
    with pytest.raises(TemlibError, match=r"an intensity of -0\.\d+: frames whose zero is no electrons are needed"):
        fit_own_camera([Field("dark", frames, [(0, 1, (0, 0))], "e-")])


def test_the_dose_is_the_film_s_where_half_is_covered_and_electrons_are_few():
    transmission = np.ones(SHAPE)
    transmission[:, :150] = 0.3
    rng = np.random.default_rng(3)
    frames = [trials.expose(transmission, "unclipped", dose_e_per_px=1.5, rng=rng) for _ in range(2)]
    assert fit_own_camera([Field("half", np.stack(frames), [(0, 1, (0, 0))], "e-")]).doses_e == pytest.approx(
        1.5, rel=0.1
    )
