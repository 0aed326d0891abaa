"""An error that chooses the epoch: the lowest one does, whatever its sign."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsbn_hub.tasks import Regression
from tsbn_hub.training.evaluation import mean_score, score_of_error


class Likelihood(Regression):
    """Numbers with a metric that may be negative, and of which lower is better."""

    metrics: ClassVar = {**Regression.metrics, "nll": False}


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=6))
def test_the_lowest_error_is_chosen_whatever_its_sign(errors):
    kinds = {"price": Likelihood(1)}
    means = [mean_score(kinds, {"price": {"r2": 0.5, "nll": error}}, {"price": "nll"}) for error in errors]
    assert errors[means.index(max(means))] == pytest.approx(min(errors), rel=1e-15, abs=1e-15)


def test_errors_around_0_and_minus_1_are_in_order():
    errors = [50.0, 2.0, 0.1, 0.0, -0.1, -0.9, -1.0, -1.1, -3.0, -1e9, -1e9 - 1]
    scores = [score_of_error(error) for error in errors]
    assert scores == sorted(set(scores))
