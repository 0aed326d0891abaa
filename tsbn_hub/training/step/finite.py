"""A loss or gradient that is not finite stops the training, and names the task."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...tasks import Kind
from .gradients import fill_gradients


class NotFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


def guilty_tasks(
    network: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Kind],
    counts: Mapping[str, Sequence[int]],
    losses: Mapping[str, float],
    accelerator: Accelerator,
) -> str:
    """Which tasks' loss or gradient is not finite, in words: a backward a task finds out.

    All processes must call it together, with the losses joined over them, and get the same answer. The gradients are
    lost.
    """
    guilty = [f"the loss of {name!r} is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]
    if guilty:
        return ", ".join(guilty)
    for name, column in counts.items():
        network.zero_grad()
        weights = {name: torch.ones((), device=accelerator.device)}
        fill_gradients(network, batches, kinds, {name: column}, weights, accelerator)
        if not gradient_norm(network).isfinite():
            guilty.append(f"the gradient of {name!r} is not finite")
    return ", ".join(guilty) or "the gradient of all tasks together is not finite"


def gradient_norm(network: nn.Module) -> Tensor:
    """The norm of all gradients together, a scalar, float32."""
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).float()
