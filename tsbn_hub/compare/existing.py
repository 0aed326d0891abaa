"""A comparison of runs that are there."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ..baselines import method_of
from ..files.names import RECIPE, RESULTS
from ..results import Results
from ..training import TrainingConfig
from ..training.recipe.config import OF_THE_MACHINE
from ..training.recipe.own_code import recipe_of_run
from .costs import measure_costs
from .grid import ALONE, SINGLE_TASK, concerns, reference_of
from .running import seconds_in
from .table import NOT_FINISHED, Comparison, Row, comparison_of

# A row's name says these, or joins runs that differ in them.
_NOT_IN_LABELS = (*OF_THE_MACHINE, "seed", "tasks", "imports", "norm", "method", "balancing")
_OF_EACH_TASK = (*ALONE, "heads", "lr")  # a run of one task has these of its own


def compare_runs(
    folders: Sequence[str | Path], out: str | Path | None = None, console: Console | None = None, *, trust: bool = False
) -> Comparison:
    """Compare runs that are there. Those that differ in their seed alone are a row; so are single-task runs of a seed.

    Args:
        folders: Of runs of `tsbn train`, measured on the same data. One that is not finished is missing in its row.
        out: The folder that keeps what the methods cost, which is measured by the recipes of the runs; None: it is not
            measured.
        console: Where progress is shown; None: nowhere.
        trust: Import the files and modules that the recipes name, whoever has written them.

    Returns:
        A row for each way to train. Δm is the gain over single-task learning, where it is among them, else over hard
        sharing.

    Raises:
        FileNotFoundError: if a folder has no recipe.
        ValueError: if these cannot be read, runs were measured on different data, or a row has two of the same seed.
    """
    console = console or Console(quiet=True)
    configs = {Path(folder): TrainingConfig.read(Path(folder, RECIPE)) for folder in folders}
    results = {folder: Results.read(folder) for folder in configs if (folder / RESULTS).is_file()}
    several = any(len(each.tasks) > 1 for each in results.values())
    alone = {folder: len(results[folder].tasks if folder in results else config.tasks or ()) == 1 and several
             for folder, config in configs.items()}  # fmt: skip
    labels = _labels(configs, alone)
    rows: dict[str, Row] = {}
    methods: dict[str, str] = {}
    measured: dict[str, dict[int, list[Path]]] = {}
    for folder, config in configs.items():
        label, methods_name = labels[folder], _method(config, alone[folder])
        row = rows.setdefault(label, Row(label))
        methods.setdefault(label, methods_name)
        if folder not in results:
            row.missing[folder.name] = NOT_FINISHED
            continue
        of_seed = row.results.setdefault(config.seed, [])
        taken = {task.name for each in of_seed for task in each.tasks}
        twice = [task.name for task in results[folder].tasks if task.name in taken]
        if twice:
            raise ValueError(
                f"There are two runs of {label} with the seed {config.seed} for {', '.join(twice)}: {folder} is one. "
                "Leave one out."
            )
        of_seed.append(results[folder])
        measured.setdefault(label, {}).setdefault(config.seed, []).append(folder)
    for label, by_seed in measured.items():
        seconds = [sum(map(seconds_in, each)) for each in by_seed.values()]
        rows[label].seconds = sum(seconds) / len(seconds) if all(seconds) else None
    if out is not None:
        _measure(
            rows,
            {label: next(iter(by_seed.values())) for label, by_seed in measured.items()},
            Path(out),
            console,
            trust,
        )
    at = reference_of(list(methods.values()))
    return comparison_of(list(rows.values()), None if at is None else list(rows)[at])


def _measure(rows: dict[str, Row], runs: dict[str, list[Path]], out: Path, console: Console, trust: bool) -> None:
    """Set what the rows cost, by their runs of a seed."""
    try:
        configs = {label: [_recipe(folder, trust) for folder in folders] for label, folders in runs.items()}
    except ValueError as error:  # code or data of somebody else's
        console.print(f"What the methods cost could not be measured: {error}", soft_wrap=True)
        return
    for label, cost in measure_costs(configs, out, console).items():
        rows[label].cost = cost


def _recipe(folder: Path, trust: bool) -> TrainingConfig:
    with recipe_of_run(folder, trust) as config:
        return replace(config, output=str(folder))


def _method(config: TrainingConfig, alone: bool) -> str:
    method = method_of(config.norm, config.trunk, 1 if alone else None)
    return "checkpoint" if method is None else method.name


def _labels(configs: dict[Path, TrainingConfig], alone: dict[Path, bool]) -> dict[Path, str]:
    """By folder its row: method, balancing, and the keys in which some of the runs differ that these concern."""
    said = {folder: _said(config, alone[folder]) for folder, config in configs.items()}
    keys = dict.fromkeys(key for values in said.values() for key in values)
    differing = [key for key in keys if len({repr(values[key]) for values in said.values() if key in values}) > 1]
    labels = {}
    for folder, config in configs.items():
        name = _method(config, alone[folder])
        words = [name if alone[folder] or config.balancing == "equal" else f"{name} + {config.balancing}"]
        words += [f"{key}={said[folder][key]}" for key in differing if key in said[folder]]
        labels[folder] = ", ".join(words)
    return labels


def _said(config: TrainingConfig, alone: bool) -> dict[str, object]:
    """What may be said of a run beside its method and balancing."""
    method = _method(config, alone)
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in (*_NOT_IN_LABELS, *(_OF_EACH_TASK if alone else ()))
        and (
            method == "checkpoint" or concerns(field.name, method, None if method == SINGLE_TASK else config.balancing)
        )
    }
