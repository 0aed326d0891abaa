"""The part of a data set that is held out."""

from collections.abc import Iterable

import torch
from torch.utils.data import Dataset, Subset, random_split

from ..tasks import Task
from .sample import Sample, tasks_of


def split_off(data: Dataset[Sample], fraction: float, seed: int = 0) -> tuple[Dataset[Sample], Dataset[Sample]]:
    """A data set without a random fraction of it, and this fraction.

    A data set whose samples share something (an image, a person) has a method `split_off(fraction, seed)` of its own,
    so that the two parts share nothing. One that comes with a validation split gives that, whatever the fraction, and
    says so by its attribute `validation_split`, a name. Any other is split sample by sample; of two or more, at least
    one is split off.

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
        kept, held_out = data.split_off(fraction, seed)
        return kept, held_out
    generator = torch.Generator().manual_seed(seed)
    size = len(data)  # type: ignore[arg-type]
    rounds_to_none = size > 1 and int(size * fraction) == 0
    kept, held_out = random_split(data, [size - 1, 1] if rounds_to_none else [1 - fraction, fraction], generator)
    return _Part(data, kept.indices), _Part(data, held_out.indices)


def told_of_split(datasets: Iterable[object], fraction: float) -> str:
    """What `split_off` splits off, for the end of a sentence.

    Args:
        datasets: What is split, or other splits of it.
        fraction: As `split_off` takes it.

    Example:
        >>> from tsbn_hub.data import MultiDigits
        >>> from tsbn_hub.data.splitting import told_of_split
        >>> told_of_split([MultiDigits("test")], 0.1)
        '10% of the training data, which were held out'
    """
    names = dict.fromkeys(getattr(data, "validation_split", None) for data in datasets)
    drawn = f"{100 * fraction:g}% of the training data, which were held out"
    return " and ".join(drawn if name is None else name for name in names)


class _Part(Subset[Sample]):
    """Some samples of a data set, with its tasks."""

    @property
    def tasks(self) -> list[Task]:
        return tasks_of(self.dataset)
