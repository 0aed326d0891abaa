"""A comparison of runs that are there."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..baselines import method_of
from ..files.names import RECIPE
from ..results import Results
from ..training import TrainingConfig
from ..training.recipe.config import OF_THE_MACHINE
from .table import Comparison, Row, comparison_of

_NOT_OF_A_ROW = (*OF_THE_MACHINE, "seed", "tasks", "imports", "norm", "method", "heads", "validation")


def compare_runs(folders: Sequence[str | Path]) -> Comparison:
    """Compare finished runs. Those that differ in their seed alone are a row; so are single-task runs of one seed.

    Args:
        folders: Of runs of `tsbn train`, measured on the same data.

    Returns:
        A row for each way to train. Δm is the gain over single-task learning, where it is among them, else over hard
        sharing.

    Raises:
        FileNotFoundError: if a folder has no recipe or no results.
        ValueError: if these cannot be read, or runs were measured on different data.
    """
    configs = [TrainingConfig.read(Path(folder, RECIPE)) for folder in folders]
    results = [Results.read(folder) for folder in folders]
    most = max((len(each.tasks) for each in results), default=0)
    differing = _differing(configs)
    rows: dict[str, Row] = {}
    single_task_label = hard_sharing_label = None
    for config, measured in zip(configs, results, strict=True):
        is_single_task = len(measured.tasks) == 1 < most
        method = method_of(config.norm, config.method if config.norm is None else None, 1 if is_single_task else most)
        name = "checkpoint" if method is None else method.name
        words = [name if config.balancing == "equal" or is_single_task else f"{name} + {config.balancing}"]
        words += [] if is_single_task else [f"{key}={getattr(config, key)}" for key in differing]
        label = ", ".join(words)
        row = rows.setdefault(label, Row(label))
        of_seed = row.results.setdefault(config.seed, [])
        taken = {task.name for each in of_seed for task in each.tasks}
        twice = [task.name for task in measured.tasks if task.name in taken]
        if twice:
            raise ValueError(
                f"There are two runs of {label} with the seed {config.seed} for {twice}: {config.output} is one. "
                "Leave one out."
            )
        of_seed.append(measured)
        if name == "stl":
            single_task_label = label
        elif name == "hps":
            hard_sharing_label = hard_sharing_label or label
    return comparison_of(list(rows.values()), single_task_label or hard_sharing_label)


def _differing(configs: Sequence[TrainingConfig]) -> list[str]:
    """The keys in which runs of several tasks differ, beside those that a row's name says or joins."""
    keys = [field.name for field in dataclasses.fields(TrainingConfig)]
    return [
        key
        for key in keys
        if key not in (*_NOT_OF_A_ROW, "balancing")
        and any(getattr(config, key) != getattr(configs[0], key) for config in configs if config.tasks is None)
    ]
