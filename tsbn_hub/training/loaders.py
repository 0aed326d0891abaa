"""Batches of a data set for one process."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data import Collate, Draw, EvaluationBatches, Mixture, SeededSamples, TrainingBatches
from ..tasks import Kind
from .recipe.config import TrainingConfig
from .state.signals import ignore_stop_signals

Normalize = Callable[[Tensor], Tensor]


class TrainingSteps:
    """The optimizer steps of an epoch: for each, its micro-batches.

    Args:
        data: The training data.
        config: Of the run.
        kinds: The kind of each task.
        normalize: What the model does to images, (B, C, H, W), whose values are from 0 to 1.
        accelerator: Of this process.

    Raises:
        ValueError: if a data set is smaller than a batch, or the data smaller than a step.
    """

    def __init__(
        self,
        data: Mixture,
        config: TrainingConfig,
        kinds: Mapping[str, Kind],
        normalize: Normalize,
        accelerator: Accelerator,
    ) -> None:
        self._micro_batches = config.gradient_accumulation_steps
        self._batches = TrainingBatches(
            data.sizes,
            config.batch_size,
            config.seed,
            data.rates,
            accelerator.process_index,
            accelerator.num_processes,
        )
        self._loader = _loader(data, self._batches, config, kinds, normalize, accelerator)
        if not len(self):
            raise ValueError(
                f"The training data give {len(self._batches)} batches of {config.batch_size} an epoch and process, "
                f"and a step takes gradient_accumulation_steps={self._micro_batches}: choose a smaller one."
            )

    def __len__(self) -> int:
        return len(self._batches) // self._micro_batches

    def of_epoch(self, epoch: int, done: int = 0) -> Iterator[list[Any]]:
        """The steps of an epoch but the first `done`, whose samples are not read."""
        if done == len(self):
            return
        self._batches.set_position(epoch, done * self._micro_batches)
        batches = iter(self._loader)
        while len(step := list(islice(batches, self._micro_batches))) == self._micro_batches:
            yield step


def evaluation_batches(
    data: Mixture,
    config: TrainingConfig,
    kinds: Mapping[str, Kind],
    normalize: Normalize,
    accelerator: Accelerator,
) -> DataLoader[Any]:
    """This process's part of all samples, each once over all processes, in order."""
    batches = EvaluationBatches(data.sizes, 4 * config.batch_size, accelerator.process_index, accelerator.num_processes)
    return _loader(data, batches, config, kinds, normalize, accelerator)


def _loader(
    data: Mixture,
    batches: Sampler[list[Draw]],
    config: TrainingConfig,
    kinds: Mapping[str, Kind],
    normalize: Normalize,
    accelerator: Accelerator,
) -> DataLoader[Any]:
    return DataLoader(
        SeededSamples(data, check=partial(check_sample, kinds)),
        batch_sampler=batches,
        collate_fn=Collate({name: kind.missing for name, kind in kinds.items()}, normalize),
        num_workers=config.workers,
        worker_init_fn=ignore_stop_signals,
        pin_memory=accelerator.device.type == "cuda",
        # Its own generator: what a loader draws for its workers must not move the generator that dropout reads.
        generator=torch.Generator(),
    )


def check_sample(kinds: Mapping[str, Kind], sample: Mapping[str, Any]) -> None:
    """Raise ValueError unless the targets of a sample are what their tasks' kinds say."""
    size = tuple(sample["image"].shape[-2:])
    for name, target in sample["targets"].items():
        if name in kinds:
            try:
                kinds[name].check(torch.as_tensor(target)[None], size)
            except ValueError as error:
                raise ValueError(f"The target of task {name!r}: {error}") from error


def first_sample(data: Dataset[Any]) -> Mapping[str, Any]:
    """A sample, for the shape of the images."""
    sample: Mapping[str, Any] = SeededSamples(data)[Draw(0, 0)]
    return sample


def labelled(data: Dataset[Any], names: Iterable[str], samples: int = 256) -> dict[str, float]:
    """The part of the samples that has a target of a task, in [0, 1], from some evenly spread over the data."""
    size = len(data)  # type: ignore[arg-type]
    chosen = range(0, size, max(1, size // samples))
    seen = [SeededSamples(data)[Draw(at, 0)]["targets"].keys() for at in chosen]
    return {name: sum(name in each for each in seen) / len(seen) for name in names}
