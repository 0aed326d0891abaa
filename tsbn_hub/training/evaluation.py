"""Scoring a model on a data set."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, send_to_device
from torch import Tensor, nn

from ..data.images import as_input
from ..data.sample import Batch
from ..files.registry import did_you_mean
from ..models.outputs import outputs_by_task
from ..norms import unwrapped
from ..tasks import Kind
from .not_finite import NotFiniteError

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

Scores = dict[str, dict[str, float]]

Watch = Callable[[Batch, Mapping[str, Tensor]], None]
"""Is told of each batch, and of what the model gives for it by task, (B, …), for the tasks it has targets for."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    kinds: Mapping[str, Kind],
    accelerator: Accelerator | None = None,
    watch: Watch | None = None,
) -> Scores:
    """Every task's metrics over a data set, or several.

    A batch is run for the tasks that it has targets for. What the processes saw is joined exactly, so each may have
    any number of batches.

    Args:
        model: Returns a dict by task, or, for one task, its output; it is left in evaluation mode. What is wrapped
            around it, for distributed training, compiled or averaged, is left out. All processes take the buffers of
            the first one.
        batches: The batches of this process: `{"image": (B, C, H, W), "targets": {task: …}}`, on any device. Images are
            prepared, or bytes (uint8), which are divided by 255.
        kinds: The kind of each task.
        accelerator: Of this process; None: there is but one, and the model stays on its device.
        watch: Is told of every batch of this process, once it is scored; None: nobody is.

    Returns:
        By task, the metrics of its kind; NaN for a task that no sample has a target for.

    Raises:
        ValueError: if a batch has other than one target for each image, the first targets of a task are none of its
            kind, images are neither bytes nor floating-point numbers, or the model gives NaN.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.tasks import Classification
        >>> from tsbn_hub.training import evaluate
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 4})
        >>> batch = {"image": torch.rand(8, 3, 64, 64), "targets": {"left": torch.arange(8)}}
        >>> scores = evaluate(model, [batch], {"left": Classification(10), "right": Classification(4)})
        >>> {task: list(metrics) for task, metrics in scores.items()}
        {'left': ['accuracy'], 'right': ['accuracy']}
    """
    accelerator = accelerator or Accelerator()
    model = unwrapped(model).eval()
    broadcast(list(model.buffers()))  # until here, each process has statistics of its own
    device = next(model.parameters()).device
    metrics = TaskMetrics(kinds, device)
    checked: set[str] = set()
    for batch in batches:
        present = [name for name in kinds if name in batch["targets"]]
        if not present:
            if watch is not None:
                watch(batch, {})
            continue
        batch = send_to_device(batch, device, non_blocking=True)
        with accelerator.autocast():
            outputs = outputs_by_task(model, as_input(batch["image"], model), present)
        for name in present:
            target = batch["targets"][name]
            if len(target) != len(batch["image"]):
                raise ValueError(f"A batch has {len(batch['image'])} images, and {len(target)} targets of {name!r}.")
            if name not in checked:
                kinds[name].check(target, (batch["image"].shape[-2], batch["image"].shape[-1]))
                checked.add(name)
            metrics.update(name, outputs[name], target)
        if watch is not None:
            watch(batch, outputs)
    return metrics.compute()


class TaskMetrics:
    """The metrics of all tasks, batch by batch.

    Args:
        kinds: The kind of each task.
        device: Of outputs and targets.
    """

    def __init__(self, kinds: Mapping[str, Kind], device: torch.device) -> None:
        self._kinds = kinds
        # Imported only here, as the metrics are: a program that scores nothing does not wait for torchmetrics.
        from torchmetrics import SumMetric

        self._metrics: dict[str, MetricCollection] = {
            name: kind.new_metrics().to(device) for name, kind in kinds.items()
        }
        self._not_numbers = {name: SumMetric().to(device) for name in kinds}
        for metric in self._not_numbers.values():
            metric.update(0)  # a metric of torchmetrics warns where it was never updated

    def update(self, name: str, output: Tensor, target: Tensor) -> None:
        """Add a task's batch: its outputs and targets."""
        self._not_numbers[name].update(output.isnan().any())
        self._metrics[name].update(self._kinds[name].predict(output), target)

    def compute(self, distributed: bool = True) -> Scores:
        """The metrics by task; over all processes, or of this one alone.

        Raises:
            NotFiniteError: if an output was NaN, which no metric tells from a bad one.
        """
        scores = {}
        for name, collection in sorted(self._metrics.items()):  # every process joins them in the same order
            self._not_numbers[name].sync_on_compute = distributed
            if self._not_numbers[name].compute():
                raise NotFiniteError(
                    f"What the model gives for the task {name!r} is NaN for some images: its weights or statistics are "
                    "broken, or the images are not finite."
                )
            for metric in collection.values(copy_state=False):
                metric.sync_on_compute = distributed
            values = collection.compute()
            scores[name] = {metric: float(values[metric]) for metric in self._kinds[name].metrics}
        return {name: scores[name] for name in self._kinds}


