"""What runs have measured, as results to keep."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..baselines import SINGLE_TASK
from ..data import tasks_of
from ..data.splitting import told_of_split
from ..files.checkpoints import weights_digest
from ..files.names import LOG, RECIPE, RESULTS
from ..files.parsing import parse_yaml
from ..tasks import make_kind
from ..training import TrainingConfig
from ..training.evaluation import Scores, chosen_metric
from ..training.recipe.building import build_data, build_tasks
from .results import DataMeasured, Metric, OtherSeed, Results, SingleTask, TaskMeasured


def record_run(config: TrainingConfig, scores: Scores) -> None:
    """Write the `results.json` of a finished run. Scores of other runs beside the same results stay.

    Args:
        config: The run.
        scores: By task, its metrics on the test set.
    """
    results = results_of_run(config, scores)
    if Path(config.output, RESULTS).exists() and Results.read(config.output).own() == results:
        return
    results.write(config.output)


def results_of_run(config: TrainingConfig, scores: Scores) -> Results:
    """What a finished run has measured on its test set.

    Args:
        config: The run.
        scores: By task, in the order of the model's, its metrics.
    """
    data = build_data(config, "test")
    order = list(scores)  # the model's: the data may name the tasks in another one
    tasks = sorted(build_tasks(config, data), key=lambda task: order.index(task.name))
    kinds = {task.name: make_kind(task) for task in tasks}
    validation = _last_validation(config.output)
    chosen_by = dict.fromkeys(
        chosen_metric(kind, validation.get(name, {}), config.chosen_by.get(name)) or kind.chosen_by
        for name, kind in kinds.items()
        if not config.chosen_by or name in config.chosen_by
    )
    return Results(
        weights=weights_digest(config.output),
        data=[_measured(each, size, list(kinds)) for each, size in zip(data.datasets, data.sizes, strict=True)],
        split="test",
        epoch_chosen_by=(
            f"the mean over tasks of {', '.join(chosen_by)} on {told_of_split(data.datasets, config.validation)}"
        ),
        tasks=[
            TaskMeasured(
                task.name,
                task.kind,
                kinds[task.name].num_classes,
                [
                    Metric(
                        name,
                        _finite(scores[task.name][name]),
                        higher_is_better,
                        kinds[task.name].is_share(name),
                    )
                    for name, higher_is_better in kinds[task.name].metrics.items()
                    if name in scores[task.name]  # a run that was finished before there was a metric lacks it
                ],
            )
            for task in tasks
        ],
    )


def _last_validation(folder: str | Path) -> Scores:
    """The scores on the validation split at the last epoch, from the log of a run; nothing where there is no log."""
    log = Path(folder, LOG)
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.is_file() else []
    scores: list[Scores] = [line["validation"] for line in lines if "validation" in line]
    return scores[-1] if scores else {}


def with_single_task(results: Results, folder: str | Path, runs: Sequence[str | Path]) -> Results:
    """The results, and beside them those of single-task runs.

    Args:
        results: Of the run in `folder`.
        folder: It has the recipe, `training.yaml`.
        runs: Folders of runs of one task each, measured on the same data. Those of tasks that have a run already
            replace it.

    Raises:
        FileNotFoundError: if a folder lacks its results or its recipe.
        ValueError: if one has several tasks, or another task, other data or another metric than this run.
    """
    recipe = TrainingConfig.read(Path(folder, RECIPE))
    own = [task.name for task in results.tasks]
    single_task = dict(results.single_task)
    for run in runs:
        other = Results.read(run)
        name = other.tasks[0].name
        if len(other.tasks) > 1 or name not in own:
            raise ValueError(
                f"{run} was trained on {[task.name for task in other.tasks]}: a single-task run has one of {own}."
            )
        _check_measure(run, other, results, name)
        their_recipe = replace(TrainingConfig.read(Path(run, RECIPE)), tasks=recipe.tasks)
        # A plain network for each task is what every method is measured against: no other recipe.
        of_methods = ("norm", "method", "method_args") if their_recipe.method == SINGLE_TASK else ()
        single_task[name] = SingleTask(
            other.tasks[0].metrics[0].value,
            Path(run).resolve().name,
            [
                key
                for difference in recipe.differences(dataclasses.asdict(their_recipe))
                if (key := difference.partition(":")[0]) not in of_methods
            ],
        )
    return replace(results, single_task=single_task)


def with_other_seeds(results: Results, folder: str | Path, runs: Sequence[str | Path]) -> Results:
    """The results, and beside them those of runs of the same recipe with other seeds.

    Args:
        results: Of the run in `folder`.
        folder: It has the recipe, `training.yaml`.
        runs: Folders of such runs. Those of seeds that have a run already replace it.

    Raises:
        FileNotFoundError: if a folder lacks its results or its recipe.
        ValueError: if one was trained or measured otherwise, or with the seed of this run.
    """
    recipe = TrainingConfig.read(Path(folder, RECIPE))
    others = {other.seed: other for other in results.other_seeds}
    for run in runs:
        theirs, measured = TrainingConfig.read(Path(run, RECIPE)), Results.read(run)
        differences = recipe.differences(dataclasses.asdict(replace(theirs, seed=recipe.seed)))
        if differences:
            raise ValueError(f"{run} is of another recipe: {'; '.join(differences)}.")
        if theirs.seed == recipe.seed:
            raise ValueError(f"{run} has the seed {recipe.seed}, as {folder} has: a run of another seed is needed.")
        for task in results.tasks:
            _check_measure(run, measured, results, task.name)
        values = {task.name: {metric.name: metric.value for metric in task.metrics} for task in measured.tasks}
        others[theirs.seed] = OtherSeed(theirs.seed, Path(run).resolve().name, values)
    return replace(results, other_seeds=[others[seed] for seed in sorted(others)])


def _check_measure(run: str | Path, other: Results, results: Results, task: str) -> None:
    """Refuse a run whose scores of a task are no measure for these.

    Raises:
        ValueError: if it was measured on another split or other data, or by another metric.
    """
    for what, theirs, ours in (
        ("split", other.split, results.split),
        ("data", _data_of(other, task), _data_of(results, task)),
        ("metric", _primary_of(other, task), _primary_of(results, task)),
    ):
        if theirs != ours:
            raise ValueError(f"{run} is no measure for {task!r}: its {what} is {theirs}, here {ours}.")


def results_of(folder: str | Path) -> Results | None:
    """What was measured of the weights in a folder; None: nothing is recorded.

    Raises:
        ValueError: if the results cannot be read, or are of other weights.
        CheckpointError: if there are no weights.
    """
    if not Path(folder, RESULTS).exists():
        return None
    results = Results.read(folder)
    if results.weights != weights_digest(folder):
        raise ValueError(
            f"{Path(folder, RESULTS)} is of other weights than those beside it. Measure these (`tsbn train`), or "
            "remove it: the card then says that nothing was measured."
        )
    return results


def recipe_of(folder: str | Path) -> TrainingConfig | None:
    """How what is in a folder was trained; None: that is not recorded.

    Raises:
        ValueError: if the recipe cannot be read.
    """
    path = Path(folder, RECIPE)
    return TrainingConfig.read(path) if path.exists() else None


def recipe_without_folders(path: Path) -> str:
    """The text of a recipe without the folders of the machine that it is from.

    Raises:
        ValueError: if it is no YAML.
    """
    text = path.read_text(encoding="utf-8")
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    cleaned = without_folders(values)
    return text if cleaned == values else yaml.safe_dump(cleaned, sort_keys=False, allow_unicode=True)


def without_folders(value: Any) -> Any:
    """A value of a config without the folders of the machine that it is from: of absolute paths the last part.

    Example:
        >>> from tsbn_hub.results.recording import without_folders
        >>> without_folders({"data": "/home/ada/photos.py:Photos", "output": "runs/photos"})
        {'data': 'photos.py:Photos', 'output': 'runs/photos'}
    """
    if isinstance(value, str):
        return re.sub(r"(?:^|(?<=:))(?:~|/(?!/)|[A-Za-z]:\\)(?:[^:]*[\\/])?", "", value)
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    return [without_folders(each) for each in value] if isinstance(value, list) else value


def _measured(data: object, size: int, tasks: list[str]) -> DataMeasured:
    own = [task.name for task in tasks_of(data) if task.name in tasks]
    stated = (_text(data, name) for name in ("url", "license", "creator"))
    return DataMeasured(_text(data, "title") or type(data).__name__, size, own, *stated)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(data: object, name: str) -> str | None:
    value = getattr(data, name, None)
    return value if isinstance(value, str) else None


def _primary_of(results: Results, name: str) -> str | None:
    return next((task.metrics[0].name for task in results.tasks if task.name == name), None)


def _data_of(results: Results, task: str) -> list[tuple[str, int]]:
    return [(data.name, data.samples) for data in results.data if task in data.tasks]
