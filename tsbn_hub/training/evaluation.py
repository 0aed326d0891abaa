"""Scoring a model on a data set."""

from collections.abc import Iterable
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
        The metric by task.
    """
    model.eval()
    totals: dict[str, torch.Tensor] = {}
    for batch in batches:
        with accelerator.autocast():
            outputs = outputs_by_task(model, batch["image"], tasks)
        # The last batch is filled up for the processes to have as many; this takes the copies out again.
        outputs, targets = accelerator.gather_for_metrics((outputs, batch["targets"]))
        for name, task in tasks.items():
            seen = task.totals(outputs[name], targets[name])
            totals[name] = totals[name] + seen if name in totals else seen
    return {name: tasks[name].value(total) for name, total in totals.items()}


def outputs_by_task(model: nn.Module, images: torch.Tensor, tasks: Iterable[str]) -> dict[str, Any]:
    """The model's outputs as a dict, also where it has one task."""
    outputs = model(images)
    return outputs if isinstance(outputs, dict) else dict.fromkeys(tasks, outputs)
