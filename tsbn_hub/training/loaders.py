"""Batches of a data set for one process."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from multiprocessing import active_children
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data import Collate, Draw, EvaluationBatches, Mixture, SeededSamples, TrainingBatches
from ..data.batches.origin import name_of
from ..data.images import as_image, scaled
from ..data.sample import Batch, Sample, check_sample
from ..tasks import Kind
from .recipe.config import TrainingConfig
from .state.signals import MainProcessStops

Normalize = Callable[[Tensor], Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Loaders:
    """Makes batches of any data of a run.

    Args:
        config: Of the run: the sizes of batches, the seed of the order, the workers.
        kinds: The kind of each task.
        normalize: What the model does to images, (B, C, H, W), whose values are from 0 to 1.
        accelerator: Of this process, which gets its own part of the data.
        channels: Of the images that the model takes; None: any.
        augment: Changes training samples at random; None: nothing does.
    """

    config: TrainingConfig
    kinds: Mapping[str, Kind]
    normalize: Normalize
    accelerator: Accelerator
    channels: int | None = None
    augment: Callable[[Sample], Sample] | None = None

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
            names=[name_of(part) for part in data.datasets],
        )
        steps = TrainingSteps(batches, self._loader(data, batches, self.augment), config.gradient_accumulation_steps)
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
        size = self.config.eval_batch_size or self.config.batch_size
        return self._loader(data, EvaluationBatches(data.sizes, size, process, processes))

    @cached_property
    def _stopping(self) -> MainProcessStops:
        """One for all loaders: it waits for their workers at the process's end."""
        return MainProcessStops()

    def _loader(
        self, data: Mixture, batches: Sampler[list[Draw]], augment: Callable[[Sample], Sample] | None = None
    ) -> DataLoader[Sample]:
        # Of several processes, one that raised alone would leave the others waiting. What is not finite shows in the
        # loss, which all of them see.
        finite = self.accelerator.num_processes == 1
        return WorkersTold(
            SeededSamples(data, partial(check_of_tasks, self.kinds, channels=self.channels, finite=finite), augment),
            batch_sampler=batches,
            collate_fn=Collate({name: kind.missing for name, kind in self.kinds.items()}, self.normalize),
            num_workers=self.config.workers,
            worker_init_fn=self._stopping if self.config.workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
            # Its own generator: what a loader draws for its workers must not move the generator that dropout reads.
            generator=torch.Generator(),
        )


class WorkersTold(DataLoader[T]):
    """A DataLoader that tells of a worker that has ended, whichever of the two found its connection broken first."""

    def __iter__(self) -> Any:
        before = active_children()
        batches = super().__iter__()
        workers = [child for child in active_children() if child not in before]
        if isinstance(self.worker_init_fn, MainProcessStops):
            self.worker_init_fn.wait_for(workers)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (ConnectionError, EOFError) as error:
                ended = [str(worker.pid) for worker in workers if not worker.is_alive()]
                if not ended:
                    raise
                raise RuntimeError(f"DataLoader worker (pid {', '.join(ended)}) exited unexpectedly.") from error
            yield batch


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


def check_of_tasks(kinds: Mapping[str, Kind], sample: Sample, channels: int | None = None, finite: bool = True) -> None:
    """Raise ValueError unless the image of a sample is one, and its targets are what their tasks' kinds say.

    Args:
        kinds: The kind of each task; targets of others are left out.
        sample: What a data set has yielded.
        channels: Of the image; None: any.
        finite: Refuse an image with values that are NaN or infinite.
    """
    check_sample(sample, finite)
    given, height, width = sample["image"].shape
    if channels not in (None, given):
        raise ValueError(f"An image has {given} channels; the model takes {channels}, as the first image has.")
    for name, target in sample["targets"].items():
        if name in kinds:
            try:
                kinds[name].check(_as_target(target)[None], (height, width))
            except ValueError as error:
                raise ValueError(f"The target of task {name!r}: {error}") from error


def _as_target(target: object) -> Tensor:
    try:
        return torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{target!r} is no number and no tensor. Where a sample has no target of a task, leave its name out."
        ) from error


def first_image(data: Dataset[Sample]) -> Tensor:
    """The first image, checked, (C, H, W): the others have as many channels.

    Raises:
        ValueError: if it is none; it names the data set.
    """
    return as_image(SeededSamples(data, check_sample)[Draw(0, 0)]["image"])


def check_scale(image: Tensor, normalize: Normalize) -> None:
    """Refuse an image that would be normalised twice, and warn of one whose values are far from those of image files.

    Args:
        image: (C, H, W), of the data.
        normalize: What becomes of it, where values are from 0 to 1.

    Raises:
        ValueError: if it seems to be normalised already.
    """
    low, high = (value.item() for value in scaled(image).aminmax())
    if low >= -0.5 and high <= 1.5:
        return
    said = f"The values of the first image go from {low:.3g} to {high:.3g}; expected are values from 0 to 1"
    if not isinstance(normalize, nn.Identity):
        raise ValueError(f"{said}, which are then normalised as the pretrained weights were: normalise none before.")
    warnings.warn(f"{said}, as predictions for image files get them.", stacklevel=2)


def labelled(data: Dataset[Sample], names: Iterable[str], samples: int = 256) -> dict[str, float]:
    """The part of the samples that has a target of a task, in [0, 1], from some evenly spread over the data."""
    size = len(data)  # type: ignore[arg-type]
    chosen = range(0, size, max(1, size // samples))
    checked = SeededSamples(data, check_sample)
    targets = [checked[Draw(index, 0)]["targets"] for index in chosen]
    return {name: sum(name in given for given in targets) / len(targets) for name in names}
