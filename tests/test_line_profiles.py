import numpy as np
import pandas as pd
import pytest

from temlib.line_profiles import fit_sphere, line_profile, sphere_profile, valley_depth
from temlib.line_sizes import add_reference, beside_truth, error_table, field_images, measure_line, with_truth
from temlib.lines import lines_through, nearest_line

STEP_NM = 3.0


def sphere_line(diameter_nm, attenuation_nm, *, noise=0.0, rng=None, background=1.0):
    """Distances, intensities and background points of a line with a sphere in its middle."""
    distance_nm = np.arange(0, diameter_nm + 150, STEP_NM)
    centre_nm = distance_nm[-1] / 2
    intensity = sphere_profile(distance_nm, centre_nm, diameter_nm, diameter_nm / attenuation_nm, background)
    if noise:
        intensity = intensity + rng.normal(0, noise, distance_nm.size)
    outside = np.abs(distance_nm - centre_nm) > 0.6 * diameter_nm + 6
    return distance_nm, intensity, outside, centre_nm


def voxel_transmission(shape, spheres, *, pixel_size_nm, attenuation_nm):
    """Transmission by counting the slabs, 0.5 nm thick, in which a pixel's centre is inside a sphere."""
    row, col = np.indices(shape) * pixel_size_nm
    thickness_nm = np.zeros(shape)
    for row_px, col_px, diameter_nm in spheres:
        for z_nm in np.arange(-diameter_nm / 2 + 0.25, diameter_nm / 2, 0.5):
            squared = (row - row_px * pixel_size_nm) ** 2 + (col - col_px * pixel_size_nm) ** 2 + z_nm**2
            thickness_nm += 0.5 * (squared < diameter_nm**2 / 4)
    return np.exp(-thickness_nm / attenuation_nm)


def particle_table(*particles):
    return pd.DataFrame(particles, columns=["row_px", "col_px", "diameter_nm"])


