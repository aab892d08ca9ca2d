import numpy as np
import pandas as pd
import pytest

from temlib.particles import (
    box_around,
    box_with,
    emptiest_box,
    find_particles,
    gaps,
    in_box,
    match_particles,
)

PIXEL_NM = 3.0
SHAPE = (150, 220)


def field(*spheres, shape=SHAPE, noise=0.005, seed=7):
    """Transmission of spheres (row, col, diameter_nm, mean free path_nm) with a little noise."""
    row, col = np.indices(shape)
    depth = np.zeros(shape)
    for centre_row, centre_col, diameter_nm, path_nm in spheres:
        distance_nm = PIXEL_NM * np.hypot(row - centre_row, col - centre_col)
        depth += 2 * np.sqrt(np.maximum((diameter_nm / 2) ** 2 - distance_nm**2, 0)) / path_nm
    return np.exp(-depth) + np.random.default_rng(seed).normal(0, noise, shape)


def table(*rows):
    return pd.DataFrame(rows, columns=["row_px", "col_px", "diameter_nm"])


def test_single_spheres_are_found_where_they_are_and_as_large_as_they_are():
    spheres = [(40, 50, 95, 200), (110, 60, 60, 80), (75, 160, 150, 300)]
    found = find_particles(field(*spheres), pixel_size_nm=PIXEL_NM).sort_values("col_px")
    truth = sorted(spheres, key=lambda sphere: sphere[1])
    assert len(found) == 3
    np.testing.assert_allclose(found[["row_px", "col_px"]], [sphere[:2] for sphere in truth], atol=1.5)
    np.testing.assert_allclose(found["diameter_nm"], [sphere[2] for sphere in truth], rtol=0.15)


def test_the_contrast_is_that_of_the_thickest_place():
    found = find_particles(field((70, 80, 100, 200)), pixel_size_nm=PIXEL_NM)
    assert found["contrast"].item() == pytest.approx(1 - np.exp(-100 / 200), abs=0.03)


def test_a_particle_keeps_its_size_in_nanometres_on_any_intensity_scale():
    image = field((70, 80, 100, 200))
    scaled = find_particles(1200 * image, pixel_size_nm=PIXEL_NM, background=1200)
    pd.testing.assert_frame_equal(scaled, find_particles(image, pixel_size_nm=PIXEL_NM))


def test_two_that_overlap_are_two_although_they_are_darkest_in_between():
    found = find_particles(field((70, 80, 80, 200), (70, 102, 80, 200)), pixel_size_nm=PIXEL_NM)
    assert sorted(found["col_px"].round()) == pytest.approx([80, 102], abs=1.5)


def test_what_is_not_round_is_found_by_its_area():
    image = field()
    image[60:90, 50:140] -= 0.4  # a bar of 90 nm by 270 nm
    found = find_particles(image, pixel_size_nm=PIXEL_NM)
    matched, invented, lost = match_particles(
        found, table((75, 95, 2 * np.sqrt(90 * 270 / np.pi))), pixel_size_nm=PIXEL_NM
    )
    assert len(matched) == 1 and len(invented) == len(lost) == 0


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_nothing_is_found_in_an_empty_film_under_an_uneven_beam(noise):
    row, col = np.indices(SHAPE)
    beam = 1 + 0.03 * row / SHAPE[0] - 0.05 * (col / SHAPE[1] - 0.5) ** 2
    assert find_particles(beam * field(noise=noise), pixel_size_nm=PIXEL_NM).empty


def test_what_is_smaller_or_fainter_than_asked_for_is_left_out():
    image = field((40, 50, 60, 100), (100, 150, 140, 100))
    large = find_particles(image, pixel_size_nm=PIXEL_NM, min_diameter_nm=100)
    assert large["col_px"].to_list() == pytest.approx([150], abs=1.5)
    faint = field((40, 50, 100, 2500), noise=0)  # contrast 0.04
    assert len(find_particles(faint, pixel_size_nm=PIXEL_NM)) == 1
    assert find_particles(faint, pixel_size_nm=PIXEL_NM, min_contrast=0.1).empty


