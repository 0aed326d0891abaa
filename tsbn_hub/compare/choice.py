"""Which learning rate a method gets: the best on validation data, with the first seed."""

import json
from collections.abc import Mapping, Sequence

from ..files.names import LOG
from ..results import Results
from ..tasks import Kind, Task, make_kind
from ..training.evaluation import Scores, mean_score
from .grid import Run
from .table import gain

Primary = dict[str, tuple[float, bool]]
"""By task its primary metric, and whether higher is better."""


def on_validation(run: Run) -> Primary:
    """What a finished run scores on the validation data in its best epoch: the one that it has kept."""
    return _best_epoch(run)[1]


def best_run(runs: Mapping[float, Run], single_task: Primary | None) -> float:
    """The learning rate whose run is the best on validation data.

    Args:
        runs: By learning rate a finished run, all of the same tasks.
        single_task: What single-task learning scores there: the runs are compared by Δm over it. None: by the mean over
            tasks of what their epochs are chosen by, as those of one task are.

    Raises:
        ValueError: if there is no run.
    """
    if not runs:
        raise ValueError("No run has finished: there is no learning rate to choose.")

    def merit(rate: float) -> float:
        mean, primary = _best_epoch(runs[rate])
        over_single_task = None if single_task is None else gain(primary, single_task)
        return mean if over_single_task is None else over_single_task

    return max(runs, key=merit)


def _best_epoch(run: Run) -> tuple[float, Primary]:
    """The mean score of the best epoch, and the primary metrics in it."""
    results = Results.read(run.folder)
    kinds = {task.name: _kind_of(task.kind, task.name, task.classes) for task in results.tasks}
    lines = [json.loads(line) for line in (run.folder / LOG).read_text("utf-8").splitlines()]
    epochs: Sequence[Scores] = [line["validation"] for line in lines if "validation" in line]
    mean, scores = max(((mean_score(kinds, scores), scores) for scores in epochs), key=lambda each: each[0])
    primary = {task.name: task.metrics[0] for task in results.tasks}
    return mean, {name: (scores[name][each.name], each.higher_is_better) for name, each in primary.items()}


def _kind_of(kind: str, name: str, classes: int | None) -> Kind:
    return make_kind(Task(name, kind, num_classes=classes))
