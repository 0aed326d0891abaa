"""Scoring a model on a data set."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..tasks import Classification


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Any], tasks: dict[str, Classification], accelerator: Accelerator
) -> dict[str, float]:
    """Every task's metric over a data set.

    Args:
        model: Returns a dict by task, or, for one task, its output.
        batches: Prepared by the accelerator: `{"image": (B, C, H, W), "targets": {task: (B,)}}`.
        tasks: The kind of each task.
        accelerator: Adds up what several processes saw.

    Returns:
        The metric by task; NaN for a task that no sample has a target for.
    """
    model.eval()
    totals: dict[str, torch.Tensor] = {}
    for batch in batches:
        images = batch["image"]
        with accelerator.autocast():
            outputs = outputs_by_task(model, images, tasks)
        # All processes gather alike, also where one has no target of a task.
        targets = {
            name: batch["targets"].get(name, images.new_full((len(images),), task.missing, dtype=torch.long))
            for name, task in tasks.items()
        }
        # The last batch is filled up for the processes to have as many; this takes the copies out again.
        outputs, targets = accelerator.gather_for_metrics((outputs, targets))
        for name, task in tasks.items():
            seen = task.totals(outputs[name], targets[name])
            totals[name] = totals[name] + seen if name in totals else seen
    return {name: tasks[name].value(total) for name, total in totals.items()}


def outputs_by_task(
    model: nn.Module, images: torch.Tensor, tasks: Iterable[str], active: Collection[str] | None = None
) -> dict[str, Any]:
    """The model's outputs as a dict, also where it has one task; with `active`, those of these tasks alone."""
    tasks = list(tasks)
    if active is not None and len(active) < len(tasks):
        return {task: model(images, task=task) for task in active}
    outputs = model(images)
    return outputs if isinstance(outputs, dict) else dict.fromkeys(tasks, outputs)
