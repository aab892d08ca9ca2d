from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from temlib import sizing, sphere_images
from temlib.camera import ONEVIEW_BIN8, Camera, expose, log_determinant, whitened

PIXEL_NM = 2.9885
FILM = np.array([5.0, 0.2, -0.4])


def drawn(spheres, shape, blur_px, fine=16):
    """Spheres on the film FILM, on a much finer grid than the fit's, straight from the formula of the thickness."""
    row, col = ((np.arange(n * fine) + 0.5) / fine - 0.5 for n in shape)
    depth = np.zeros((len(row), len(col)))
    for r, c, diameter, absorption in spheres:
        square = diameter**2 / 4 - np.add.outer((row - r) ** 2, (col - c) ** 2)
        depth += 2 * absorption * np.sqrt(np.maximum(square, 0))
    seen = gaussian_filter(np.exp(-depth), blur_px * fine) if blur_px else np.exp(-depth)
    rows, cols = (np.linspace(-0.5, 0.5, n) for n in shape)
    light = FILM[0] + FILM[1] * rows[:, None] + FILM[2] * cols
    return light * seen.reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))


@pytest.mark.parametrize(("diameter_px", "blur_px"), [(10.0, 0.0), (33.0, 0.0), (33.0, 1.0)])
def test_a_noiseless_sphere_comes_back_to_a_thousandth(diameter_px, blur_px):
    sphere = np.array([[23.3, 27.6, diameter_px, 0.03]])
    image = drawn(sphere, (48, 56), blur_px)
    start = sphere * [1.02, 0.98, 1.15, 0.7]
    found = sizing.fit(image, start, [4.6, 0, 0], blur_px=blur_px)
    assert found.spheres[0, 2] == pytest.approx(diameter_px, rel=1e-3)
    assert found.spheres[0, :2] == pytest.approx(sphere[0, :2], abs=0.01)
    assert found.spheres[0, 3] == pytest.approx(0.03, rel=5e-3)
    assert found.film == pytest.approx(FILM, abs=0.01)


def test_a_blur_that_is_not_known_is_found_with_the_sphere():
    sphere = np.array([[23.3, 27.6, 21.0, 0.03]])
    start = sphere * [1.02, 0.98, 1.15, 0.7]
    free = (*sphere_images.SPHERE, *sphere_images.FILM, sizing.BLUR)
    found = sizing.fit(drawn(sphere, (48, 56), 1.7), start, [4.6, 0, 0], free=free, blur_px=0.8)
    assert found.blur_px == pytest.approx(1.7, rel=0.02)
    assert found.spheres[0, 2] == pytest.approx(21.0, rel=2e-3)


def test_the_mean_of_four_exposures_halves_the_errors():
    sphere = np.array([[23.3, 27.6, 21.0, 0.03]])
    image, options = drawn(sphere, (48, 64), 0.5), {"camera": ONEVIEW_BIN8, "clipped": True, "blur_px": 0.5}
    one, four = (sizing.fit(image, sphere, FILM, exposures=n, **options).errors for n in (1, 4))
    np.testing.assert_allclose(four, one / 2, rtol=0.02)


def test_of_a_sphere_that_is_not_in_the_image_nothing_is_known():
    spheres = np.array([[20.0, 18.0, 22.0, 0.03], [200.0, 34.0, 16.0, 0.05]])
    errors = sizing.fit(drawn(spheres[:1], (44, 60), 0.5), spheres, [5, 0, 0], blur_px=0.5).errors
    assert np.isfinite(errors[0]).all() and np.isinf(errors[1]).all()


def test_overlapping_spheres_are_told_apart_together():
    pair = np.array([[20.0, 18.0, 22.0, 0.03], [25.0, 34.0, 16.0, 0.05]])
    found = sizing.fit(drawn(pair, (44, 60), 0.5), pair * [1.03, 0.97, 1.1, 0.9], [4.8, 0, 0], blur_px=0.5)
    np.testing.assert_allclose(found.spheres, pair, rtol=5e-3)


# camera.md of the project's notes, at 4.5 e-/px with the mean free path known: standard deviation of the diameter [nm]
# for diameters of 30, 50, 100, 150 and 200 nm
TABLE = {112.0: (7.8, 4.8, 2.5, 1.6, 1.3), 706.0: (45, 27, 13, 8.7, 6.7)}


