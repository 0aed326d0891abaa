"""Which samples a batch has, and what their augmentation draws: both depend on seed and position alone."""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..images import as_image
from ..sample import Sample
from .collate import check_alike
from .origin import note_sample


class Draw(NamedTuple):
    """A sample to be read: what the samplers yield, and `SeededSamples` takes.

    Attributes:
        index: Where it is in the data, or in the concatenation of several data sets.
        seed: Of its augmentation, in [0, 2**63).
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    seed: int


class TrainingBatches(Sampler[list[Draw]]):
    """The shuffled batches of one or several data sets, for the `batch_sampler` of a DataLoader.

    An epoch is a sequence of rounds in random order. A round is batch_size * processes samples of one data set, of
    which process p takes the p-th batch_size. So a batch has one image size, a task's statistics see the data of its
    own set alone, and P processes with batch size B go through the samples of one process with P * B.

    Everything is a function of seed and epoch: no global random generator is read or moved. A draw's seed depends on
    its place in the epoch besides, and not on batch size or processes.

    Args:
        sizes: The number of samples of every data set. An index is one into their concatenation.
        batch_size: Samples a batch and process.
        seed: Draws the order, together with the epoch.
        rates: None: an epoch is a shuffled pass through every set, without the rest that makes no round. Else how often
            each set is drawn from, relative to the others, each > 0: as many rounds as with None, divided by the
            rates (by largest remainder). A set that is used up is shuffled and gone through again, so that a set
            that is smaller than a round has samples several times in one.
        process: Which process this is, in [0, processes).
        processes: How many there are.
        names: Of the data sets, for what is told of them; None: they are numbered.

    Raises:
        ValueError: if a set gets no round, the rates are not positive numbers, one a set, or a number is out of range.

    Example:
        >>> from tsbn_hub.data import TrainingBatches
        >>> batches = TrainingBatches([6, 4], batch_size=2, seed=0)
        >>> batches.set_position(epoch=3)
        >>> whole = [[draw.index for draw in batch] for batch in batches]
        >>> len(batches), sorted(sum(whole, []))
        (5, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        >>> batches.set_position(epoch=3, first_batch=2)  # go on in the midst of the epoch
        >>> [[draw.index for draw in batch] for batch in batches] == whole[2:]
        True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        rates: Sequence[float] | None = None,
        process: int = 0,
        processes: int = 1,
        names: Sequence[str] | None = None,
    ) -> None:
        _check_batches(sizes, batch_size, process, processes)
        if rates is not None:
            check_rates(rates, len(sizes))
        self._sizes, self._seed = list(sizes), seed
        self._round_size = batch_size * processes
        self._own = slice(process * batch_size, (process + 1) * batch_size)
        names = names or [f"Data set {at}" for at in range(len(sizes))]
        self._rounds = _rounds(self._sizes, self._round_size, rates, names)
        self.set_position(epoch=0)

    def set_position(self, epoch: int, first_batch: int = 0) -> None:
        """Let every iteration start at this batch of this epoch, until another position is set.

        Args:
            epoch: Another epoch is another order.
            first_batch: In [0, len(self)]: how many batches this process has had of the epoch. They are skipped
                without being read.

        Raises:
            ValueError: if the epoch has no such batch.
        """
        if not 0 <= first_batch <= len(self):
            raise ValueError(f"first_batch={first_batch}: an epoch has {len(self)} batches.")
        self._epoch, self._first_batch = epoch, first_batch

    def __len__(self) -> int:
        """The batches that a process has in a whole epoch."""
        return sum(self._rounds)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = _generator(f"{self._seed} {self._epoch}")
        seeds = _seeds(len(self) * self._round_size, generator)  # first: the k-th is the same in any epoch size
        indices = _spread(self._indices_by_set(generator), self._rounds, generator)
        draws = torch.stack([indices, seeds.view_as(indices)], dim=-1)
        return (_draws(draws[at, self._own]) for at in range(self._first_batch, len(self)))

    def _indices_by_set(self, generator: torch.Generator) -> Tensor:
        """The rounds of the first set, then those of the second, and so on: (rounds, round size)."""
        starts = accumulate(self._sizes, initial=0)
        sets = [
            start + _shuffled_passes(size, rounds * self._round_size, generator)
            for start, size, rounds in zip(starts, self._sizes, self._rounds, strict=False)
        ]
        return torch.cat(sets).view(-1, self._round_size)


class EvaluationBatches(Sampler[list[Draw]]):
    """Every sample once, in order, for the `batch_sampler` of a DataLoader.

    A batch has samples of one data set; the last one of a set may be smaller. Process p takes every P-th batch from
    the p-th on, so that one may have a batch more than another. A draw's seed depends on its index alone.

    Args:
        sizes: The number of samples of every data set. An index is one into their concatenation.
        batch_size: Samples a batch and process.
        process: Which process this is, in [0, processes).
        processes: How many there are.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> from tsbn_hub.data import EvaluationBatches
        >>> [[draw.index for draw in batch] for batch in EvaluationBatches([3, 2], batch_size=2)]
        [[0, 1], [2], [3, 4]]
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, process: int = 0, processes: int = 1) -> None:
        _check_batches(sizes, batch_size, process, processes)
        ends = list(accumulate(sizes))
        batches = [
            slice(first, min(first + batch_size, end))
            for size, end in zip(sizes, ends, strict=True)
            for first in range(end - size, end, batch_size)
        ]
        self._size = ends[-1]
        self._batches = batches[process::processes]

    def __len__(self) -> int:
        """The batches of this process."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = torch.stack([torch.arange(self._size), _seeds(self._size, _generator("evaluation"))], dim=-1)
        return (_draws(draws[batch]) for batch in self._batches)


