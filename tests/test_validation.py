"""`temlib validate` on sets whose truth is known, as a microscope writes them."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from temlib import sphere_images, validation
from temlib.camera import ONEVIEW_BIN8, expose
from temlib.cli import app
from temlib.errors import TemlibError
from temlib.found_tables import BEAM_FIELD_NM
from temlib.networks import Network
from temlib.simulate import simulate


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    options = {"seed": 3, "size_px": 192, "binning": 8, "pixel_size_nm": 2.9885, "max_drift_px": 2.0}
    fields = {"train_fields": {"FeNi": 1}, "validation_fields": {"FeNi": 1}, "hde_frames_kept": 2}
    simulate(folder, report=lambda _: None, **fields, **options)
    return folder


def test_diameters_of_lde_frames_are_near_those_of_their_hde_frames(sets, tmp_path):
    result = CliRunner().invoke(app, ["validate", str(sets), "-o", str(tmp_path), "--model", "fast"])
    assert result.exit_code in (0, 1), result.stderr
    table = pd.read_csv(tmp_path / "validation.csv")
    sure = table[(table["d_prime"] == "6 and more") & (table["method"] == "raw")].iloc[0]
    assert sure["found"] > 0.7 and abs(sure["bias_nm"]) < 5
    particles = pd.read_csv(tmp_path / "validation_particles.csv")
    assert {"raw", "fast"} == set(particles["method"]) and particles["exposure"].nunique() == 2


def test_what_the_hde_frame_saw_a_part_of_is_at_its_border():
    # 90 nm, whole in the LDE frame; of the HDE frame, which drifted by 4 px, the last 4 rows are not there
    spheres = [[142.0, 60, 30, 0.04], [60, 100, 30, 0.04]]
    transmission = sphere_images.expected(spheres, [1, 0, 0], (160, 160), blur_px=0.5)
    hde = transmission.copy()
    hde[-4:] = hde[-5]
    exposure = {"dose_e_per_px": 20.0, "camera": ONEVIEW_BIN8, "rng": np.random.default_rng(0)}
    lde = expose(transmission, **exposure)[None] / ONEVIEW_BIN8.counts_per_e
    pair = {"hde": 1000 * hde, "hde_background_e": 1000.0, "lde": lde, "drift_px": np.array([4.0, 0])}
    pair |= {"aligned": True, "pixel_size_nm": 3.0}
    right = Network("right", {"stride_px": 4, "halo_px": 4}, lambda frames: transmission[None, None].copy(), "CPU")
    told = validation._one_field("a", pair, right, map).query("method == 'raw' and kind == 'matched'")
    told = told.sort_values("true_row_px")
    assert told["true_at_border"].tolist() == told["at_border"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "said"), [({"pixel_size_nm": np.nan}, "no square pixels"), ({"aligned": False}, "not aligned")]
)
def test_a_set_that_cannot_be_compared_is_left_out_in_a_sentence(change, said):
    with pytest.raises(TemlibError, match=said):
        validation._one_field("a", {"pixel_size_nm": 3.0, "aligned": True} | change, None, map)


def test_a_folder_without_sets_is_refused_and_the_sentence_says_why(tmp_path):
    result = CliRunner().invoke(app, ["validate", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "No set of" in result.stderr and "above" not in result.stderr


def rows(kind, **columns):
    told = {"method": "raw", "field": "a", "error_nm": 1.0, "diameter_error_nm": 1.0, "true_bound_nm": 1.0}
    told |= {"true_diameter_nm": 60.0, "true_d_prime": 7.0, "true_transmission": 0.5, "true_at_border": False}
    told |= {
        "diameter_error_any_shape_nm": 1.0,
        "diameter_nm": 60.0,
        "contrast": 0.5,
        "significant": True,
        "at_border": False,
    }
    return pd.DataFrame([told | {"kind": kind} | columns])


def test_what_the_frame_cuts_is_neither_wrong_nor_invented():
    nothing = dict.fromkeys(["true_diameter_nm", "true_d_prime", "true_transmission", "true_at_border"], np.nan)
    several = [rows("matched"), rows("matched", true_at_border=True), rows("matched", true_transmission=0.99)]
    several += [rows("invented", **nothing), rows("invented", at_border=True, **nothing)]
    several += [rows("invented", significant=False, **nothing)]
    table = validation._table(pd.concat(several, ignore_index=True), areas_nm2=2 * [BEAM_FIELD_NM**2])
    centres_nm = np.random.default_rng(0).uniform(0, BEAM_FIELD_NM, (1_000_000, 2))
    one = 1 / ((centres_nm > 30) & (centres_nm < BEAM_FIELD_NM - 30)).all(axis=1).mean()  # of one that is not cut
    columns = ["n", "found", "false_per_field", "significant_false_per_field"]
    np.testing.assert_allclose(table[columns].to_numpy(), [[1, 1.0, one, one / 2]], rtol=1e-3)
