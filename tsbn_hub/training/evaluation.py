"""Scoring a model on a data set."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from ..tasks import Classification
from .gradients import outputs_by_task


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, Classification],
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Every task's metric over a data set, or several.

    A batch is run for the tasks that it has targets for. What the processes saw is added up exactly, so each may have
    any number of batches.

    Args:
        model: Returns a dict by task, or, for one task, its output; it is left in evaluation mode.
        batches: The batches of this process: `{"image": (B, C, H, W), "targets": {task: …}}`, on any device.
        kinds: The kind of each task.
        accelerator: Of this process; None: there is but one, and the model stays on its device.

    Returns:
        The metric by task; NaN for a task that no sample has a target for.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.tasks import Classification
        >>> from tsbn_hub.training import evaluate
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 4})
        >>> batch = {"image": torch.rand(8, 3, 64, 64), "targets": {"left": torch.arange(8)}}
        >>> sorted(evaluate(model, [batch], {"left": Classification(), "right": Classification()}))
        ['left', 'right']
    """
    accelerator = accelerator or Accelerator()
    model.eval()
    device = next(model.parameters()).device
    totals = {name: kind.no_totals().to(device) for name, kind in kinds.items()}
    for batch in batches:
        present = [name for name in kinds if name in batch["targets"]]
        if not present:
            continue
        batch = send_to_device(batch, device, non_blocking=True)
        with accelerator.autocast():
            outputs = outputs_by_task(model, batch["image"], present)
        for name in present:
            totals[name] += kinds[name].totals(outputs[name], batch["targets"][name])
    totals = accelerator.reduce(totals)
    return {name: kind.value(totals[name]) for name, kind in kinds.items()}


def mean_score(kinds: Mapping[str, Classification], scores: Mapping[str, float]) -> float:
    """The mean metric over the tasks that have one, where higher is better: what the best epoch is chosen by.

    Raises:
        ValueError: if no task has one.
    """
    known = [
        score if kinds[name].higher_is_better else -score for name, score in scores.items() if not math.isnan(score)
    ]
    if not known:
        raise ValueError("No sample of the validation split has a target: there is nothing to choose by.")
    return sum(known) / len(known)
