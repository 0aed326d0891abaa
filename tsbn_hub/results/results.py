"""What was measured of a checkpoint: `results.json`, beside its weights and its recipe."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..files.atomic import write_atomically
from ..files.names import RESULTS
from ..files.strict_json import read_strictly
from .delta_m import delta_m
from .intervals import Interval, interval_of


@dataclass(frozen=True)
class DataMeasured:
    """A data set that was measured on.

    Args:
        name: Its title, where it has one, or the name of its class.
        samples: Their number.
        tasks: Those of the tasks that it has targets for.
        url: Where it is from; None: it does not say.
        license: Its licence, by the Hub's name of it ("cc-by-4.0"); None: it does not say.
        creator: Who is to be named with it; None: it does not say.
    """

    name: str
    samples: int
    tasks: list[str]
    url: str | None = None
    license: str | None = None
    creator: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric's value; None where no sample had a target, or it is not finite. A share of 1 is shown in percent."""

    name: str
    value: float | None
    higher_is_better: bool
    is_share: bool = True


@dataclass(frozen=True)
class TaskMeasured:
    """What was measured of a task.

    Args:
        name: Of the task.
        kind: The name of its kind.
        classes: The number of its classes or attributes; None where there are none.
        metrics: The primary one first.
    """

    name: str
    kind: str
    classes: int | None
    metrics: list[Metric]


@dataclass(frozen=True)
class SingleTask:
    """What a network that was trained on one task alone scores.

    Args:
        value: The primary metric; None where no sample had a target.
        source: The name of its run.
        differs_in: The keys of its recipe that have another value there, but for `tasks`.
    """

    value: float | None
    source: str
    differs_in: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OtherSeed:
    """What a run of the same recipe with another seed scores.

    Args:
        seed: Of that run.
        source: The name of the run.
        values: By task, each metric's value; None where there is none, as of a `Metric`.
    """

    seed: int
    source: str
    values: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Results:
    """What was measured of a checkpoint.

    Args:
        weights: The SHA-256 of its weights, in hexadecimal: of no others are these the results.
        data: The data sets.
        split: The part of them that was measured on.
        epoch_chosen_by: What the epoch was chosen by.
        tasks: What was measured, by task, in the order of the model's.
        single_task: By task, what a network trained on it alone scores.
        other_seeds: What other runs of the same recipe score.

    Raises:
        ValueError: if a task is there twice, has no metric or no data set, or is unknown.
    """

    weights: str
    data: list[DataMeasured]
    split: str
    epoch_chosen_by: str
    tasks: list[TaskMeasured]
    single_task: dict[str, SingleTask] = field(default_factory=dict)
    other_seeds: list[OtherSeed] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks has {names}: one or more, each once.")
        for task in self.tasks:
            if not task.metrics:
                raise ValueError(f"tasks: {task.name!r} has no metrics.")
        of_data = [name for data in self.data for name in data.tasks]
        of_seeds = [name for other in self.other_seeds for name in other.values]
        unknown = [name for name in [*of_data, *self.single_task, *of_seeds] if name not in names]
        if unknown:
            raise ValueError(f"data, single_task or other_seeds name the unknown tasks {unknown}. Known: {names}.")
        without = [name for name in names if name not in of_data]
        if without:
            raise ValueError(f"data has no data set with the tasks {without}.")

    @classmethod
    def read(cls, folder: str | Path) -> "Results":
        """Read the `results.json` of a folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no such file; it names file and key.
        """
        path = Path(folder, RESULTS)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.parent} has no {RESULTS}: nothing measured was recorded. `tsbn train` does."
            )
        try:
            return read_strictly(cls, path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} holds no results: {error}") from error

    def write(self, folder: str | Path) -> None:
        """Write the `results.json` of a folder.

        Raises:
            OSError: if it cannot be written; what was there is kept.
        """
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically({Path(folder, RESULTS): lambda path: path.write_text(text, encoding="utf-8")})

    def own(self) -> "Results":
        """These results, without those of other runs that are kept beside them."""
        return dataclasses.replace(self, single_task={}, other_seeds=[])

    def over_seeds(self, task: TaskMeasured, metric: Metric) -> Interval | None:
        """The mean of a metric over all seeds, with its interval; None where a run lacks it, or there is one seed.

        Raises:
            ImportError: if scipy is not installed.
        """
        values = [metric.value, *(other.values.get(task.name, {}).get(metric.name) for other in self.other_seeds)]
        known = [value for value in values if value is not None]
        return interval_of(known) if len(known) == len(values) > 1 else None

    def delta_m(self) -> float | None:
        """Δm over all tasks, in percent.

        None where a task lacks its score or that of single-task training, or the latter is not positive.
        """
        own, single_task, higher_is_better = {}, {}, {}
        for task in self.tasks:
            primary, other = task.metrics[0], self.single_task.get(task.name)
            if primary.value is None or other is None or other.value is None or other.value <= 0:
                return None
            own[task.name], single_task[task.name] = primary.value, other.value
            higher_is_better[task.name] = primary.higher_is_better
        return delta_m(own, single_task, higher_is_better)
