"""Δm, means and what is missing, in rows of scores that are made up."""

import math

import pytest

from tsbn_hub.compare import Interval, Row, interval_of
from tsbn_hub.compare.table import Measure, comparison_of
from tsbn_hub.results import delta_m

from .comparisons import results_of, row_of


def gains(*values):
    """The interval of these, but for rounding."""
    expected = interval_of(values)
    half = expected.half_width
    return Interval(pytest.approx(expected.mean), half if half is None else pytest.approx(half, abs=1e-9), len(values))


def test_delta_is_that_of_results_for_each_seed():
    single = [{"a": 0.5, "b": 0.8}, {"a": 0.4, "b": 0.7}]
    ours = [{"a": 0.6, "b": 0.7}, {"a": 0.5, "b": 0.7}]
    rows = [row_of("stl", *single), row_of("hps", *ours)]
    expected = interval_of([delta_m(*pair, {"a": True, "b": True}) for pair in zip(ours, single, strict=True)])
    comparison = comparison_of(rows, "stl")
    assert comparison.delta(rows[1]) == expected and expected.mean == pytest.approx((3.75 + 12.5) / 2)
    assert comparison.delta(rows[0]) == interval_of([0.0, 0.0])


def test_lower_is_better_and_further_metrics_do_not_count():
    def row(label, error, accuracy):
        return Row(label, {0: [results_of({"depth": {"error": (error, False), "accuracy": (accuracy, True)}})]})

    rows = [row("stl", 0.5, 0.1), row("hps", 0.4, 0.9)]
    assert comparison_of(rows, "stl").delta(rows[1]).mean == pytest.approx(20)


def test_single_task_runs_are_one_row():
    alone = Row(
        "stl", {0: [results_of({task: {"accuracy": (value, True)}}) for task, value in (("b", 0.5), ("a", 0.4))]}
    )
    ours = row_of("hps", {"a": 0.5, "b": 0.5})
    assert comparison_of([alone, ours], "stl").delta(ours).mean == pytest.approx(12.5)


def test_seeds_are_paired():
    """A seed that the reference lacks says nothing; nor is another one taken in its place."""
    rows = [row_of("stl", {"a": 0.5}), row_of("hps", {"a": 0.6}, {"a": 0.9})]
    assert comparison_of(rows, "stl").delta(rows[1]) == gains(20)


def test_a_task_in_which_the_reference_scores_nothing_is_left_out_of_all():
    single = [{"a": 0.5, "b": 0.0, "c": math.nan}, {"a": 0.5, "b": 0.5, "c": 0.5}]
    rows = [row_of("stl", *single), row_of("hps", *[dict.fromkeys("abc", 0.6)] * 2)]
    comparison = comparison_of(rows, "stl")
    assert comparison.left_out == ["b", "c"] and "Without b, c: stl scores nothing there." in comparison.formula
    assert comparison.delta(rows[1]) == gains(20, 20)


def test_what_diverged_has_no_delta():
    """It would be flattered, were its task left out."""
    rows = [row_of("stl", {"a": 0.5, "b": 0.5}), row_of("hps", {"a": 0.6, "b": None})]
    comparison = comparison_of(rows, "stl")
    assert comparison.delta(rows[1]) is None and comparison.left_out == []
    assert comparison.scores(rows[1]) == {Measure("a", "accuracy", True, True): interval_of([0.6])}


def test_a_seed_with_some_of_the_single_task_runs():
    rows = [row_of("stl", {"a": 0.5, "b": 0.5}, {"a": 0.5}), row_of("hps", *[{"a": 0.6, "b": 0.6}] * 2)]
    assert comparison_of(rows, "stl").delta(rows[1]) == gains(20)


def test_no_reference():
    (row,) = rows = [row_of("mtan", {"a": 0.5})]
    comparison = comparison_of(rows, None)
    assert comparison.delta(row) is None and "neither stl nor hps" in comparison.formula


def test_other_data_are_refused():
    rows = [row_of("stl", {"a": 0.5}), Row("hps", {0: [results_of({"a": {"accuracy": (0.5, True)}}, samples=65)]})]
    with pytest.raises(ValueError, match=r"'a' was measured on .*65.* in hps, and on .*64.* in stl"):
        comparison_of(rows, "stl")


def test_a_mean_over_tasks():
    row = row_of("hps", {"a": 0.5, "b": 0.7}, {"a": 0.6, "b": 0.8}, {"a": 0.6, "b": None})
    comparison = comparison_of([row], None)
    assert comparison.mean(row, comparison.measures) == gains(0.6, 0.7)