class SeededSamples(Dataset[Sample]):
    """The samples of a data set, read by `Draw`: whatever they draw at random comes from the draw's seed.

    So random augmentation is the same for any number of worker processes, after resuming, and whatever else draws
    random numbers. The seed holds for the global CPU generators of torch, NumPy and `random`. After the sample they
    are as they were.

    Args:
        data: Any data set with a length. An error in reading one of its samples gets a note with its index and file.
        check: Raises for a sample that is not as it should be; images of one batch are compared besides. None: nothing
            is checked.
        augment: Changes each sample after it was checked, at random by the same seed, and keeps the size of its image.
            None: nothing does.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from tsbn_hub.data import MultiDigits, SeededSamples, TrainingBatches
        >>> data = MultiDigits("train")
        >>> batches = TrainingBatches([len(data)], batch_size=64, seed=0)
        >>> next(iter(DataLoader(SeededSamples(data), batch_sampler=batches)))["image"].shape
        torch.Size([64, 1, 32, 32])
    """

    def __init__(
        self,
        data: Dataset[Sample],
        check: Callable[[Sample], None] | None = None,
        augment: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self.data, self.check, self.augment = data, check, augment

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Sample:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Sample]:
        """What a DataLoader calls for a batch. Keeping NumPy's state takes longer than seeding: it is done once."""
        samples: list[Sample] = []
        with _global_generators_kept():
            for draw in draws:
                samples.append(self._sample(draw, samples[:1]))
        return samples

    def _sample(self, draw: Draw, first: list[Sample]) -> Sample:
        """A sample, which must be like the first one of its batch, if there is one."""
        _seed_global_generators(draw.seed)
        try:
            sample: Sample = self.data[draw.index]
            if self.check is not None:
                self.check(sample)
                check_alike([as_image(each["image"]) for each in (*first, sample)], "images")
            if self.augment is not None:
                sample = self.augment(sample)
        except Exception as error:
            note_sample(error, self.data, draw.index)
            raise
        return sample


def check_rates(rates: Sequence[float], sets: int) -> None:
    """Raise ValueError unless the rates are positive numbers, one a data set."""
    if len(rates) != sets or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"rates={list(rates)} must be positive numbers, one for each of the {sets} data sets.")


def _check_batches(sizes: Sequence[int], batch_size: int, process: int, processes: int) -> None:
    if not sizes:
        raise ValueError("sizes=[]: there must be at least one data set.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be positive.")
    if not 0 <= process < processes:
        raise ValueError(f"process={process} must lie in [0, processes), and processes={processes}.")


def _rounds(sizes: Sequence[int], round_size: int, rates: Sequence[float] | None, names: Sequence[str]) -> list[int]:
    """How many rounds of an epoch each set gets."""
    rounds = [size // round_size for size in sizes]
    if rates is not None:
        rounds = _divided(sum(rounds), rates)
    for at, size in enumerate(sizes):
        if size < 1 or rounds[at] < 1:
            raise ValueError(
                f"{names[at]} gives no batch in an epoch: it has {size} samples, and a batch takes batch_size * "
                f"processes = {round_size}. Take a smaller batch_size{'' if rates is None else ', or a greater rate'}."
            )
    return rounds


def _divided(total: int, rates: Sequence[float]) -> list[int]:
    """The total in whole parts as proportional to the rates as can be, by the method of largest remainder."""
    exact = [total * (rate / sum(rates)) for rate in rates]
    parts = [math.floor(part) for part in exact]
    by_remainder = sorted(range(len(rates)), key=lambda at: parts[at] - exact[at])
    for at in by_remainder[: total - sum(parts)]:
        parts[at] += 1
    return parts


def _shuffled_passes(size: int, count: int, generator: torch.Generator) -> Tensor:
    """The numbers below size in random order, then in another one, and so on: (count,)."""
    passes = [torch.randperm(size, generator=generator) for _ in range(math.ceil(count / size))]
    return torch.cat(passes)[:count]


def _spread(rows_by_set: Tensor, rows: Sequence[int], generator: torch.Generator) -> Tensor:
    """The sets' rows mixed at random. The rows of one set stay in order: it is used up before it comes again."""
    sets = torch.repeat_interleave(torch.tensor(rows))
    sets = sets[torch.randperm(len(sets), generator=generator)]
    places = sets.argsort(stable=True)
    return torch.empty_like(rows_by_set).index_copy_(0, places, rows_by_set)


def _generator(name: str) -> torch.Generator:
    """Neighbouring seeds and epochs in the name give unrelated numbers, everywhere the same."""
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]))


def _seeds(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2**63 - 1, (count,), generator=generator)


def _draws(pairs: Tensor) -> list[Draw]:
    return [Draw(*pair) for pair in pairs.tolist()]


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _seed_global_generators(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too
    # torch takes the low 32 bits. NumPy has the same algorithm, and would draw the same numbers from the same bits.
    np.random.seed(seed >> 32)
    random.seed(seed)