def check_chosen_by(kinds: Mapping[str, Kind], chosen_by: Mapping[str, str]) -> None:
    """Refuse what cannot choose the best epoch.

    Args:
        kinds: The kind of each task.
        chosen_by: By task, the name of a metric.

    Raises:
        ValueError: if there is no such task, or it has no such metric.
    """
    for task, metric in chosen_by.items():
        if task not in kinds:
            raise ValueError(
                f"chosen_by: there is no task {task!r}.{did_you_mean(task, list(kinds))} There are {list(kinds)}."
            )
        known = list(kinds[task].metrics)
        if metric not in known:
            raise ValueError(
                f"chosen_by: the task {task!r} has no metric {metric!r}.{did_you_mean(str(metric), known)} "
                f"It has {known}."
            )


def mean_score(kinds: Mapping[str, Kind], scores: Scores, chosen_by: Mapping[str, str] | None = None) -> float:
    """What the best epoch is chosen by: the mean over tasks of `chosen_scores`.

    Args:
        kinds: The kind of each task.
        scores: By task, its metrics.
        chosen_by: By task, the metric that counts; others do not. None, or empty: all tasks, by what their kinds say.

    Raises:
        ValueError: if no metric of any task is defined, or one of `chosen_by` is not.
    """
    known = chosen_scores(kinds, scores, chosen_by)
    if not known:
        raise ValueError(
            f"No metric of {list(scores)} is defined on the validation split: it has no target of theirs, or none that "
            "can be scored, such as edges without a true pixel. There is nothing to choose the best epoch by: hold out "
            "a greater part of the training data (validation)."
        )
    return sum(known) / len(known)


def chosen_scores(kinds: Mapping[str, Kind], scores: Scores, chosen_by: Mapping[str, str] | None = None) -> list[float]:
    """Of each task with a metric that is defined, the score that lets the best epoch be chosen: higher is better.

    A metric of which lower is better, where it is asked for, or the one in [0, 1] is not defined, counts as
    `score_of_error` says.
    """
    chosen = []
    for name, values in scores.items():
        if chosen_by and name not in chosen_by:
            continue
        asked = (chosen_by or {}).get(name)
        metric = chosen_metric(kinds[name], values, asked)
        if asked is not None and metric != asked:
            raise ValueError(
                f"chosen_by: {asked} of {name!r} is not defined on the validation split, as r2 of equal numbers. "
                "Choose another metric, or hold out a greater part of the training data (validation)."
            )
        if metric is not None:
            chosen.append(values[metric] if kinds[name].metrics[metric] else score_of_error(values[metric]))
    return chosen


def score_of_error(error: float) -> float:
    """A number that is the higher the lower an error is, in (0, 1] for one that is not negative.

    It is 1 / (1 + e), and 1 - e below 0, where negative log-likelihoods go on: continuous, and falling everywhere.

    Example:
        >>> from tsbn_hub.training.evaluation import score_of_error
        >>> [score_of_error(error) for error in (-2.0, -1.0, 0.0, 1.0, 3.0)]
        [3.0, 2.0, 1.0, 0.5, 0.25]
    """
    return 1 / (1 + error) if error >= 0 else 1 - error


def chosen_metric(kind: Kind, values: Mapping[str, float | None], asked: str | None = None) -> str | None:
    """The metric that is asked for, else by which a kind lets the best epoch be chosen, or the first that is defined.

    Equal targets, or a single one, have no r2, say. None: no metric is defined.
    """
    for metric in (asked or kind.chosen_by, *kind.metrics):
        value = values.get(metric)
        if value is not None and not math.isnan(value):
            return metric
    return None