@pytest.mark.parametrize("path_nm", TABLE)
def test_the_bound_is_that_of_the_table_of_the_paper_s_camera(path_nm):
    free = ("row_px", "col_px", "diameter_px", *sphere_images.FILM)
    for diameter_nm, expected_nm in zip((30, 50, 100, 150, 200), TABLE[path_nm], strict=True):
        size = int(diameter_nm / PIXEL_NM + 24)
        sphere = [[size / 2, size / 2, diameter_nm / PIXEL_NM, PIXEL_NM / path_nm]]
        bound = sizing.bound(sphere, [4.5, 0, 0], (size, size), ONEVIEW_BIN8, free=free)
        assert bound[0, 2] * PIXEL_NM == pytest.approx(expected_nm, rel=0.15)
        assert bound[0, 3] == 0


def test_a_camera_that_counts_electrons_bounds_the_film_as_poisson_does():
    counting = Camera(1.0, 1e9, 0.0, 0.0, 32, 0.0, 0.0)
    packed = sizing._Packed(np.empty((0, 4)), [4.0, 0, 0], 0.0, ["film"])
    np.testing.assert_allclose(packed.image((20, 30))[1], np.ones((1, 20, 30)))
    sphere = [[10, 15, 8.0, 1e-3]]
    # an absorption of which nothing else depends: sd = 1 / sqrt(sum t^2 x dose) for a faint sphere of thickness t
    bound = sizing.bound(sphere, [4.0, 0, 0], (20, 30), counting, free=["absorption_per_px"])
    thickness = 2 * np.sqrt(np.maximum(16 - np.add.outer((np.arange(20) - 10) ** 2, (np.arange(30) - 15) ** 2), 0))
    assert bound[0, 3] == pytest.approx(1 / np.sqrt(4.0 * np.sum(thickness**2)), rel=0.02)


def test_pixels_in_standard_deviations_are_those_of_the_inverse_covariance():
    rng = np.random.default_rng(0)
    variance, shared = rng.uniform(1, 3, (1, 12)), rng.uniform(0.5, 2, (1, 12))  # segments of 5, 5 and 2 columns
    covariance = np.diag(variance[0])
    for segment in (slice(0, 5), slice(5, 10), slice(10, 12)):
        covariance[segment, segment] += np.outer(shared[0, segment], shared[0, segment])
    image = rng.normal(size=(1, 12))
    whitened_image = whitened(image, variance, shared, 5)
    assert np.sum(whitened_image**2) == pytest.approx(image[0] @ np.linalg.inv(covariance) @ image[0])


@pytest.mark.parametrize(("electrons", "share"), [(0.5, 0.969), (1.5, 0.982), (5, 0.995), (20, 1)])
def test_clipped_pixels_read_what_is_fitted_and_their_mean_tells_nearly_all(exact_pixel, electrons, share):
    camera = replace(ONEVIEW_BIN8, fixed_pattern_counts=0, blur_px=0)
    exact = exact_pixel(electrons, camera)
    assert sizing._read(np.array([electrons]), camera, True, 1)[0][0] == pytest.approx(exact["mean"], rel=0.01)
    assert exact["of_mean"] / exact["information"] == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("clipped", [False, True])
def test_at_five_electrons_fits_are_a_sixth_above_the_bound(clipped):
    # 120 nm of Ni: at so few electrons a rim is known to half a pixel, so errors are no longer in proportion to noise
    sphere, number, shape = np.array([[32.2, 31.9, 40, PIXEL_NM / 112]]), 150, (64, 64)
    transmission = sphere_images.expected(sphere, [1.0, 0, 0], shape, blur_px=0.5)
    rng, origin = np.random.default_rng(1), 0 if clipped else 5000
    found = []
    for _ in range(number):
        exposure = {"dose_e_per_px": 5.0, "camera": ONEVIEW_BIN8, "rng": rng}
        counts = expose(transmission, fixed_pattern=np.full(shape, origin), **exposure)
        frame = (counts.astype(float) - origin) / ONEVIEW_BIN8.counts_per_e
        start = sphere * [1.02, 0.98, 1.1, 0.85]
        fit = sizing.fit(frame, start, [4.8, 0, 0], camera=ONEVIEW_BIN8, clipped=clipped, blur_px=0.5)
        found.append(fit.spheres[0, 2])
    bound_px = sizing.bound(sphere, [5.0, 0, 0], shape, ONEVIEW_BIN8, blur_px=0.5)[0, 2]
    assert 0.95 < np.std(found) / bound_px < 1.3  # by chance 6 %
    assert abs(np.mean(found) - 40) < 0.3 * bound_px


