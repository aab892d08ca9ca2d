import numpy as np
import pytest

from temlib.phantom import (
    MATERIALS,
    Particle,
    carbon_texture,
    draw_depth,
    draw_particle,
    draw_specimen,
    optical_depth,
    planted_specimen,
    truth_table,
)

GRID = np.linspace(-80, 80, 641)  # 0.25 nm
ROW, COL = GRID[:, None], GRID[None, :]


def test_depth_at_the_centre_of_a_sphere_is_its_diameter_over_the_mean_free_path():
    sphere = Particle(0, 0, diameter_nm=100.0, mean_free_path_nm=200.0)
    assert optical_depth(sphere, np.zeros((1, 1)), np.zeros((1, 1)))[0, 0] == pytest.approx(0.5)


def test_integrated_thickness_of_a_sphere_is_its_volume():
    sphere = Particle(0, 0, diameter_nm=100.0, mean_free_path_nm=1.0)
    volume = optical_depth(sphere, ROW, COL).sum() * 0.25**2
    assert volume == pytest.approx(np.pi / 6 * 100**3, rel=1e-3)


@pytest.mark.parametrize("shape", ["rod", "facet"])
def test_diameter_is_that_of_the_circle_of_equal_area(shape):
    rng = np.random.default_rng(3)
    particle = next(
        p
        for p in (draw_particle("silicate", rng, diameter_nm=60.0, row_px=0, col_px=0) for _ in range(200))
        if p.shape == shape
    )
    area = np.sum(optical_depth(particle, ROW, COL) > 0) * 0.25**2
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(60, rel=0.02)


def test_facetted_particle_is_convex_along_every_row():
    rng = np.random.default_rng(4)
    facet = next(
        p
        for p in (draw_particle("Ni", rng, diameter_nm=60.0, row_px=0, col_px=0) for _ in range(99))
        if p.shape == "facet"
    )
    inside = optical_depth(facet, ROW, COL) > 0
    starts = np.sum(np.diff(inside.astype(int), axis=1) == 1, axis=1)
    assert starts.max() == 1  # one run of pixels a row, or none


def test_drawn_sphere_lies_where_the_truth_says():
    particles = [Particle(20.0, 45.5, diameter_nm=60.0, mean_free_path_nm=100.0)]
    depth = draw_depth(particles, size_px=64, pixel_size_nm=3.0, oversampling=4, margin_px=2)
    assert depth.shape == (272, 272)
    rows, cols = np.indices(depth.shape)
    centre = np.array([np.sum(rows * depth), np.sum(cols * depth)]) / depth.sum()
    # LDE pixel p covers fine pixels 4 (p + 2) to 4 (p + 2) + 3
    np.testing.assert_allclose(centre, [4 * 22 + 1.5, 4 * 47.5 + 1.5], atol=0.02)


def test_overlapping_particles_add_their_depths():
    one = [Particle(10, 10, 40.0, 100.0)]
    two = [Particle(10, 10, 40.0, 100.0), Particle(10, 16, 40.0, 100.0)]
    grid = dict(size_px=32, pixel_size_nm=3.0, oversampling=2, margin_px=0)
    alone = draw_depth(two[1:], **grid)
    np.testing.assert_allclose(draw_depth(two, **grid), draw_depth(one, **grid) + alone, atol=1e-6)


def test_carbon_texture_is_faint_and_without_offset():
    texture = carbon_texture((300, 400), step_nm=0.4, rng=np.random.default_rng(0))
    assert texture.shape == (300, 400)
    assert 0.01 < texture.std() < 0.03
    assert abs(texture.mean()) < 0.01


def test_planted_field_holds_what_the_paper_measures():
    truth = truth_table("f", planted_specimen(size_px=256, pixel_size_nm=3.0, rng=np.random.default_rng(0)))
    assert truth["group"].value_counts().to_dict() == {"region_I": 9, "region_II": 3, "pair_78": 2, "isolated_95": 1}
    pair = truth[truth["group"] == "pair_78"]
    distance_nm = np.hypot(pair["row_px"].diff(), pair["col_px"].diff()).iloc[1] * 3.0
    assert distance_nm == pytest.approx(78.4)
    assert sorted(pair["diameter_nm"]) == [58.3, 73.0]


def test_planted_particles_do_not_leave_the_smallest_field():
    for particle in planted_specimen(size_px=140, pixel_size_nm=4.0, rng=np.random.default_rng(1)):
        radius_px = particle.diameter_nm / 2 / 4.0
        assert radius_px <= particle.row_px <= 139 - radius_px
        assert radius_px <= particle.col_px <= 139 - radius_px


@pytest.mark.parametrize("material", MATERIALS)
def test_diameters_keep_to_the_range_of_the_paper(material):
    rng = np.random.default_rng(7)
    diameters = [
        p.diameter_nm for _ in range(20) for p in draw_specimen(material, size_px=200, pixel_size_nm=3.0, rng=rng)
    ]
    assert diameters
    assert 30 <= min(diameters) <= max(diameters) <= 200


def test_single_particles_do_not_touch():
    for seed in range(40):
        particles = draw_specimen("Ni", size_px=256, pixel_size_nm=3.0, rng=np.random.default_rng(seed))
        if np.random.default_rng(seed).choice(4, p=(0.4, 0.25, 0.3, 0.05)) != 0:
            continue  # another layout than singles
        for i, a in enumerate(particles):
            for b in particles[:i]:
                gap_nm = np.hypot(a.row_px - b.row_px, a.col_px - b.col_px) * 3.0
                assert gap_nm > (a.diameter_nm + b.diameter_nm) / 2
