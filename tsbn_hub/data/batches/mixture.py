"""Several data sets as one, and the part of a data set that is held out."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from ...tasks import Task
from ..sample import Sample, tasks_of
from ..splitting import split_off
from .sampling import check_rates


class Mixture(ConcatDataset[Sample]):
    """Several data sets, each with its own tasks, as one: their samples one after the other.

    A task that several have is one task, and gets the targets of all of them.

    Args:
        datasets: At least one. Each says its tasks: see `tasks_of`.
        rates: How often each is drawn from in training, relative to the others, each > 0; None: by its size. See
            `TrainingBatches`.

    Attributes:
        tasks: All tasks, in the order of the data sets.

    Raises:
        ValueError: if two data sets have different tasks of one name, one does not say its tasks, or has no length and
            index, there is none, or the rates are not positive numbers, one a data set.

    Example:
        >>> from tsbn_hub.data import Mixture, MultiDigits
        >>> mixture = Mixture([MultiDigits("train"), MultiDigits("test")], rates=[2, 1])
        >>> len(mixture), mixture.sizes, [task.name for task in mixture.tasks]
        (13188, [12000, 1188], ['left', 'right'])
    """

    def __init__(self, datasets: Sequence[Dataset[Sample]], rates: Sequence[float] | None = None) -> None:
        if not datasets:
            raise ValueError("A mixture needs at least one data set.")
        for at, data in enumerate(datasets):
            if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
                raise ValueError(
                    f"Data set {at} ({type(data).__name__}) has no length and index: samples are drawn by number, "
                    "in an order that can be resumed. Make it a torch.utils.data.Dataset with __len__ and __getitem__."
                )
        super().__init__(datasets)
        if rates is not None:
            check_rates(rates, len(datasets))
        self.rates = rates if rates is None else list(rates)
        self.tasks = _merged_tasks(self.datasets)

    @property
    def sizes(self) -> list[int]:
        """The number of samples of every data set."""
        return [end - start for start, end in zip([0, *self.cumulative_sizes], self.cumulative_sizes, strict=False)]

    def split_off(self, fraction: float, seed: int = 0) -> tuple["Mixture", "Mixture"]:
        """The mixture without a fraction of every data set, and the mixture of these fractions. See `split_off`."""
        kept, held_out = zip(*(split_off(data, fraction, seed) for data in self.datasets), strict=True)
        return Mixture(kept, self.rates), Mixture(held_out, self.rates)


def _merged_tasks(datasets: Sequence[Dataset[Any]]) -> list[Task]:
    merged: dict[str, Task] = {}
    first: dict[str, str] = {}  # the data set that had the task first
    for at, data in enumerate(datasets):
        name = f"data set {at} ({type(data).__name__})"
        for task in tasks_of(data):
            if merged.setdefault(task.name, task) != task:
                raise ValueError(
                    f"A task is {merged[task.name].to_dict()} in {first[task.name]}, but {task.to_dict()} in {name}. "
                    "Rename it in one of them if these are two tasks."
                )
            first.setdefault(task.name, name)
    return list(merged.values())
