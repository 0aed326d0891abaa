"""What the rows of a comparison have measured: means over seeds, with intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..results import Results, delta_m
from .costs import MethodCost
from .intervals import Interval, interval_of

SEEDS_PAIRED = "mean over tasks of the relative gain over {reference}, one primary metric for each task, in %"


@dataclass(frozen=True)
class Measure:
    """A column: a metric of a task.

    Args:
        task: The task.
        metric: The metric.
        higher_is_better: Whether it is.
        is_share: Whether it is a share of 1, which is shown in percent.
    """

    task: str
    metric: str
    higher_is_better: bool
    is_share: bool


@dataclass
class Row:
    """A method.

    Args:
        label: What it is called.
        results: By seed, what its runs have measured; one for each task of single-task learning.
        missing: Why there is no result, for each run that has none.
        settings: What was chosen for it, as the learning rate.
        seconds: Of training, for all tasks, in the mean over seeds; None: not known.
        cost: What it costs; None: not known.
    """

    label: str
    results: dict[int, list[Results]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    seconds: float | None = None
    cost: MethodCost | None = None

    def scores(self, seed: int) -> dict[Measure, float]:
        """What was measured with a seed; NaN where it could not be."""
        return {
            Measure(task.name, metric.name, metric.higher_is_better, metric.is_share): (
                math.nan if metric.value is None else metric.value
            )
            for results in self.results[seed]
            for task in results.tasks
            for metric in task.metrics
        }

    def primary(self, seed: int) -> dict[str, tuple[float, bool]]:
        """By task the primary metric with a seed, and whether higher is better."""
        return {
            task.name: (
                math.nan if task.metrics[0].value is None else task.metrics[0].value,
                task.metrics[0].higher_is_better,
            )
            for results in self.results[seed]
            for task in results.tasks
        }


@dataclass(frozen=True)
class Comparison:
    """All rows, against a reference.

    Args:
        rows: In order.
        reference: The label of the row that Δm is the gain over; None: there is none.
        measures: The columns.

    Raises:
        ValueError: if rows were measured on different data.
    """

    rows: Sequence[Row]
    reference: str | None
    measures: Sequence[Measure]

    def scores(self, row: Row) -> dict[Measure, Interval]:
        """By column, the mean over the seeds of a row. Seeds where it could not be measured are left out."""
        found: dict[Measure, list[float]] = {}
        for seed in row.results:
            for measure, value in row.scores(seed).items():
                if not math.isnan(value):
                    found.setdefault(measure, []).append(value)
        return {measure: interval_of(values) for measure, values in found.items()}

    def delta(self, row: Row) -> Interval | None:
        """Δm over the reference, of each seed against the same seed; None where no seed has both."""
        gains = [gain for seed in row.results if (gain := self._gain(row, seed)) is not None]
        return interval_of(gains) if gains else None

    @property
    def formula(self) -> str:
        """What Δm is, in words."""
        return (
            "Δm: there is no reference."
            if self.reference is None
            else f"Δm: {SEEDS_PAIRED.format(reference=self.reference)}; each seed against the same seed."
        )

    def _gain(self, row: Row, seed: int) -> float | None:
        reference = next((each for each in self.rows if each.label == self.reference), None)
        if reference is None or seed not in reference.results:
            return None
        return gain(row.primary(seed), reference.primary(seed))


def gain(ours: Mapping[str, tuple[float, bool]], theirs: Mapping[str, tuple[float, bool]]) -> float | None:
    """Δm of primary metrics over others of the same tasks, in percent; None where it cannot be had.

    Args:
        ours: By task, the metric, and whether higher is better.
        theirs: The same of the reference. Its metrics are positive.

    Example:
        >>> from tsbn_hub.compare.table import gain
        >>> round(gain({"seg": (0.55, True), "depth": (0.6, False)}, {"seg": (0.5, True), "depth": (0.5, False)}), 6)
        -5.0
    """
    if ours.keys() != theirs.keys():
        return None
    try:
        return delta_m(
            {task: value for task, (value, _) in ours.items()},
            {task: value for task, (value, _) in theirs.items()},
            {task: higher for task, (_, higher) in ours.items()},
        )
    except ValueError:  # a score of 0, or none at all
        return None


def comparison_of(rows: Sequence[Row], reference: str | None) -> Comparison:
    """A comparison of rows that were measured on the same data.

    Args:
        rows: In order.
        reference: The label of the row that Δm is the gain over; None: there is none.

    Raises:
        ValueError: if some were measured on other data than others.
    """
    measures: dict[Measure, None] = {}
    data: dict[str, tuple[str, object]] = {}
    for row in rows:
        for seed, results in row.results.items():
            measures |= dict.fromkeys(row.scores(seed))
            for each in results:
                for task in each.tasks:
                    measured_on = [(one.name, one.samples) for one in each.data if task.name in one.tasks]
                    label, other = data.setdefault(task.name, (row.label, measured_on))
                    if other != measured_on:
                        raise ValueError(
                            f"{task.name!r} was measured on {measured_on} in {row.label}, and on {other} in {label}: "
                            "what is compared must be measured on the same data."
                        )
    return Comparison(rows, reference, list(measures))
