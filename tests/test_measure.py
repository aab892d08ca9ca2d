import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from temlib import sphere_images
from temlib.camera import ONEVIEW_BIN8, expose
from temlib.grouping import groups
from temlib.measure import measure, measure_denoised

PIXEL_NM, DOSE_E_PER_PX = 3.0, 8.0
# row, column, diameter [px] and absorption [1/px]: alone, a pair, at the border
SPHERES = np.array([[40.0, 45, 30, 0.03], [90, 60, 26, 0.03], [92, 86, 24, 0.03], [5, 150, 28, 0.03]])


@pytest.fixture(scope="module")
def table():
    image = sphere_images.expected(SPHERES, [1, 0, 0], (130, 176), blur_px=0.5)
    counts = expose(image, dose_e_per_px=DOSE_E_PER_PX, camera=ONEVIEW_BIN8, rng=np.random.default_rng(2))
    raw = counts / ONEVIEW_BIN8.counts_per_e
    # as a perfect network would denoise it
    return measure(raw, DOSE_E_PER_PX * image, pixel_size_nm=PIXEL_NM, camera=ONEVIEW_BIN8, clipped=True)


def nearest(table, sphere):
    return table.loc[np.hypot(table["row_px"] - sphere[0], table["col_px"] - sphere[1]).idxmin()]


@pytest.mark.parametrize("number", range(3))
def test_a_diameter_is_within_its_error(table, number):
    row, true_nm = nearest(table, SPHERES[number]), SPHERES[number, 2] * PIXEL_NM
    assert abs(row["diameter_nm"] - true_nm) < 3 * row["diameter_error_nm"] < 0.15 * true_nm
    assert row["contrast"] == pytest.approx(1 - np.exp(-0.03 * SPHERES[number, 2]), abs=0.1)
    assert row["background"] == pytest.approx(DOSE_E_PER_PX, rel=0.05)
    assert row["d_prime"] > 10 and row["significant"]
    assert row["misfit"] == pytest.approx(1, abs=0.1)


def test_flags_say_what_touches_and_what_is_cut(table):
    flags = [nearest(table, sphere) for sphere in SPHERES]
    assert [bool(row["at_border"]) for row in flags] == [False, False, False, True]
    assert not any(row["touching"] for row in flags)
    assert len(table) == len(SPHERES)


def test_two_that_overlap_touch():
    overlapping = SPHERES[1:3] + np.array([[0, 2.5, 0, 0], [0, -2.5, 0, 0]])  # by 4 px
    image = sphere_images.expected(overlapping, [1, 0, 0], (130, 176), blur_px=0.5)
    found = measure_denoised(DOSE_E_PER_PX * image, pixel_size_nm=PIXEL_NM, camera=ONEVIEW_BIN8)
    assert list(found["touching"]) == [True, True]


def test_what_the_denoised_image_does_not_show_is_not_significant():
    image = sphere_images.expected(SPHERES[:1], [1, 0, 0], (96, 96), blur_px=0.5)
    counts = expose(image, dose_e_per_px=DOSE_E_PER_PX, camera=ONEVIEW_BIN8, rng=np.random.default_rng(2))
    faint = DOSE_E_PER_PX * (1 - 0.1 * (1 - image))  # a tenth of the contrast
    options = {"pixel_size_nm": PIXEL_NM, "camera": ONEVIEW_BIN8, "clipped": True}
    for shown, share in ((DOSE_E_PER_PX * image, 1.0), (faint, 0.1)):
        [row] = measure(counts / ONEVIEW_BIN8.counts_per_e, shown, **options).to_dict("records")
        assert row["shown"] == pytest.approx(share, rel=0.3) and row["d_prime"] > 10
        assert row["significant"] == (share == 1)


