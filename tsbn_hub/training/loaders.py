"""Batches of a data set for one process."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data import Collate, Draw, EvaluationBatches, Mixture, SeededSamples, TrainingBatches
from ..data.sample import Batch, Sample
from ..tasks import Kind
from .recipe.config import TrainingConfig
from .state.signals import MainProcessStops

Normalize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Loaders:
    """Makes batches of any data of a run.

    Args:
        config: Of the run: the size of a batch, the seed of the order, the workers.
        kinds: The kind of each task.
        normalize: What the model does to images, (B, C, H, W), whose values are from 0 to 1.
        accelerator: Of this process, which gets its own part of the data.
    """

    config: TrainingConfig
    kinds: Mapping[str, Kind]
    normalize: Normalize
    accelerator: Accelerator

    def training_steps(self, data: Mixture) -> "TrainingSteps":
        """The optimizer steps of training data.

        Raises:
            ValueError: if a data set is smaller than a batch, or the data smaller than a step.
        """
        config, accelerator = self.config, self.accelerator
        batches = TrainingBatches(
            data.sizes,
            config.batch_size,
            config.seed,
            data.rates,
            accelerator.process_index,
            accelerator.num_processes,
        )
        steps = TrainingSteps(batches, self._loader(data, batches), config.gradient_accumulation_steps)
        if not len(steps):
            raise ValueError(
                f"The training data give {len(batches)} batches of {config.batch_size} an epoch and process, "
                f"and a step takes gradient_accumulation_steps={config.gradient_accumulation_steps}: choose a smaller "
                "one."
            )
        return steps

    def evaluation_batches(self, data: Mixture) -> DataLoader[Sample]:
        """This process's part of all samples, each once over all processes, in order."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        return self._loader(data, EvaluationBatches(data.sizes, 4 * self.config.batch_size, process, processes))

    def _loader(self, data: Mixture, batches: Sampler[list[Draw]]) -> DataLoader[Sample]:
        return DataLoader(
            SeededSamples(data, check=partial(check_sample, self.kinds)),
            batch_sampler=batches,
            collate_fn=Collate({name: kind.missing for name, kind in self.kinds.items()}, self.normalize),
            num_workers=self.config.workers,
            worker_init_fn=MainProcessStops() if self.config.workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
            # Its own generator: what a loader draws for its workers must not move the generator that dropout reads.
            generator=torch.Generator(),
        )


class TrainingSteps:
    """The optimizer steps of an epoch: for each, its micro-batches.

    Args:
        batches: What the loader draws its samples by.
        loader: Of the training data.
        micro_batches: How many batches a step takes. The rest of an epoch that makes no step is left out.
    """

    def __init__(self, batches: TrainingBatches, loader: DataLoader[Sample], micro_batches: int) -> None:
        self._batches, self._loader, self._micro_batches = batches, loader, micro_batches

    def __len__(self) -> int:
        return len(self._batches) // self._micro_batches

    def of_epoch(self, epoch: int, done: int = 0) -> Iterator[list[Batch]]:
        """The steps of an epoch but the first `done`, whose samples are not read."""
        if done == len(self):
            return
        self._batches.set_position(epoch, done * self._micro_batches)
        batches = iter(self._loader)
        while len(step := list(islice(batches, self._micro_batches))) == self._micro_batches:
            yield step


def check_sample(kinds: Mapping[str, Kind], sample: Sample) -> None:
    """Raise ValueError unless the targets of a sample are what their tasks' kinds say."""
    height, width = sample["image"].shape[-2:]
    for name, target in sample["targets"].items():
        if name in kinds:
            try:
                kinds[name].check(torch.as_tensor(target)[None], (height, width))
            except ValueError as error:
                raise ValueError(f"The target of task {name!r}: {error}") from error


def first_sample(data: Dataset[Sample]) -> Sample:
    """A sample, for the shape of the images."""
    return SeededSamples(data)[Draw(0, 0)]


def labelled(data: Dataset[Sample], names: Iterable[str], samples: int = 256) -> dict[str, float]:
    """The part of the samples that has a target of a task, in [0, 1], from some evenly spread over the data."""
    size = len(data)  # type: ignore[arg-type]
    chosen = range(0, size, max(1, size // samples))
    targets = [SeededSamples(data)[Draw(index, 0)]["targets"] for index in chosen]
    return {name: sum(name in given for given in targets) / len(targets) for name in names}
