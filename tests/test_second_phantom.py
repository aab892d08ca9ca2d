"""The second phantom against answers worked out by hand or by a formula."""

import numpy as np
import pytest

from temlib import second_phantom
from temlib.second_phantom import (
    COLUMNS,
    MATERIALS,
    N_LAYERS,
    WAVELENGTH_NM,
    aggregate,
    carbon_phase,
    contact_nm,
    gauge,
    grain,
    hole_distance,
    projected_thickness,
    propagate,
    random_body,
    second_field,
    shadow,
)

SHAPES = sorted({shape for _, _, shapes in MATERIALS.values() for shape in shapes})


def open_grid(half_nm, step_nm, centre=(0.0, 0.0), cols=2):
    """Rows from -half to half, columns `cols` times as far, N_LAYERS heights; steps of rows and of layers."""
    row = np.arange(-half_nm, half_nm + step_nm / 2, step_nm, dtype=np.float32) - np.float32(centre[0])
    col = np.arange(-cols * half_nm, cols * half_nm + step_nm / 2, step_nm, dtype=np.float32) - np.float32(centre[1])
    layers = np.linspace(-half_nm, half_nm, N_LAYERS, dtype=np.float32)
    return (row[:, None, None], col[None, :, None], layers), layers[1] - layers[0]


def test_a_sphere_is_2_root_R2_minus_r2_thick_within_a_hundredth_of_its_radius():
    grid, layer_nm = open_grid(75, 1.5, centre=(0.4, 0.7))
    sphere = gauge(grid, 50, np.eye(3), 1)
    thickness = projected_thickness(sphere, layer_nm)
    r2 = (grid[0] ** 2 + grid[1] ** 2)[..., 0]
    assert thickness.shape == r2.shape and r2.shape[0] != r2.shape[1]
    formula = 2 * np.sqrt(np.maximum(50**2 - r2, 0))
    thick = formula > 25
    np.testing.assert_allclose(thickness[thick], formula[thick], atol=0.5)
    # at the rim the path is no longer than a few layers, and the second order does not help
    np.testing.assert_allclose(thickness[~thick], formula[~thick], atol=0.6 * layer_nm)
    assert thickness[r2 > 50.0**2].max() == 0
    assert thickness.sum(dtype=float) * 1.5**2 == pytest.approx(4 / 3 * np.pi * 50**3, rel=2e-3)


def test_a_path_that_ends_between_two_layers_is_exact_for_a_plane():
    layers = np.linspace(-10, 10, N_LAYERS, dtype=np.float32)
    below_3_3 = np.broadcast_to(layers - np.float32(3.3), (2, 3, N_LAYERS))
    np.testing.assert_allclose(projected_thickness(below_3_3, 20 / 32), np.full((2, 3), 13.3), rtol=1e-5)


def test_the_shadow_of_an_ellipsoid_has_the_diameter_2_root_ab_and_its_centre():
    grid, _ = open_grid(75, 1.5, centre=(3.1, -20.3))
    ellipsoid = gauge(grid, 60, np.diag([1, 1.5, 1.2]), 1)  # half axes 60, 40 and, along the beam, 50
    centre, diameter_nm = shadow(ellipsoid, 1.5)
    assert diameter_nm == pytest.approx(2 * np.sqrt(60 * 40), rel=2e-3)
    np.testing.assert_allclose(centre, [(75 + 3.1) / 1.5, (150 - 20.3) / 1.5], atol=0.02)


def test_a_particle_of_four_pixels_keeps_its_diameter():
    grid, _ = open_grid(12, 3.0, centre=(0.4, 1.3))
    _, diameter_nm = shadow(gauge(grid, 6, np.eye(3), 1), 3.0)
    assert diameter_nm == pytest.approx(12, rel=0.02)


def test_faces_of_a_gauge_lie_at_their_distance():
    # p = 16: on the axis only the face across it counts, so the surface is at radius / |normal|
    grid, layer_nm = open_grid(60, 1.0)
    thickness = projected_thickness(gauge(grid, 40, np.diag([1, 1, 0.8]), 4), layer_nm)
    assert thickness[60, 120] == pytest.approx(2 * 40 / 0.8, rel=2e-3)