@pytest.mark.parametrize("light", [0.92, 1.08])
def test_what_is_shown_does_not_depend_on_the_light(light):
    # a network shows the specimen in even light, the frame is recorded in that of the beam
    image = sphere_images.expected([[60.0, 70, 30, 0.0105]], [1, 0, 0], (120, 140), blur_px=0.5)
    shares = []
    for seed in range(4):
        exposure = {"dose_e_per_px": 10.0, "camera": ONEVIEW_BIN8, "rng": np.random.default_rng(seed)}
        raw = expose(light * image, **exposure) / ONEVIEW_BIN8.counts_per_e
        options = {"pixel_size_nm": PIXEL_NM, "camera": ONEVIEW_BIN8, "clipped": True}
        shares.append(measure(raw, 10 * image, **options)["shown"][0])
    # by chance 0.1; a bright place would show 1.22 and a dark one 0.61 if its light were taken for the particle's
    assert np.mean(shares) == pytest.approx(0.92, abs=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_a_small_particle_beside_a_large_one_is_kept(seed):
    # 45 and 80 nm of FeNi, a pixel apart, at 5 electrons a pixel: d' 5 of the smaller
    pair = np.array([[40.0, 36, 26.8, 0.04], [40, 57.9, 15, 0.04]])
    image = sphere_images.expected(pair, [1, 0, 0], (80, 96), blur_px=0.5)
    rng = np.random.default_rng(seed)
    counts = expose(image, dose_e_per_px=5.0, camera=ONEVIEW_BIN8, rng=rng) / ONEVIEW_BIN8.counts_per_e
    found = measure(counts, 5 * image, pixel_size_nm=PIXEL_NM, camera=ONEVIEW_BIN8, clipped=True)
    assert len(found) == 2


def test_a_sphere_with_facets_is_one_particle():
    row, col = np.indices((120, 128))
    turns = np.pi / 3 * np.arange(6)
    faces = [np.cos(turn) * (row - 60) + np.sin(turn) * (col - 64) for turn in turns]
    hexagon = np.where(np.max(faces, axis=0) < 28, 0.3, 1.0)
    image = gaussian_filter(DOSE_E_PER_PX * hexagon, 2)
    [found] = measure_denoised(image, pixel_size_nm=PIXEL_NM, camera=ONEVIEW_BIN8).to_dict("records")
    # of the same area: a hexagon of apothem 28 px has 2 sqrt(3) x 28^2 px
    assert found["diameter_nm"] / PIXEL_NM == pytest.approx(2 * np.sqrt(2 * np.sqrt(3) * 28**2 / np.pi), rel=0.15)


def test_a_large_sphere_with_a_dark_spot_is_one_particle():
    # what a network showed of 176 nm of silicate: the finder takes the rest for pieces
    sphere = np.array([[60.0, 64, 59, 0.0144]])
    image = sphere_images.expected(sphere, [1, 0, 0], (120, 128), blur_px=0.5)
    counts = expose(image, dose_e_per_px=5.0, camera=ONEVIEW_BIN8, rng=np.random.default_rng(4))
    spotted = image * sphere_images.expected([[59.0, 61, 20, 0.03]], [1, 0, 0], image.shape, blur_px=1.0)
    options = {"pixel_size_nm": PIXEL_NM, "camera": ONEVIEW_BIN8, "clipped": True}
    [row] = measure(counts / ONEVIEW_BIN8.counts_per_e, 5 * spotted, **options).to_dict("records")
    assert row["diameter_nm"] == pytest.approx(177, abs=3 * row["diameter_error_nm"])


def test_broken_pixels_are_no_part_of_the_specimen():
    image = sphere_images.expected(SPHERES[:1], [1, 0, 0], (96, 96), blur_px=0.5)
    counts = expose(image, dose_e_per_px=DOSE_E_PER_PX, camera=ONEVIEW_BIN8, rng=np.random.default_rng(2))
    raw = counts / ONEVIEW_BIN8.counts_per_e
    options = {"pixel_size_nm": PIXEL_NM, "camera": ONEVIEW_BIN8, "clipped": True}
    before = measure(raw, DOSE_E_PER_PX * image, **options)
    raw[40, 45], raw[42, 50] = 1000, np.nan
    after = measure(raw, DOSE_E_PER_PX * image, **options)
    assert after["diameter_nm"][0] == pytest.approx(before["diameter_nm"][0], abs=0.5)


def test_the_width_of_a_blurred_edge_is_told_from_10_to_90_per_cent():
    image = sphere_images.expected([[30.0, 34, 28, 0.04]], [1, 0, 0], (60, 72), blur_px=1.5)
    [row] = measure_denoised(image, pixel_size_nm=3.0).to_dict("records")
    assert row["edge_width_nm"] == pytest.approx(2.563 * 1.5 * 3.0, rel=0.05)


def test_an_edge_that_is_sharper_than_a_fit_can_tell_has_no_width():
    row, col = np.ogrid[:60, :72]  # seen in points, which are sharper than pixels
    depth_px = 2 * np.sqrt(np.maximum(14.0**2 - (row - 30) ** 2 - (col - 34) ** 2, 0))
    [told] = measure_denoised(np.exp(-0.04 * depth_px), pixel_size_nm=3.0).to_dict("records")
    assert told["edge_width_nm"] == 0


def test_an_edge_that_is_softer_than_a_fit_can_tell_is_infinitely_wide():
    row, col = np.ogrid[:120, :140]
    bump = 1 - 0.5 * np.exp(-((row - 60) ** 2 + (col - 70) ** 2) / (2 * 20**2))
    table = measure_denoised(bump, pixel_size_nm=3.0)
    assert len(table) and np.isinf(table["edge_width_nm"]).all()


def test_without_a_camera_nobody_knows_what_is_significant():
    image = sphere_images.expected(SPHERES[:1], [1, 0, 0], (96, 96), blur_px=0.5)
    [found] = measure_denoised(image, pixel_size_nm=PIXEL_NM).to_dict("records")
    assert pd.isna(found["significant"]) and np.isnan(found["diameter_error_nm"])
    assert found["diameter_nm"] == pytest.approx(90, abs=0.5)


def test_an_empty_film_has_no_particles():
    film = np.full((64, 70), DOSE_E_PER_PX)
    counts = expose(film / 8, dose_e_per_px=8.0, camera=ONEVIEW_BIN8, rng=np.random.default_rng(0))
    empty = measure(counts / 44, film, pixel_size_nm=PIXEL_NM, camera=ONEVIEW_BIN8, clipped=True)
    assert empty.empty and "diameter_nm" in empty


def test_particles_whose_rims_are_near_are_a_group():
    # gaps: 0 to 1 three pixels, 1 to 2 three pixels, 3 far away
    spheres = np.array([[10, 10, 10, 1], [10, 23, 10, 1], [10, 36, 10, 1], [90, 10, 10, 1.0]])
    assert [list(group) for group in groups(spheres)] == [[0, 1, 2], [3]]
    assert groups(np.empty((0, 4))) == []


def test_a_long_chain_is_parted_where_its_particles_overlap_least():
    # eight discs that overlap by 3 px, a gap of 1 px, and eight more
    columns = np.concatenate([7 * np.arange(8), 60 + 7 * np.arange(8)])
    chain = np.column_stack([np.full(16, 10), columns, np.full(16, 10), np.ones(16)])
    assert [list(group) for group in groups(chain)] == [list(range(8)), list(range(8, 16))]
    heap = np.column_stack([np.full(25, 10), np.full(25, 10), np.full(25, 10), np.ones(25)])
    assert sorted(len(group) for group in groups(heap)) == [8, 8, 9]