def test_matching_minimises_the_total_and_does_not_grab_the_nearest_first():
    found = table((0, 0, 60), (0, 10, 60))
    truth = table((0, 9, 60), (0, 16, 60))
    # nearest first would pair 10 with 9 and leave 0 and 16, too far apart, over
    matched, invented, lost = match_particles(found, truth, pixel_size_nm=3.0)
    assert matched.tolist() == [[0, 0], [1, 1]]
    assert len(invented) == len(lost) == 0


def test_a_pair_must_be_nearer_than_half_a_diameter():
    found, truth = table((50, 50, 60)), table((50, 61, 60))  # 33 nm apart
    assert len(match_particles(found, truth, pixel_size_nm=3.0)[0]) == 0
    assert len(match_particles(found, truth, pixel_size_nm=3.0, max_distance=0.6)[0]) == 1


def test_a_particle_where_nothing_is_is_invented_and_one_that_nothing_covers_is_lost():
    found, truth = table((20, 20, 60), (100, 100, 60)), table((20, 21, 60), (60, 60, 60))
    matched, invented, lost = match_particles(found, truth, pixel_size_nm=3.0)
    assert matched.tolist() == [[0, 0]]
    assert invented.tolist() == [1] and lost.tolist() == [1]


def test_two_particles_seen_as_one_are_merged_and_none_is_lost():
    found, truth = table((50, 55, 130)), table((50, 45, 60), (50, 65, 60))
    matched, invented, lost = match_particles(found, truth, pixel_size_nm=3.0, max_distance=0.6)
    assert len(matched) == 1 and len(invented) == len(lost) == 0


def test_a_spot_beside_a_particle_that_is_not_found_is_invented():
    # 60 nm from the centre of one of 100 nm, so beyond its rim
    found, truth = table((50, 70, 40)), table((50, 50, 100))
    matched, invented, lost = match_particles(found, truth, pixel_size_nm=3.0)
    assert len(matched) == 0 and invented.tolist() == [0] and lost.tolist() == [0]


def test_an_empty_field_loses_nothing_and_what_is_found_in_it_is_invented():
    none, one = table(), table((5, 6, 50))
    assert match_particles(one, none, pixel_size_nm=3.0)[1].tolist() == [0]
    assert match_particles(none, one, pixel_size_nm=3.0)[2].tolist() == [0]


def test_a_box_holds_its_particles_whole_and_stays_in_the_image():
    particles = table((20, 30, 60), (40, 60, 60))
    top, left, edge = box_around(particles, pixel_size_nm=3.0, shape=(100, 200), margin=0)
    assert top <= 20 - 10 and left <= 30 - 10 and top + edge >= 40 + 10 and left + edge >= 60 + 10
    assert box_around(table((2, 3, 60)), pixel_size_nm=3.0, shape=(100, 200))[:2] == (0, 0)


def test_the_box_with_three_particles_is_found():
    particles = table((20, 20, 30), (80, 150, 30), (85, 155, 30), (90, 148, 30))
    box = box_with(particles, 3, edge_px=40, shape=(120, 200))
    assert in_box(particles, box).index.to_list() == [1, 2, 3]


def test_a_second_box_keeps_off_the_first():
    particles = table((50, 50, 30), (52, 60, 30), (54, 45, 30), (20, 150, 30))
    first = box_with(particles, 3, edge_px=40, shape=(120, 200))
    second = box_with(particles, 3, edge_px=40, shape=(120, 200), avoid=first)
    assert len(in_box(particles, first)) == 3
    assert in_box(particles, second).index.to_list() == [3]


def test_the_emptiest_box_avoids_particles():
    image = field((50, 60, 200, 100), (100, 180, 200, 100))
    top, left, edge = emptiest_box(image, 20)
    assert edge == 20
    assert image[top : top + edge, left : left + edge].min() > 0.97


def test_gaps_are_from_rim_to_rim():
    # centres 30 px = 90 nm apart, radii 20 and 30 nm; and an overlap
    assert gaps([(0, 0, 40)], [(0, 30, 60), (10, 0, 40)], 3.0) == pytest.approx(np.array([[40, -10]]))