def test_a_grain_of_degree_2_is_longer_at_its_poles_and_thinner_at_its_equator():
    # P2 is 1 at the pole and -1/2 at the equator
    grid, layer_nm = open_grid(75, 1.0)
    body = grain(grid, 40, [np.array([0.0, 0.0, 1.0])], [0.2])
    assert projected_thickness(body, layer_nm)[75, 150] == pytest.approx(2 * 40 * 1.2, rel=1e-2)
    assert shadow(body, 1.0)[1] == pytest.approx(2 * 40 * 0.9, rel=5e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_body_is_larger_than_its_window_nor_of_negative_thickness(shape):
    for seed in range(20):
        grid, layer_nm = open_grid(75, 5.0, cols=1)
        outer, parts = random_body(shape, grid, np.float32(50), np.random.default_rng(seed))
        faces = outer[0], outer[-1], outer[:, 0], outer[:, -1], outer[..., 0], outer[..., -1]
        assert min(face.min() for face in faces) > 0
        thickness = sum(weight * projected_thickness(f, layer_nm) for weight, f in parts)
        assert thickness.min() > -1e-3
        assert thickness.max() > 20


def test_a_hollow_body_is_darkest_at_its_wall():
    grid, layer_nm = open_grid(75, 1.5, cols=1)
    _, parts = random_body("hollow", grid, np.float32(50), np.random.default_rng(0))
    thickness = sum(weight * projected_thickness(f, layer_nm) for weight, f in parts)
    assert thickness[50, 50] < 0.9 * thickness[50].max()


def test_particles_of_an_aggregate_touch_and_do_not_enter_one_another():
    radii = np.random.default_rng(1).uniform(15, 60, 25)
    centres = aggregate(radii, np.random.default_rng(2))
    gaps = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1)) - contact_nm(radii[:, None], radii)
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() >= 0
    for i in range(1, 25):
        assert gaps[i, :i].min() < 0.03 * radii[i]


def test_spheres_of_unlike_size_on_a_film_touch_below_their_equators():
    # radii 9 and 4: centres 5 apart in height and 13 in space, so 12 in projection
    assert contact_nm(9, 4) == pytest.approx(12)


def test_in_focus_the_image_is_the_transmission():
    depth = np.random.default_rng(0).uniform(0, 3, (24, 40)).astype(np.float32)
    np.testing.assert_allclose(propagate(depth, 5 * depth, 1.5, defocus_nm=0), np.exp(-depth), rtol=1e-4, atol=1e-5)


def test_a_phase_takes_no_electrons_away():
    phase = np.random.default_rng(0).uniform(0, 3, (24, 40))
    image = propagate(np.zeros((24, 40)), phase, 1.5, defocus_nm=900, angle_rad=1e-3)
    assert image.mean() == pytest.approx(1, rel=1e-5)


def test_atoms_are_dark_under_focus_and_bright_over_focus():
    phase = np.zeros((33, 49))
    phase[16, 24] = 0.1
    under, over = (propagate(np.zeros_like(phase), phase, 1.5, defocus_nm=d)[16, 24] for d in (300, -300))
    assert under < 0.99 < 1.01 < over


def test_the_power_of_carbon_follows_sin2_and_vanishes_at_its_zero():
    step_nm, defocus_nm, shape = 0.5, 2000.0, (384, 512)
    phase = carbon_phase(np.full(shape, 1.0, np.float32), step_nm, np.random.default_rng(4))
    image = propagate(np.zeros(shape), phase, step_nm, defocus_nm=defocus_nm)
    power = np.abs(np.fft.fft2(image)) ** 2 / image.size / phase.var()
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, step_nm) for n in shape), indexing="ij"))
    for waves, expected in ((0.5, 4.0), (1.0, 0.0), (1.5, 4.0), (2.0, 0.0)):  # lambda x defocus x q^2
        ring = np.abs(q * np.sqrt(WAVELENGTH_NM * defocus_nm / waves) - 1) < 0.01
        # the ring is 2 % wide, so at a zero sin^2 averages to (0.01 x 2 pi waves)^2 / 3 of 4
        assert power[ring].mean() == pytest.approx(expected, abs=0.05 if expected == 0 else 0.4)


def test_carbon_of_10_nm_has_14_mrad_of_phase_noise_at_1_5_nm():
    # 7.29e-3 rad/(V nm) x 9 V x sqrt(10 nm / 100 nm^-3) / 1.5 nm
    phase = carbon_phase(np.full((200, 300), 10.0, np.float32), 1.5, np.random.default_rng(0))
    assert phase.std() == pytest.approx(0.01383, rel=0.02)


def test_a_hole_is_inside_its_rim():
    distance = hole_distance((60, 90), 3.0, np.random.default_rng(0))
    assert distance.shape == (60, 90)
    assert distance.min() < 0 < distance.max()
    # a distance grows by one pixel a pixel, but for the waves of the rim
    assert np.median(np.hypot(*np.gradient(distance)) / 3.0) == pytest.approx(1, abs=0.1)


