"""Comparing methods: the runs, what they cost, and the table."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from ..analysis import model_cost
from ..baselines import HARD_SHARING
from ..results import Results
from ..results.intervals import interval_of
from ..training.loaders import first_image
from ..training.recipe.building import build_data, build_model, build_tasks
from .choice import best_run, on_validation
from .costs import measure_costs
from .grid import Grid, Run, Variant, reference_of
from .progress import watching
from .running import is_finished, run_all, seconds_in
from .table import NOT_FINISHED, Comparison, Row, comparison_of

_WITH_TASK_NORMS = ("stats", "tsbn", "tssigma")


@dataclass(frozen=True)
class Budget:
    """What a comparison may take.

    Args:
        jobs: How many runs are at work at a time.
        hours: When to stop; None: when all is done.
        learning_rates: Each method tries these with seed 0; none: the config's.
        equal_compute: Hard sharing is also trained with as many floating-point operations as each method with norms of
            its tasks.

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
    and what was stopped goes on. A run that fails is told, and the others go on; the next call tries it again. Each run
    has a process of its own, so that a script calls this under `if __name__ == "__main__":`.

    Args:
        grid: What is compared.
        budget: What it may take; None: as `Budget()`.
        console: Where progress is shown; None: nowhere.

    Returns:
        A row for each variant, in the order of the grid.

    Raises:
        ImportError: if there are several seeds and scipy is not installed.
        Stopped: by Ctrl-C or SIGTERM. The same call goes on.
        ValueError: if the config fits no method.

    Example:
        >>> from tsbn_hub.compare import Budget, Grid, compare, write_tables
        >>> grid = Grid(
        ...     file="examples/configs/multi_digits.yaml", methods=["stl", "hps", "tssigma"], seeds=3,
        ...     folder="runs/digits", single_task_folder="runs/single_task",
        ... )
        >>> comparison = compare(grid, Budget(jobs=2))  # doctest: +SKIP
        >>> write_tables(comparison, "runs/digits")  # doctest: +SKIP
    """
    if grid.seeds > 1:
        interval_of([0.0, 1.0])  # that what computes it is not installed is told before the runs, not after them
    comparing = _Comparing(grid, budget or Budget(), console or Console(quiet=True))
    Path(grid.folder, "runs").mkdir(parents=True, exist_ok=True)
    Path(grid.single_task_folder).mkdir(parents=True, exist_ok=True)
    return comparing.comparison()


class _Comparing:
    """A comparison that is made."""

    def __init__(self, grid: Grid, budget: Budget, console: Console) -> None:
        self.grid, self.budget, self.console = grid, budget, console
        self.deadline = None if budget.hours is None else time.monotonic() + 3600 * budget.hours
        self.tasks = grid.base.tasks or [task.name for task in build_data(grid.base, "train").tasks]
        self.failed: dict[Run, str] = {}
        self.refused: dict[Variant, str] = {}
        self.variants = self._with_equal_compute(self._checked(grid.variants()))
        rates: list[float | None] = [*dict.fromkeys(budget.learning_rates)]
        self.rates = rates if len(rates) > 1 else []
        self.chosen: dict[tuple[Variant, str | None], float | None] = {}
        if not self.rates:
            self.chosen = {(each, task): (rates or [None])[0] for each in self.variants for task in self._parts(each)}

    def _checked(self, variants: Sequence[Variant]) -> list[Variant]:
        """All of them; why the config of some is refused is noted."""
        for variant in variants:
            try:
                self.grid.run(variant, seed=0)
            except ValueError as error:
                self.refused[variant] = str(error)
        if len(self.refused) == len(variants):
            raise ValueError(self.refused[variants[0]])
        return list(variants)

    def _with_equal_compute(self, variants: list[Variant]) -> list[Variant]:
        ours = [each for each in variants if each.method in _WITH_TASK_NORMS]
        if not self.budget.equal_compute or not ours:
            return variants
        of_hard_sharing = self._flops(self.grid.with_the_compute_of(1.0)[0])
        # In three digits, as labels have it.
        times = dict.fromkeys(float(f"{self._flops(each) / of_hard_sharing:.3g}") for each in ours)
        further = [each for number in times if number > 1 for each in self.grid.with_the_compute_of(number)]
        last = max((at for at, each in enumerate(variants) if each.method == HARD_SHARING), default=-1)
        return [*variants[: last + 1], *further, *variants[last + 1 :]]

    def _flops(self, variant: Variant) -> float:
        """Of an image, for all tasks; NaN of a network that cannot be, as its run will say."""
        if variant in self.refused:
            return math.nan
        config = self.grid.run(variant, seed=0).config
        data = build_data(config, "train")
        channels, height, width = first_image(data).shape
        try:
            model = build_model(config, build_tasks(config, data), (channels, height, width))
        except ValueError:
            return math.nan
        return model_cost(model).batched_flops

    def comparison(self) -> Comparison:
        """Do what is left to do."""
        if self.rates:
            self._choose_learning_rates()
        every = [run for variant in self.variants for seed in self.grid.seeds_used for run in self._runs(variant, seed)]
        self._train(every, "runs")
        rows = [self._row(variant) for variant in self.variants]
        self._measure(rows)
        reference = reference_of([variant.method for variant in self.variants])
        return comparison_of(rows, None if reference is None else rows[reference].label)

    def _parts(self, variant: Variant) -> Sequence[str | None]:
        """The task of each run that a row has with a seed; None: the run is for all."""
        return self.tasks if variant.is_single_task else [None]

    def _runs(self, variant: Variant, seed: int) -> list[Run]:
        """The runs of a row with a seed; none where it is refused, or has no learning rate."""
        if variant in self.refused or any((variant, task) not in self.chosen for task in self._parts(variant)):
            return []
        return [self.grid.run(variant, seed, self.chosen[variant, task], task) for task in self._parts(variant)]

    def _tried(self, variant: Variant, task: str | None) -> dict[float, Run]:
        """By learning rate the run that tries it."""
        return {rate: self.grid.run(variant, 0, rate, task) for rate in self.rates if rate is not None}

    def _choose_learning_rates(self) -> None:
        """All are tried at once. Then the reference chooses first: by its scores the others are judged."""
        tried = {
            (variant, task): self._tried(variant, task)
            for variant in self.variants
            if variant not in self.refused
            for task in self._parts(variant)
        }
        self._train([run for runs in tried.values() for run in runs.values()], "learning rates with seed 0")
        at = reference_of([variant.method for variant in self.variants])
        reference = None if at is None else self.variants[at]
        scores: dict[str, tuple[float, bool]] = {}
        for variant, task in sorted(tried, key=lambda each: each[0] != reference):
            runs = tried[variant, task]
            finished = {rate: run for rate, run in runs.items() if is_finished(run)}
            if finished and all(run in self.failed for rate, run in runs.items() if rate not in finished):
                rate = best_run(finished, None if variant == reference else scores)
                self.chosen[variant, task] = rate
                if variant == reference:
                    scores |= on_validation(finished[rate])

    def _train(self, runs: Sequence[Run], what: str) -> None:
        left = [run for run in dict.fromkeys(runs) if not is_finished(run) and run not in self.failed]
        with watching(self.console, what, len(left)) as watch:
            self.failed |= run_all(left, self.budget.jobs, self.deadline, watch)

    def _row(self, variant: Variant) -> Row:
        row = Row(variant.label)
        if variant in self.refused:
            row.missing = {variant.label: self.refused[variant]}
            return row
        seconds: list[float] = []
        unfinished: list[Run] = []
        for seed in self.grid.seeds_used:
            runs = self._runs(variant, seed)
            left = [run for run in runs if not is_finished(run)]
            unfinished += left
            if runs and not left:
                row.results[seed] = [Results.read(run.folder) for run in runs]
                seconds.append(sum(seconds_in(run.folder) for run in runs))
        if seconds:
            row.seconds = sum(seconds) / len(seconds)
        for task in self._parts(variant) if self.rates else ():
            if (variant, task) in self.chosen:
                row.settings[f"lr of {task}" if task else "lr"] = self.chosen[variant, task]
            else:
                unfinished += [run for run in self._tried(variant, task).values() if not is_finished(run)]
        row.missing = {run.folder.name: self.failed.get(run, NOT_FINISHED) for run in unfinished}
        return row

    def _measure(self, rows: Sequence[Row]) -> None:
        """What each method costs. Trained longer, a step costs the same."""
        once = [replace(variant, epochs=1.0) for variant in self.variants]
        configs = {
            variant.label: [run.config for run in self._runs(longer, 0)]
            if longer == variant
            else [self.grid.run(variant, 0).config]
            for variant, longer, row in zip(once, self.variants, rows, strict=True)
            if row.results
        }
        costs = measure_costs(configs, Path(self.grid.folder), self.console)
        for variant, row in zip(once, rows, strict=True):
            row.cost = costs.get(variant.label)
