# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the benchmarks' table; the benchmarks themselves are no tests."""

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists

from bench.table import Goal, Samples, exponent, intercept, missing, number, render, row, slope

FIGURES = floats(0.001, 1e9)


@given(lists(FIGURES, min_size=1, max_size=20))
def test_least_and_quartiles_lie_around_the_median(values):
    """The spread is ordered, and the median between its quartiles."""
    samples = Samples(values)
    least, low, high = samples.spread

    assert least == min(values)
    assert least <= low <= samples.median * (1 + 1e-9)
    assert samples.median <= high * (1 + 1e-9)


def test_what_one_is_over_another_is_taken_round_by_round():
    """A difference compares samples of the same round, not the medians."""
    assert Samples([30, 10, 21]).over(Samples([10, 5, 1])).values == [20, 5, 20]


def test_samples_of_different_rounds_are_not_compared():
    """A difference needs as many samples on both sides."""
    with pytest.raises(ValueError, match="zip"):
        Samples([1, 2]).over(Samples([1]))


def test_the_ratio_of_a_row_is_value_by_reference():
    """Half the reference is a ratio of 0.5."""
    made = row("a", Samples([3, 1, 2]), "ms", "b", Samples([4, 5, 3]), Goal("ratio", 0.5))

    assert (made.value, made.reference, made.ratio, made.met) == (2, 4, 0.5, True)


def test_the_ratio_of_a_cheaper_row_is_reference_by_value():
    """Half the reference is twice as cheap."""
    made = row("a", Samples([2]), "ms", "b", 4, Goal("ratio", 3, at_most=False), cheaper=True)

    assert (made.ratio, made.met) == (2, False)


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "met"),
    [
        (Goal("value", 8), 8, None, True),
        (Goal("value", 8), 8.01, 0.1, False),
        (Goal("ratio", 8, at_most=False), 1, 8, True),
        (Goal("ratio", 8, at_most=False), 1, 7.9, False),
        (Goal("ratio", 3), 1, None, None),
    ],
)
def test_a_goal_is_met_up_to_its_limit(goal, value, ratio, met):
    """The limit itself meets the goal; without a reference nothing can be said of a ratio."""
    assert goal.met(value, ratio) is met


def test_what_was_not_measured_says_so_and_meets_nothing():
    """A missing figure is no zero and no success."""
    made = missing("a", "ms", "no such program", Goal("ratio", 10, at_most=False))

    assert (made.value, made.ratio, made.met) == (None, None, None)
    assert "not measured: no such program" in render([made])


def test_the_table_shows_value_reference_ratio_and_goal():
    """Each row has all that is needed to judge it."""
    text = render([row("a", Samples([1500.0, 1000.0, 2000.0]), "ns", "b", 3000, Goal("ratio", 0.25))])

    assert "| a | 1,500 ns | 1,000, 1,250, 1,750 | b: 3,000 ns | 0.5 x | ≤ 0.25 x | **no** |" in text


@given(floats(0.01, 100), floats(-10, 10), lists(integers(1, 10_000), min_size=2, max_size=9, unique=True))
def test_the_slope_of_a_line_is_its_steepness(steepness, start, places):
    """Least squares find the line that all points lie on."""
    points = [(x, steepness * x + start) for x in places]

    assert slope(points) == pytest.approx(steepness, rel=1e-6)
    assert intercept(points) == pytest.approx(start, abs=1e-4)


def test_the_exponent_tells_linear_from_quadratic():
    """Ten times as much for ten times as many is linear, a hundred times quadratic."""
    assert exponent((10, 1), (100, 10)) == pytest.approx(1)
    assert exponent((10, 1), (100, 100)) == pytest.approx(2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (12345.6, "12,346"), (99.96, "100"), (1.2345, "1.23"), (0.00004, "0.000040")],
)
def test_a_figure_has_three_digits_and_no_power_of_ten(value, text):
    """Figures can be compared at a glance."""
    assert number(value) == text