def test_the_same_seed_and_index_give_the_same_bytes_and_others_do_not():
    def bytes_of(seed, index, material="Ni"):
        transmission, truth = second_field(seed, index, size_px=48, pixel_size_nm=3, material=material)
        return transmission.tobytes(), truth.to_csv()

    assert bytes_of(5, 11) == bytes_of(5, 11)
    assert len({bytes_of(*which)[0] for which in ((5, 11), (5, 12), (6, 11), (5, 11, "SiC"))}) == 4


@pytest.mark.parametrize("pixel_size_nm", [1.0, 2.9885, 6.0])
def test_a_field_is_float32_of_its_size_with_its_particles_in_it(pixel_size_nm):
    transmission, truth = second_field(3, 1, size_px=70, pixel_size_nm=pixel_size_nm, material="Ni")
    assert transmission.shape == (70, 70)
    assert transmission.dtype == np.float32
    assert np.isfinite(transmission).all() and transmission.min() >= 0
    assert list(truth.columns) == COLUMNS
    assert truth[["row_px", "col_px"]].stack().between(-0.5, 69.5).all()


def test_an_empty_field_is_film_and_a_table_without_rows(monkeypatch):
    monkeypatch.setattr(second_phantom, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(second_phantom, "HOLEY_SHARE", 0.0)
    for index in range(5):
        transmission, truth = second_field(0, index, size_px=64, pixel_size_nm=3, material="SiC")
        assert truth.empty and list(truth.columns) == COLUMNS
        assert transmission.mean() == pytest.approx(1, abs=0.005)
        assert transmission.std() < 0.06  # 12 of 208 counts, the most that the paper's frames allow


def test_a_hole_is_brighter_than_the_film(monkeypatch):
    monkeypatch.setattr(second_phantom, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(second_phantom, "HOLEY_SHARE", 1.0)
    monkeypatch.setattr(second_phantom, "hole_distance", lambda shape, *_: np.full(shape, -1e3, np.float32))
    transmission, _ = second_field(0, 0, size_px=64, pixel_size_nm=3, material="SiC")
    # 5 to 20 nm of carbon with 745 nm of attenuation length are missing
    assert np.exp(5 / 745) - 1e-3 < transmission.mean() < np.exp(20 / 745) + 1e-3


def test_a_particle_is_where_the_truth_says(monkeypatch):
    monkeypatch.setattr(second_phantom, "EMPTY_SHARE", 0.0)
    monkeypatch.setattr(second_phantom, "HOLEY_SHARE", 0.0)
    off = []
    for index in range(12):
        # an off-centre place, so that neither swapped nor mirrored axes go unnoticed
        place = np.array([[150.0, 230.0]]) + index
        monkeypatch.setattr(second_phantom, "arrangement", lambda *_, place=place: (np.array([40.0]), place))
        transmission, truth = second_field(1, index, size_px=96, pixel_size_nm=3, material="silicate")
        [row] = truth.itertuples()
        dark = np.maximum(0.93 - transmission.astype(float), 0)
        off.append([(np.arange(96) @ dark.sum(axis=1 - k)) / dark.sum() - (row.row_px, row.col_px)[k] for k in (0, 1)])
        assert row.diameter_nm == pytest.approx(80, rel=0.25)
        assert np.sqrt(4 / np.pi * np.sum(dark > 0)) * 3 == pytest.approx(row.diameter_nm, rel=0.12)
    # one pixel of the fine grid is half a pixel
    assert np.abs(np.mean(off, axis=0)).max() < 0.15
    assert np.abs(off).max() < 1


@pytest.mark.parametrize(
    ("material", "lowest", "highest"),
    [("FeNi", 0.0, 0.5), ("silicate", 0.5, 0.75), ("SiC", 0.85, 0.95), ("alumina", 0.85, 0.95)],
)
def test_particles_of_100_nm_have_the_contrast_that_the_paper_states(material, lowest, highest, monkeypatch):
    monkeypatch.setattr(second_phantom, "EMPTY_SHARE", 0.0)
    monkeypatch.setattr(
        second_phantom, "arrangement", lambda *_: (np.full(9, 50.0), 150.0 + 200 * np.argwhere(np.ones((3, 3))))
    )
    tables = [second_field(2, index, size_px=60, pixel_size_nm=10, material=material)[1] for index in range(4)]
    assert lowest < np.median(np.concatenate([table.transmission for table in tables])) < highest