def test_line_profile_of_a_ramp_is_the_ramp():
    ramp = np.tile(np.arange(5.0), (3, 1))  # intensity equals the column number
    distance_nm, intensity = line_profile(ramp, (1, 0), (1, 4), pixel_size_nm=0.1)
    np.testing.assert_allclose(distance_nm, [0.0, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(intensity, [0, 1, 2, 3, 4])


def test_a_line_along_a_diagonal_is_as_long_as_pythagoras_says():
    distance_nm, intensity = line_profile(np.zeros((5, 7)), (0, 1), (3, 5), pixel_size_nm=2.0)
    assert distance_nm[-1] == 10.0  # 3, 4, 5, times 2 nm
    assert len(distance_nm) == len(intensity) == 6


def test_a_wide_line_is_the_mean_of_its_parallel_lines():
    rows = np.array([0.0, 3.0, 12.0, 100.0])
    image = np.repeat(rows[:, None], 6, axis=1)
    _, intensity = line_profile(image, (1, 1), (1, 4), pixel_size_nm=1.0, width_px=3)
    np.testing.assert_allclose(intensity, 5.0)  # (0 + 3 + 12) / 3


def test_a_line_of_no_length_is_refused():
    with pytest.raises(ValueError, match="two different points"):
        line_profile(np.zeros((3, 4)), (1, 2), (1, 2), pixel_size_nm=1.0)


def test_the_sphere_law_at_points_worked_out_by_hand():
    # R = 50, L = 200: the chord is 100 at the centre, 80 at 30 (3-4-5 triangle), 60 at 40, 0 at the edge
    intensity = sphere_profile(np.array([100.0, 130.0, 60.0, 150.0, 170.0]), 100.0, 100.0, 0.5, background=7.0)
    np.testing.assert_allclose(intensity, 7 * np.exp([-0.5, -0.4, -0.3, 0, 0]))


def test_the_fit_agrees_with_the_parabola_of_the_squared_logarithm():
    distance_nm, intensity, outside, centre_nm = sphere_line(95.0, 200.0, background=4.5)
    fit = fit_sphere(distance_nm, intensity, outside, centre_nm=centre_nm + 5, diameter_nm=80.0, central_fraction=0.8)
    a, b, c = np.polyfit(distance_nm[fit.used], np.log(4.5 / intensity[fit.used]) ** 2, 2)
    assert fit.centre_nm == pytest.approx(-b / (2 * a), abs=1e-3)
    assert fit.diameter_nm == pytest.approx(2 * np.sqrt((b**2 / (4 * a) - c) / a), abs=1e-3)
    assert fit.attenuation_nm == pytest.approx(2 / np.sqrt(-a), rel=1e-4)
    assert fit.diameter_nm == pytest.approx(95.0, abs=1e-3)


def test_only_central_points_are_used_and_they_follow_the_fitted_diameter():
    distance_nm, intensity, outside, centre_nm = sphere_line(120.0, 200.0)
    fit = fit_sphere(distance_nm, intensity, outside, centre_nm=centre_nm, diameter_nm=90.0, central_fraction=0.5)
    np.testing.assert_array_equal(fit.used, np.abs(distance_nm - centre_nm) <= 30)  # half of a radius of 60


def test_standard_errors_are_as_large_as_the_scatter():
    rng = np.random.default_rng(7)
    found = []
    for _ in range(150):
        distance_nm, intensity, outside, centre_nm = sphere_line(95.0, 200.0, noise=0.012, rng=rng)
        fit = fit_sphere(distance_nm, intensity, outside, centre_nm=centre_nm, diameter_nm=90.0, central_fraction=0.8)
        found.append([fit.diameter_nm, fit.diameter_se_nm, fit.centre_nm - centre_nm, fit.centre_se_nm])
    diameter_nm, diameter_se_nm, shift_nm, centre_se_nm = np.array(found).T
    assert np.median(diameter_nm) == pytest.approx(95.0, abs=1.0)
    # the scatter of 150 is known to 6 %; counting correlated neighbours makes the errors wider, not narrower
    assert 0.9 < np.median(diameter_se_nm) / diameter_nm.std() < 1.4
    assert 0.9 < np.median(centre_se_nm) / shift_nm.std() < 1.4


def test_correlated_noise_widens_the_standard_error():
    rng = np.random.default_rng(5)
    distance_nm, clean, outside, centre_nm = sphere_line(150.0, 200.0)
    white = rng.normal(0, 0.01, clean.size)
    smooth = np.convolve(rng.normal(0, 0.01, clean.size + 4), np.ones(5), "valid") / np.sqrt(5)  # same variance
    errors = [
        fit_sphere(
            distance_nm, clean + noise, outside, centre_nm=centre_nm, diameter_nm=150.0, central_fraction=0.8
        ).diameter_se_nm
        for noise in (white, smooth)
    ]
    assert errors[1] > 1.3 * errors[0]


def test_an_empty_line_at_five_electrons_a_pixel_holds_no_diameter():
    rng = np.random.default_rng(3)
    measured = 0
    for _ in range(40):
        distance_nm, _, outside, centre_nm = sphere_line(95.0, 200.0)
        intensity = np.clip(rng.poisson(4.5, distance_nm.size) + rng.normal(0, 3, distance_nm.size), 0, None) / 4.5
        fit = fit_sphere(distance_nm, intensity, outside, centre_nm=centre_nm, diameter_nm=95.0, central_fraction=0.8)
        measured += fit.measurable
        assert fit.measurable or (fit.note and np.isnan(fit.centre_nm))
    assert measured <= 1


def test_a_deep_profile_that_is_flat_at_its_bottom_holds_no_diameter():
    rng = np.random.default_rng(2)
    distance_nm, intensity, outside, centre_nm = sphere_line(95.0, 200.0, noise=0.005, rng=rng)
    core = np.abs(distance_nm - centre_nm) < 47.5
    disc = np.where(core, 0.6, 1.0) + rng.normal(0, 0.005, core.size)
    options = {"centre_nm": centre_nm, "diameter_nm": 95.0, "central_fraction": 0.8}
    assert fit_sphere(distance_nm, intensity, outside, **options).measurable
    assert not fit_sphere(distance_nm, disc, outside, **options).measurable


def test_the_edge_width_is_half_of_what_the_crossings_exceed_the_diameter_by():
    distance_nm, intensity, outside, centre_nm = sphere_line(99.0, 200.0)
    from_centre_nm = np.abs(distance_nm - centre_nm)
    # from 45 nm outwards a straight line, which crosses the background at 61.5 nm, between two points
    start = intensity[from_centre_nm == 45][0]
    ramp = start + (1 - start) * (from_centre_nm - 45) / 16.5
    intensity = np.where((from_centre_nm > 45) & (from_centre_nm <= 63), ramp, intensity)
    fit = fit_sphere(distance_nm, intensity, outside, centre_nm=centre_nm, diameter_nm=102.0, central_fraction=0.8)
    assert fit.pseudo_diameter_nm == pytest.approx(123.0)
    assert fit.edge_width_nm == pytest.approx(12.0, abs=1e-3)
    assert fit.edge_width_se_nm == pytest.approx(STEP_NM / np.sqrt(2), rel=0.01)  # no noise: the spacing, twice


def test_a_line_without_background_says_so():
    distance_nm, intensity, outside, centre_nm = sphere_line(95.0, 200.0)
    fit = fit_sphere(
        distance_nm, intensity, outside & False, centre_nm=centre_nm, diameter_nm=95.0, central_fraction=0.8
    )
    assert not fit.measurable and fit.note == "too little background on the line"


def test_the_valley_is_the_rise_above_the_lighter_particle():
    distance_nm = np.arange(0, 201.0)
    intensity = np.ones(201)
    intensity[40:81], intensity[100:161] = 0.6, 0.7  # centres 60 and 130, diameters 40 and 60
    intensity[81:100] = 0.9
    outside = (distance_nm < 30) | (distance_nm > 170)
    intensity[outside] += 0.01 * (-1) ** np.arange(60)  # neighbours are not positively correlated
    depth, depth_se = valley_depth(distance_nm, intensity, outside, (60, 130), (40, 60))
    assert depth == pytest.approx(0.2)
    # middle of the gap 90 +- 5: 11 points; core of the lighter one 130 +- 10: 21 points
    assert depth_se == pytest.approx(0.01 * np.sqrt(60 / 59 * (1 / 11 + 1 / 21)))


def test_particles_are_alone_in_pairs_or_in_heaps():
    alone, pair = (30, 30, 60.0), [(100, 30, 60.0), (100, 62, 30.0)]
    heap = [(100, 130, 60.0), (100, 155, 60.0), (125, 143, 60.0)]
    cut_off = (5, 150, 60.0)
    particles = particle_table(alone, *pair, *heap, cut_off)
    lines = lines_through(particles, (150, 180), pixel_size_nm=2.0, isolated_gap_nm=20.0)
    assert [line.members for line in lines] == [(0,), (2, 1)]  # of a pair the smaller one first


def test_a_line_turns_away_from_a_neighbour_and_stays_in_the_image():
    particles = particle_table((40, 22, 60.0), (40, 70, 60.0))  # one right beside the other, the border on the left
    shape = (90, 140)
    line = lines_through(particles, shape, pixel_size_nm=2.0, isolated_gap_nm=20.0)[0]
    assert line.start_px[1] == pytest.approx(22) and line.stop_px[1] == pytest.approx(22)
    assert (line.points_px >= 0).all() and (line.points_px <= np.array(shape) - 1).all()
    assert line.points_px[0, 0] + line.centres_nm[0] / 2 == pytest.approx(40)


def test_a_line_through_an_image_of_counted_voxels_gives_diameters_and_distance():
    # 58.3 and 73.0 nm, centres 78.4 nm apart along a slope of 3 : 4
    first = np.array([40.0, 30.0])
    second = first + 78.4 / 3 * np.array([0.6, 0.8])
    spheres = [(*second, 73.0), (*first, 58.3)]
    image = voxel_transmission((105, 90), spheres, pixel_size_nm=3.0, attenuation_nm=200.0)
    (line,) = lines_through(particle_table(*spheres), image.shape, pixel_size_nm=3.0, isolated_gap_nm=20.0)
    points, sizes = measure_line({"HDE": image}, line, pixel_size_nm=3.0, width_px=1, central_fraction=0.8)
    np.testing.assert_allclose(sizes["diameter_nm"], [58.3, 73.0], rtol=0.02)
    np.testing.assert_allclose(sizes["separation_nm"], 78.4, rtol=0.01)
    assert sizes["criterion"].all()
    np.testing.assert_allclose(sizes["expected_gap_nm"], 78.4 - (58.3 + 73.0) / 2)
    assert set(points["particle"]) == {0, 1, 2}
    assert (points["fitted"].notna() == (points["particle"] > 0)).all()


def test_overlapping_spheres_do_not_meet_the_criterion():
    spheres = [(30.0, 40.0, 90.0), (30.0, 65.0, 90.0)]  # 75 nm apart
    image = voxel_transmission((60, 105), spheres, pixel_size_nm=3.0, attenuation_nm=200.0)
    (line,) = lines_through(particle_table(*spheres), image.shape, pixel_size_nm=3.0, isolated_gap_nm=20.0)
    _, sizes = measure_line({"HDE": image}, line, pixel_size_nm=3.0, width_px=1, central_fraction=0.8)
    assert sizes["measurable"].all() and not sizes["criterion"].any()
    assert (sizes["valley_depth"] < 0).all()  # two chords add up between the centres


def test_the_nearest_line_is_that_of_the_nearest_sizes():
    particles = particle_table((30, 30, 60.0), (30, 100, 90.0), (100, 50, 60.0), (100, 87, 70.0))
    lines = [("f", line) for line in lines_through(particles, (140, 150), pixel_size_nm=2.0, isolated_gap_nm=20.0)]
    assert nearest_line(lines, (95.0,))[1].members == (1,)
    assert nearest_line(lines, (58.3, 73.0), 78.4)[1].members == (2, 3)
    assert nearest_line(lines[:1], (58.3, 73.0), 78.4) is None


def test_truth_replaces_the_rows_of_the_noise_free_image():
    spheres = [(30.0, 45.0, 90.0)]
    image = voxel_transmission((60, 91), spheres, pixel_size_nm=3.0, attenuation_nm=200.0)
    (line,) = lines_through(particle_table(*spheres), image.shape, pixel_size_nm=3.0, isolated_gap_nm=20.0)
    images = {"HDE": 0.9 * image, "noise-free": image}
    points, sizes = measure_line(images, line, pixel_size_nm=3.0, width_px=1, central_fraction=0.8)
    assert list(with_truth(sizes, line)["image"]) == ["HDE", "truth"]
    assert with_truth(sizes, line)["diameter_nm"].iloc[1] == 90.0
    measured = beside_truth(points)
    assert set(measured["image"]) == {"HDE"}
    np.testing.assert_allclose(measured["intensity"], 0.9 * measured["truth"])


def test_an_unaligned_hde_image_is_left_out():
    frame = np.ones((4, 6))
    pair = {"hde": 900 * frame, "hde_background_e": 1000.0, "lde": np.array([4 * frame]), "background_e": [5.0]}
    images = field_images(pair | {"aligned": True}, frame)
    assert images["HDE"][0, 0] == 0.9 and images["LDE"][0, 0] == 0.8
    assert list(field_images(pair | {"aligned": False}, frame)) == ["LDE", "output"]


def test_errors_are_counted_against_the_truth_of_spheres_or_else_against_the_hde_image():
    sizes = pd.DataFrame(
        {
            "line": [0, 1, 0, 1],
            "particle": 1,
            "image": ["HDE", "HDE", "output", "output"],
            "shape": ["sphere", "rod", "sphere", "rod"],
            "expected_nm": [100.0, 50.0, 100.0, 50.0],
            "diameter_nm": [102.0, 70.0, 97.0, np.nan],
            "diameter_se_nm": [1.0, 2.0, 1.5, np.nan],
            "measurable": [True, True, True, False],
            "material": "Ni",
        }
    )
    np.testing.assert_array_equal(add_reference(sizes, truth_known=True)["error_nm"], [2, np.nan, -3, np.nan])
    np.testing.assert_array_equal(add_reference(sizes, truth_known=False)["error_nm"], [np.nan, np.nan, -5, np.nan])
    table = error_table(add_reference(sizes, truth_known=True)).set_index(["image", "material"])
    assert list(table["failed"]) == [0, 0, 1, 1] and list(table["compared"]) == [1, 1, 1, 1]
    assert table.loc[("output", "all"), "mean_error_nm"] == -3.0
    assert table.loc[("output", "Ni"), "pull"] == 2.0
    assert table.loc[("HDE", "Ni"), "rms_error_percent"] == pytest.approx(2.0)
