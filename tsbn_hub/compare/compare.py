"""Comparing methods: the runs, what they cost, and the table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from ..analysis import passes_by_fork
from ..models.surface import ImageShape
from ..results import Results
from ..training.loaders import first_image
from ..training.recipe.building import build_data, build_model, build_tasks
from .choice import Primary, best_run, on_validation
from .costs import measure_costs
from .grid import Grid, Run, Variant
from .progress import watching
from .running import is_finished, run_all, seconds_of
from .table import Comparison, Row, comparison_of

_SINGLE_TASK, _HARD_SHARING = "stl", "hps"
_WITH_TASK_NORMS = ("stats", "tsbn", "tssigma")


@dataclass(frozen=True)
class Budget:
    """What a comparison may take.

    Args:
        jobs: How many runs are at work at a time.
        hours: When to stop; None: when all is done.
        learning_rates: Each method tries these with seed 0; none: the config's.
        equal_compute: Hard sharing is also trained for as many trunk passes as each method with norms of its tasks.

    Raises:
        ValueError: if a number is not positive.
    """

    jobs: int = 1
    hours: float | None = None
    learning_rates: Sequence[float] = ()
    equal_compute: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1 or (self.hours is not None and not self.hours > 0):
            raise ValueError(f"jobs={self.jobs}, max_hours={self.hours}: both must be positive.")


def compare(grid: Grid, budget: Budget | None = None, console: Console | None = None) -> Comparison:
    """Train what is not trained yet, and compare it.

    Every method gets the same data, epochs and number of learning rates to try. What is finished is not computed again,
    and what was stopped goes on. A run that fails is told, and the others go on.

    Args:
        grid: What is compared.
        budget: What it may take; None: as `Budget()`.
        console: Where progress is shown; None: nowhere.

    Returns:
        A row for each variant, in the order of the grid.

    Raises:
        Stopped: by Ctrl-C or SIGTERM. The same call goes on.
        ValueError: if the config does not fit.
    """
    comparing = _Comparing(grid, budget or Budget(), console or Console(quiet=True))
    (grid.folder / "runs").mkdir(parents=True, exist_ok=True)
    grid.single_task_folder.mkdir(parents=True, exist_ok=True)
    return comparing.comparison()


class _Comparing:
    """A comparison that is made."""

    def __init__(self, grid: Grid, budget: Budget, console: Console) -> None:
        self.grid, self.budget, self.console = grid, budget, console
        self.deadline = None if budget.hours is None else time.monotonic() + 3600 * budget.hours
        data = build_data(grid.base, "train")
        self.tasks = grid.base.tasks or [task.name for task in data.tasks]
        self.failed: dict[Run, str] = {}
        self.learning_rates: dict[tuple[Variant, str | None], float] = {}
        self.variants = self._variants()

    def _variants(self) -> list[Variant]:
        variants = self.grid.variants()
        if self.budget.equal_compute:
            passes = {round(self._passes(each), 2) for each in variants if each.method in _WITH_TASK_NORMS}
            further = [each for number in sorted(passes - {1.0}) for each in self.grid.with_the_compute_of(number)]
            last = max((at for at, each in enumerate(variants) if each.method == _HARD_SHARING), default=-1)
            variants[last + 1 : last + 1] = further
        return variants

    def _passes(self, variant: Variant) -> float:
        """How many trunk passes a step costs."""
        config = self.grid.run(variant, seed=0).config
        data = build_data(config, "train")
        channels, height, width = first_image(data).shape
        shape: ImageShape = (channels, height, width)
        by_fork = passes_by_fork(build_model(config, build_tasks(config, data), shape))
        return next(iter(by_fork.values()), 1.0)

    def comparison(self) -> Comparison:
        """Do what is left to do."""
        self._choose_learning_rates()
        every = [
            run for variant in self.variants for seed in range(self.grid.seeds) for run in self._runs(variant, seed)
        ]
        self._train(every, "runs")
        rows = [self._row(variant) for variant in self.variants]
        labels = [row.label for row in rows]
        reference = next((label for label in (_SINGLE_TASK, _HARD_SHARING) if label in labels), None)
        self._measure(rows)
        return comparison_of(rows, reference)

    def _runs(self, variant: Variant, seed: int) -> list[Run]:
        """The runs of a row with a seed: one, or one for each task."""
        return [
            self.grid.run(variant, seed, self.learning_rates.get((variant, task)), task)
            for task in (self.tasks if variant.is_single_task else [None])
        ]

    def _choose_learning_rates(self) -> None:
        """Single-task learning first: by its scores the others are judged."""
        rates = self.budget.learning_rates
        if len(rates) < 2:
            self.learning_rates = {
                (variant, task): rate for variant in self.variants for task in (*self.tasks, None) for rate in rates
            }
            return
        single_task: Primary | None = None
        for variant in sorted(self.variants, key=lambda each: not each.is_single_task):
            for task in self.tasks if variant.is_single_task else [None]:
                tried = {rate: self.grid.run(variant, 0, rate, task) for rate in rates}
                self._train(list(tried.values()), f"learning rates of {variant.label}{f' {task}' if task else ''}")
                finished = {rate: run for rate, run in tried.items() if is_finished(run)}
                if not finished:
                    continue
                rate = self.learning_rates[variant, task] = best_run(finished, None if task else single_task)
                if task:
                    single_task = {**(single_task or {}), **on_validation(finished[rate])}

    def _train(self, runs: Sequence[Run], what: str) -> None:
        left = [run for run in dict.fromkeys(runs) if not is_finished(run)]
        with watching(self.console, what, len(left)) as watch:
            self.failed |= run_all(left, self.budget.jobs, self.deadline, watch)

    def _row(self, variant: Variant) -> Row:
        row = Row(variant.label)
        seconds: list[float] = []
        for seed in range(self.grid.seeds):
            runs = self._runs(variant, seed)
            if all(map(is_finished, runs)):
                row.results[seed] = [Results.read(run.folder) for run in runs]
                seconds.append(sum(map(seconds_of, runs)))
            else:
                row.missing += [
                    f"{run.folder.name}: {self.failed.get(run, 'not finished')}" for run in runs if not is_finished(run)
                ]
        if seconds:
            row.seconds = sum(seconds) / len(seconds)
        if len(self.budget.learning_rates) > 1:
            chosen = {task: rate for (each, task), rate in self.learning_rates.items() if each == variant}
            row.settings = {f"lr of {task}" if task else "lr": rate for task, rate in chosen.items()}
        return row

    def _measure(self, rows: Sequence[Row]) -> None:
        """What each method costs. Trained longer, a step costs the same."""
        configs = {
            variant.label: [run.config for run in self._runs(variant, 0)]
            for variant, row in zip(self.variants, rows, strict=True)
            if row.results and variant.epochs == 1
        }
        costs = measure_costs(configs, self.grid.folder / "costs.json", self.console) if configs else {}
        for variant, row in zip(self.variants, rows, strict=True):
            row.cost = costs.get(replace(variant, epochs=1.0).label)
