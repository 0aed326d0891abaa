"""What the rows of a comparison have measured: means over seeds, with intervals."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..results import Results, delta_m
from ..results.intervals import Interval, interval_of
from .costs import MethodCost

Primary = Mapping[str, tuple[float, bool]]
"""By task its primary metric, and whether higher is better."""

NOT_FINISHED = "not finished"

_FORMULA = (
    "Δm = 100/T Σ ±(M - S)/S in %: the mean over the T tasks of the relative gain of the primary metric M over S, that "
    "of {reference}, with a minus where lower is better; each seed against the same seed."
)


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
        missing: By the name of a run that has no result, why.
        settings: What was chosen for it, as the learning rate.
        seconds: Of training, for all tasks, in the mean over seeds; None: not known.
        cost: What it costs; None: not known.
    """

    label: str
    results: dict[int, list[Results]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
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

    def primary(self, seed: int) -> Primary:
        """By task the primary metric with a seed, and whether higher is better."""
        first = {measure.task: (value, measure) for measure, value in reversed(self.scores(seed).items())}
        return {task: (value, measure.higher_is_better) for task, (value, measure) in first.items()}


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

    def mean(self, row: Row, measures: Collection[Measure]) -> Interval | None:
        """The mean over some columns, over the seeds that have all of them; None where none has."""
        by_seed = [[row.scores(seed).get(measure, math.nan) for measure in measures] for seed in row.results]
        means = [statistics.fmean(values) for values in by_seed if not any(map(math.isnan, values))]
        return interval_of(means) if means else None

    def delta(self, row: Row) -> Interval | None:
        """Δm over the reference, of each seed against the same seed; None where no seed has both."""
        gains = [gain for seed in row.results if (gain := self._gain(row, seed)) is not None]
        return interval_of(gains) if gains else None

    @property
    def left_out(self) -> list[str]:
        """The tasks that Δm leaves out, in all rows: with some seed the reference scores 0 in them, or nothing."""
        by_seed = self._of_reference().values()
        tasks = dict.fromkeys(measure.task for measure in self.measures)
        return [task for task in tasks if by_seed and not all(task in comparable(scores) for scores in by_seed)]

    @property
    def formula(self) -> str:
        """What Δm is, in words."""
        if self.reference is None:
            return "Δm: there is neither stl nor hps to compare with."
        left_out = (
            f" Without {', '.join(self.left_out)}: {self.reference} scores nothing there." if self.left_out else ""
        )
        return _FORMULA.format(reference=self.reference) + left_out

    def _of_reference(self) -> dict[int, Primary]:
        """By seed the primary metrics of the reference, of the seeds that have the most tasks."""
        row = next((each for each in self.rows if each.label == self.reference), None)
        by_seed = {} if row is None else {seed: row.primary(seed) for seed in row.results}
        most = max(map(len, by_seed.values()), default=0)
        return {seed: scores for seed, scores in by_seed.items() if len(scores) == most}

    def _gain(self, row: Row, seed: int) -> float | None:
        reference = self._of_reference().get(seed, {})
        left_out = self.left_out
        return gain(row.primary(seed), {task: score for task, score in reference.items() if task not in left_out})


def comparable(scores: Primary) -> Primary:
    """Those that a relative gain can be over: positive and finite.

    Args:
        scores: By task, the metric, and whether higher is better.
    """
    return {task: score for task, score in scores.items() if 0 < score[0] < math.inf}


def gain(ours: Primary, theirs: Primary) -> float | None:
    """Δm of primary metrics over others, in percent; None where there are no others, or ours lack one of them.

    Args:
        ours: By task, the metric, and whether higher is better.
        theirs: The same of the reference, of the tasks to compare. Its metrics are positive.

    Example:
        >>> from tsbn_hub.compare.table import gain
        >>> round(gain({"seg": (0.55, True), "depth": (0.6, False)}, {"seg": (0.5, True), "depth": (0.5, False)}), 6)
        -5.0
    """
    if not theirs or any(math.isnan(ours.get(task, (math.nan, True))[0]) for task in theirs):
        return None
    return delta_m(
        {task: ours[task][0] for task in theirs},
        {task: value for task, (value, _) in theirs.items()},
        {task: higher for task, (_, higher) in theirs.items()},
    )


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
