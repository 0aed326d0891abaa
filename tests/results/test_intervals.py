"""Intervals against scipy's own, and against a closed form."""

import math
import statistics

import pytest
from scipy import stats

from tsbn_hub.compare import interval_of


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.3, -0.2, 4.0], [5.0, 5.5, 4.5, 5.25, 6.0]])
def test_against_scipy(values):
    found = interval_of(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=statistics.fmean(values), scale=stats.sem(values))
    assert found.runs == len(values)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_two_runs_in_closed_form():
    """With one degree of freedom Student's t is Cauchy's: its quantile is a tangent."""
    assert interval_of([3.0, 7.0]).half_width == pytest.approx(math.tan(math.pi * 0.475) * 2)


def test_one_run_says_nothing_of_others():
    found = interval_of([3.0])
    assert (found.mean, found.half_width, found.runs) == (3.0, None, 1)


def test_no_run():
    with pytest.raises(ValueError, match="needs the value of a run"):
        interval_of([])
