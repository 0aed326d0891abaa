"""Several data sets as one, and the part of a data set that is held out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, random_split

from .overlay import Sample
from .sampling import check_rates


class Mixture(ConcatDataset[Sample]):
    """Several data sets, each with its own tasks, as one: their samples one after the other.

    A task that several have is one task, and gets the targets of all of them.

    Args:
        datasets: At least one. Each says its tasks: `num_classes = {task: number}`.
        rates: How often each is drawn from in training, relative to the others, each > 0; None: by its size. See
            `TrainingBatches`.

    Attributes:
        num_classes: The number of classes of every task, in the order of the data sets.

    Raises:
        ValueError: if two data sets have a task with different numbers of classes, one does not say its tasks, there
            is none, or the rates are not positive numbers, one a data set.

    Example:
        >>> from tsbn_hub.data import Mixture, MultiDigits
        >>> mixture = Mixture([MultiDigits("train"), MultiDigits("test")], rates=[2, 1])
        >>> len(mixture), mixture.sizes, mixture.num_classes
        (13188, [12000, 1188], {'left': 10, 'right': 10})
    """

    def __init__(self, datasets: Sequence[Dataset[Sample]], rates: Sequence[float] | None = None) -> None:
        if not datasets:
            raise ValueError("A mixture needs at least one data set.")
        super().__init__(datasets)
        if rates is not None:
            check_rates(rates, len(datasets))
        self.rates = rates if rates is None else list(rates)
        self.num_classes = _merged_num_classes(self.datasets)

    @property
    def sizes(self) -> list[int]:
        """The number of samples of every data set."""
        return [end - start for start, end in zip([0, *self.cumulative_sizes], self.cumulative_sizes, strict=False)]

    def split_off(self, fraction: float, seed: int = 0) -> tuple["Mixture", "Mixture"]:
        """The mixture without a fraction of every data set, and the mixture of these fractions. See `split_off`."""
        kept, held_out = zip(*(split_off(data, fraction, seed) for data in self.datasets), strict=True)
        return Mixture(kept, self.rates), Mixture(held_out, self.rates)


def split_off(data: Any, fraction: float, seed: int = 0) -> tuple[Any, Any]:
    """A data set without a random fraction of it, and this fraction.

    A data set whose samples share something (an image, a person) has a method `split_off(fraction, seed)` of its own,
    so that the two parts share nothing. Any other is split sample by sample.

    Args:
        data: Any data set with a length.
        fraction: The part to split off, in (0, 1).
        seed: Draws it.

    Returns:
        Two data sets with the tasks of `data`.

    Raises:
        ValueError: if the fraction is not in (0, 1).

    Example:
        >>> from tsbn_hub.data import MultiDigits, split_off
        >>> kept, held_out = split_off(MultiDigits("train"), 0.1)
        >>> len(kept), len(held_out)
        (10800, 1200)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} must lie in (0, 1).")
    if hasattr(data, "split_off"):
        split: tuple[Any, Any] = data.split_off(fraction, seed)
        return split
    generator = torch.Generator().manual_seed(seed)
    kept, held_out = random_split(data, [1 - fraction, fraction], generator)
    return _Part(data, kept.indices), _Part(data, held_out.indices)


class _Part(Subset[Any]):
    """Some samples of a data set, with its tasks."""

    @property
    def num_classes(self) -> Mapping[str, int]:
        return self.dataset.num_classes  # type: ignore[attr-defined]


def _merged_num_classes(datasets: Sequence[Dataset[Any]]) -> dict[str, int]:
    merged: dict[str, int] = {}
    first: dict[str, str] = {}  # the data set that had the task first
    for at, data in enumerate(datasets):
        name = f"data set {at} ({type(data).__name__})"
        classes = getattr(data, "num_classes", None)
        if not isinstance(classes, Mapping):
            raise ValueError(f"{name} must say its tasks and numbers of classes: num_classes = {{task: number}}.")
        for task, number in classes.items():
            if merged.setdefault(task, number) != number:
                raise ValueError(
                    f"Task {task!r} has {merged[task]} classes in {first[task]}, but {number} in {name}. Rename it in "
                    "one of them if these are two tasks."
                )
            first.setdefault(task, name)
    return merged
