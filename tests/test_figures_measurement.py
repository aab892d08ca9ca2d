"""What the figures of notebook 09 draw, and what they say of what they do not."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from temlib.figures import measurement

SIZES_NM = [40.0, 80, 160]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def errors(method, spread_nm):
    told = {"method": method, "material": "FeNi", "diameter_bin": range(3), "diameter_nm": SIZES_NM, "bound_nm": 1.0}
    return pd.DataFrame(told | {"spread_nm": spread_nm})


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.get_lines()}


def test_a_line_breaks_where_less_than_half_is_found():
    table = pd.concat([errors("best", [4.0, 3, 2]), errors("fast", [5.0, np.inf, 2])])
    drawn = lines(measurement.diameter_errors(table).axes[0])
    np.testing.assert_equal(drawn["fast"], [5, np.nan, 2])
    np.testing.assert_equal(drawn["best"], [4, 3, 2])


def test_what_lies_beyond_a_panel_is_marked_at_its_edge():
    told = {"method": "best", "d_prime": [4.0, 8, 16], "bias_by_bound": [-9.0, 0, 1]}
    table = pd.DataFrame(told | {"spread_by_bound": [2.0, np.inf, 30], "coverage": [0.9, 0.8, 0.1]})
    bias, spread, coverage = measurement.against_the_bound(table).axes
    at = {axes: [tuple(mark) for marks in axes.collections for mark in marks.get_offsets()] for axes in (bias, spread)}
    assert at[bias] == [(4, -4)]
    assert at[spread] == [(16, 6)]  # what is infinite is not known
    assert [tuple(mark) for marks in coverage.collections for mark in marks.get_offsets()] == [(16, 0.4)]
