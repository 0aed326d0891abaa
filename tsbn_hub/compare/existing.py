"""A comparison of runs that are there."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ..baselines import SINGLE_TASK, method_of
from ..files.names import RECIPE, RESULTS
from ..results import Results
from ..training import TrainingConfig
from ..training.recipe.config import OF_THE_MACHINE
from ..training.recipe.own_code import recipe_of_run
from .costs import measure_costs
from .grid import ALONE, concerns, reference_of
from .running import seconds_in
from .table import NOT_FINISHED, Comparison, Row, comparison_of

_FIELDS = [field.name for field in dataclasses.fields(TrainingConfig)]
_NOT_IN_LABELS = (*OF_THE_MACHINE, "seed", "imports", "norm", "method", "balancing")
_IN_EPOCHS = ("warmup_epochs", "decay_epochs")
_OF_EACH_TASK = (*ALONE, "tasks", "heads", "lr")  # what single-task runs of one row have of their own


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
    runs = [_Existing(Path(folder)) for folder in folders]
    values = [run.values() for run in runs]
    keys = dict.fromkeys(key for each in values for key in each)
    differing = [
        key
        for key in sorted(keys, key=_place)
        if len({repr(each.get(key)) for run, each in zip(runs, values, strict=True) if run.is_concerned_by(key)}) > 1
    ]
    differing = [key for key in differing if not (key in _IN_EPOCHS and _follows_from_epochs(key, runs))]
    by_row: dict[str, list[_Existing]] = {}
    for run, each in zip(runs, values, strict=True):
        label = ", ".join([run.name, *(f"{_short(key)}={each[key]}" for key in differing if key in each)])
        by_row.setdefault(label, []).append(run)
    rows = [_row(label, of_row) for label, of_row in by_row.items()]
    if out is not None:
        _measure(rows, list(by_row.values()), Path(out), console or Console(quiet=True), trust)
    at = reference_of([of_row[0].method for of_row in by_row.values()])
    return comparison_of(rows, None if at is None else rows[at].label)


def _place(key: str) -> int:
    """Where the key stands in a config."""
    return _FIELDS.index(key.partition(".")[0])


def _follows_from_epochs(key: str, runs: Sequence["_Existing"]) -> bool:
    """Whether the epochs say the key, too: in all runs it is one proportion of them, which are whole numbers."""
    by_epochs = {run.config.epochs: getattr(run.config, key) for run in runs}
    parts = [value / epochs for epochs, value in by_epochs.items()]
    return all(getattr(run.config, key) == by_epochs[run.config.epochs] for run in runs) and (
        max(parts) - min(parts) <= max(parts) / min(by_epochs)
    )


def _short(key: str) -> str:
    """As labels say it: model_args.gated is gated."""
    name, _, inner = key.partition(".")
    return inner if name.endswith("_args") else key


class _Existing:
    """A run that is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = TrainingConfig.read(folder / RECIPE)
        self.results = Results.read(folder) if (folder / RESULTS).is_file() else None
        tasks = self.config.tasks if self.results is None else self.results.tasks
        method = method_of(self.config.norm, self.config.trunk, None if tasks is None else len(tasks))
        self.method = "checkpoint" if method is None else method.name
        self.is_single_task = self.method == SINGLE_TASK

    @property
    def name(self) -> str:
        """The method, and the balancing where that matters."""
        balancing = "equal" if self.is_single_task else self.config.balancing
        return self.method + ("" if balancing == "equal" else f" + {balancing}")

    def values(self) -> dict[str, object]:
        """By key of the config, with dots into mappings, what may be said beside the name."""
        found: dict[str, object] = {}
        for name in _FIELDS:
            value = getattr(self.config, name)
            found |= (
                {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
            )
        return {key: value for key, value in found.items() if self.is_concerned_by(key)}

    def is_concerned_by(self, key: str) -> bool:
        """Whether the key changes anything for this run, and is not of its own among those of its row."""
        left_out = (*_NOT_IN_LABELS, *(_OF_EACH_TASK if self.is_single_task else ()))
        balancing = None if self.is_single_task else self.config.balancing
        return key.partition(".")[0] not in left_out and concerns(key, self.method, balancing)

    def recipe(self, trust: bool) -> TrainingConfig:
        """The config, whose code is imported as far as that is allowed."""
        with recipe_of_run(self.folder, trust) as config:
            return replace(config, output=str(self.folder))


def _row(label: str, runs: Sequence[_Existing]) -> Row:
    row = Row(label)
    seconds: dict[int, float] = {}
    for run in runs:
        seed = run.config.seed
        if run.results is None:
            row.missing[run.folder.name] = NOT_FINISHED
            continue
        of_seed = row.results.setdefault(seed, [])
        taken = {task.name for each in of_seed for task in each.tasks}
        if twice := [task.name for task in run.results.tasks if task.name in taken]:
            raise ValueError(
                f"There are two runs of {label} with the seed {seed} for {', '.join(twice)}: {run.folder} is one. "
                "Leave one out."
            )
        of_seed.append(run.results)
        seconds[seed] = seconds.get(seed, 0.0) + seconds_in(run.folder)
    if seconds and all(seconds.values()):
        row.seconds = sum(seconds.values()) / len(seconds)
    return row


def _measure(rows: list[Row], runs: list[list[_Existing]], out: Path, console: Console, trust: bool) -> None:
    """Set what the rows cost, by their runs of the first seed."""
    try:
        configs = {
            row.label: [
                run.recipe(trust) for run in of_row if run.results and run.config.seed == next(iter(row.results))
            ]
            for row, of_row in zip(rows, runs, strict=True)
            if row.results
        }
    except ValueError as error:  # they need code of somebody else's
        console.print(f"What the methods cost could not be measured: {error}", soft_wrap=True)
        return
    costs = measure_costs(configs, out, console)
    for row in rows:
        row.cost = costs.get(row.label)
