import numpy as np
import pytest

from temlib.histograms import bin_edges, histogram_peaks, name_peaks


def peaks_of(values):
    edges = np.linspace(0, 1, 101)
    return histogram_peaks(np.histogram(np.clip(values, 0, 1), edges)[0], edges)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_sharp_and_a_broad_peak_are_found_where_they_are(rng):
    found = peaks_of(np.concatenate([rng.normal(0.74, 0.03, 60000), rng.normal(0.3, 0.1, 6000)]))
    assert len(found) == 2
    for peak, (position, width) in zip(found.itertuples(), [(0.74, 0.03), (0.3, 0.1)], strict=True):
        assert peak.position == pytest.approx(position, abs=4 * peak.position_error)
        assert peak.width == pytest.approx(width, rel=0.1)
    assert found["height"][0] == pytest.approx(60000 * 0.01 / (0.03 * np.sqrt(2 * np.pi)), rel=0.05)


def test_a_small_peak_beside_a_high_one_is_fitted_to_its_own_bins(rng):
    found = peaks_of(np.concatenate([rng.normal(0.76, 0.02, 40000), rng.normal(0.6, 0.04, 4000)]))
    assert found["position"].to_list() == pytest.approx([0.76, 0.6], abs=0.01)


def test_the_stated_error_of_a_position_is_its_scatter(rng):
    found = [peaks_of(rng.normal(0.5, 0.05, 3000)).iloc[0] for _ in range(60)]
    scatter = np.std([peak["position"] for peak in found], ddof=1)
    assert np.mean([peak["position_error"] for peak in found]) == pytest.approx(scatter, rel=0.3)


def test_a_broad_single_peak_is_one_peak(rng):
    assert len(peaks_of(rng.normal(0.4, 0.18, 65536))) == 1


def test_saturated_and_clipped_pixels_are_no_peak(rng):
    values = np.concatenate([rng.normal(0.5, 0.1, 50000), np.zeros(9000), np.ones(9000)])
    assert peaks_of(values)["position"].to_list() == pytest.approx([0.5], abs=0.01)


def test_equally_frequent_intensities_have_no_peak(rng):
    assert peaks_of(rng.random(20000)).empty


def test_the_background_is_the_highest_peak_and_particles_are_darker(rng):
    parts = [rng.normal(0.7, 0.02, 30000), rng.normal(0.3, 0.05, 3000), rng.normal(0.95, 0.01, 2000)]
    named = name_peaks(peaks_of(np.concatenate(parts))).set_index("peak")["position"]
    assert named["background"] == pytest.approx(0.7, abs=0.01)
    assert named["particles"] == pytest.approx(0.3, abs=0.02)
    assert named["other"] == pytest.approx(0.95, abs=0.01)


def test_a_missing_peak_has_a_row_without_a_position(rng):
    named = name_peaks(peaks_of(rng.normal(0.7, 0.03, 30000))).set_index("peak")["position"]
    assert np.isnan(named["particles"]) and named["background"] == pytest.approx(0.7, abs=0.01)
    assert name_peaks(peaks_of(rng.random(20000)))["position"].isna().all()


def test_a_small_image_gets_fewer_bins():
    assert len(bin_edges(0, 1, 512 * 512)) == 101
    assert len(bin_edges(0, 1, 64 * 100)) == 41


def test_an_image_without_peaks_gives_an_empty_table_of_numbers():
    peaks = name_peaks(histogram_peaks(np.zeros(40, int), np.linspace(0, 1, 41)))
    assert peaks["position"].dtype == float
    assert peaks["peak"].to_list() == ["background", "particles"]
