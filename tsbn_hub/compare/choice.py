"""Which learning rate a method gets: the best on validation data, with the first seed."""

import json
from collections.abc import Mapping, Sequence

from ..files.names import LOG
from ..results import Results
from ..tasks import Kind, Task, make_kind
from ..training.evaluation import Scores, mean_score
from .grid import Run
from .table import Primary, comparable, gain


def on_validation(run: Run) -> Primary:
    """What a finished run scores on the validation data in its best epoch: the one that it has kept."""
    return _best_epoch(run)[1]


def best_run(runs: Mapping[float, Run], reference: Primary | None) -> float:
    """The learning rate whose run is the best on validation data.

    Args:
        runs: By learning rate a finished run, all of the same tasks.
        reference: What single-task learning scores there, or hard sharing: the runs are compared by Δm over it. Where
            there is none, or a run has no Δm: by the mean over tasks of what their epochs are chosen by.

    Raises:
        ValueError: if there is no run.
    """
    if not runs:
        raise ValueError("No run has finished: there is no learning rate to choose.")
    best = {rate: _best_epoch(run) for rate, run in runs.items()}
    gains = {rate: gain(primary, comparable(reference or {})) for rate, (_, primary) in best.items()}
    means = {rate: mean for rate, (mean, _) in best.items()}
    return max(runs, key=lambda rate: means[rate] if None in gains.values() else gains[rate] or 0.0)


def _best_epoch(run: Run) -> tuple[float, Primary]:
    """The mean score of the best epoch, and the primary metrics in it."""
    results = Results.read(run.folder)
    kinds = {task.name: _kind_of(task.kind, task.name, task.classes) for task in results.tasks}
    lines = [json.loads(line) for line in (run.folder / LOG).read_text("utf-8").splitlines()]
    epochs: Sequence[Scores] = [line["validation"] for line in lines if "validation" in line]
    mean, scores = max(
        ((mean_score(kinds, scores, run.config.chosen_by), scores) for scores in epochs), key=lambda each: each[0]
    )
    primary = {task.name: task.metrics[0] for task in results.tasks}
    return mean, {name: (scores[name][each.name], each.higher_is_better) for name, each in primary.items()}


def _kind_of(kind: str, name: str, classes: int | None) -> Kind:
    return make_kind(Task(name, kind, num_classes=classes))