@pytest.mark.parametrize("clipped", [False, True])
def test_fits_reach_the_bound_and_say_how_surely(clipped):
    sphere, number = np.array([[24.2, 23.9, 60 / PIXEL_NM, PIXEL_NM / 112]]), 400
    shape, dose, blur_px = (48, 64), 20.0, 0.5
    transmission = sphere_images.expected(sphere, [1.0, 0, 0], shape, blur_px=blur_px)
    rng, origin = np.random.default_rng(1), 0 if clipped else 5000
    fits = []
    for _ in range(number):
        exposure = {"dose_e_per_px": dose, "camera": ONEVIEW_BIN8, "rng": rng}
        counts = expose(transmission, fixed_pattern=np.full(shape, origin), **exposure)
        frame = (counts.astype(float) - origin) / ONEVIEW_BIN8.counts_per_e
        start = sphere * [1.02, 0.98, 1.1, 0.85]
        fits.append(sizing.fit(frame, start, [19, 0, 0], camera=ONEVIEW_BIN8, clipped=clipped, blur_px=blur_px))
    bound = sizing.bound(sphere, [dose, 0, 0], shape, ONEVIEW_BIN8, blur_px=blur_px)[0]
    found = np.array([one.spheres[0] for one in fits])
    np.testing.assert_allclose(np.mean([one.errors[0] for one in fits], axis=0), bound, rtol=0.1)
    np.testing.assert_allclose(found.std(axis=0), bound, rtol=0.1)  # of 400: 3.5 % by chance
    assert np.abs((found.mean(axis=0) - sphere[0]) / bound).max() < 3 / np.sqrt(number) * 1.2
    assert np.mean([one.misfit for one in fits]) == pytest.approx(1, abs=0.03)


def test_what_ends_at_a_limit_has_no_error():
    sphere = np.array([[23.3, 27.6, 30.0, 0.03]])
    start = sphere * [1, 1, 0.4, 1]  # a fit enlarges a sphere 1.7 times at most
    found = sizing.fit(drawn(sphere, (48, 56), 0.5), start, [5, 0, 0], camera=ONEVIEW_BIN8, blur_px=0.5)
    assert found.spheres[0, 2] == pytest.approx(0.4 * 1.7 * 30) and np.isinf(found.errors[0, 2])


def test_two_parameters_of_which_only_the_sum_is_seen_are_not_known():
    packed = sizing._Packed(np.array([[10.0, 12, 8, 0.1]]), [5.0, 0, 0], 0.0, ["row_px", "col_px"])
    assert np.isinf(packed.deviations(np.ones((2, 2)))[0, :2]).all()
    np.testing.assert_allclose(packed.deviations(np.diag([4.0, 25.0]))[0, :2], [0.5, 0.2])


def test_the_likelihood_of_segments_is_that_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    variance, shared = rng.uniform(1, 3, (1, 12)), rng.uniform(0.5, 2, (1, 12))  # segments of 5, 5 and 2 columns
    covariance = np.diag(variance[0])
    for segment in (slice(0, 5), slice(5, 10), slice(10, 12)):
        covariance[segment, segment] += np.outer(shared[0, segment], shared[0, segment])
    assert log_determinant(variance, shared, 5) == pytest.approx(np.linalg.slogdet(covariance)[1])


def test_fits_of_two_that_overlap_know_their_gap_as_well_as_its_bound_says():
    rng, pair = np.random.default_rng(3), np.array([[24.0, 20, 22, 0.04], [28, 40, 20, 0.04]])
    shape, film = (48, 64), [20.0, 0, 0]
    mean = sphere_images.expected(pair, film, shape, blur_px=0.0)
    counting = Camera(1.0, 1e9, 0.0, 0.0, 32, 0.0, 0.0)
    found = [sizing.fit(rng.poisson(mean) * 1.0, pair, film, camera=counting).spheres for _ in range(100)]
    gaps_px = [np.hypot(*(one - other)[:2]) - (one[2] + other[2]) / 2 for one, other in found]
    bound_px = sizing.gap_bound(pair, np.empty((0, 4)), film, shape, counting)
    assert np.std(gaps_px) == pytest.approx(bound_px, rel=0.2)  # a standard deviation of 100 is known to 7 %
