import numpy as np
import pytest

from temlib.wide_phantom import DIAMETER_PX, _places, _polyhedron, _stamp, learning_field


def test_a_field_is_a_function_of_seed_and_index():
    one, again, other = (learning_field(3, index, 64) for index in (5, 5, 6))
    assert one.shape == (64, 64)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_fields_are_intensities_about_that_of_the_empty_film():
    fields = np.stack([learning_field(1, index, 48) for index in range(25)])
    assert fields.min() >= 0
    assert 0.9 < np.median(fields.max(axis=(1, 2))) < 1.3


def test_diameters_stay_in_the_range_that_the_card_states():
    rng = np.random.default_rng(2)
    diameters = [place[2] for _ in range(60) for place in _places(rng, 256, 100.0)]
    assert len(diameters) > 60
    assert DIAMETER_PX[0] <= min(diameters) <= max(diameters) <= DIAMETER_PX[1]


def test_a_sphere_is_as_deep_as_asked_and_has_the_volume_of_a_sphere():
    depth = np.zeros((90, 120), np.float32)
    _stamp(depth, 40.0, 70.0, 50.0, 0.8, [1, 0, 0, 0], np.random.default_rng(0))
    assert depth[40, 70] == pytest.approx(0.8)
    # thickness 2 sqrt(R^2 - r^2) integrates to 4/3 pi R^3; here in units of 2 R = 50 for a depth of 0.8
    assert depth.sum() == pytest.approx(0.8 * (4 / 3 * np.pi * 25**3) / 50, rel=0.005)


def test_what_lies_beyond_the_border_is_not_drawn():
    depth = np.zeros((30, 40), np.float32)
    _stamp(depth, -200.0, 20.0, 50.0, 0.8, [1, 0, 0, 0], np.random.default_rng(0))
    assert not depth.any()


def test_a_polyhedron_is_convex_and_bounded():
    axis = np.linspace(-1.6, 1.6, 65)
    thickness = _polyhedron(axis[:, None], axis[None, :], np.random.default_rng(4))
    assert 0.8 < thickness.max() <= 3
    for line in (thickness[32], thickness[:, 32]):  # along a line a convex body has one stretch, bent one way
        inside = line[line > 0]
        assert np.count_nonzero(np.diff(line > 0)) == 2
        assert np.diff(inside, 2).max() < 1e-9
