"""A loss or gradient that is not finite stops the training, and names the task."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..tasks import Classification
from .gradients import fill_gradients


class NotFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


def guilty_tasks(
    network: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Classification],
    counts: Mapping[str, Sequence[int]],
    losses: Mapping[str, Tensor],
    accelerator: Accelerator,
) -> dict[str, str]:
    """For each task whose loss or gradient is not finite, which of the two it is: a backward a task finds out.

    All processes get the same answer, and must call it together. The gradients are lost.
    """
    guilty = {name: f"loss is {loss.item()}" for name, loss in losses.items() if not loss.isfinite()}
    if guilty:
        return guilty
    for name in counts:
        network.zero_grad()
        weights = {name: torch.ones((), device=accelerator.device)}
        fill_gradients(network, batches, kinds, {name: counts[name]}, weights, accelerator)
        if not gradient_norm(network).isfinite():
            guilty[name] = "gradient is not finite"
    return guilty


def gradient_norm(network: nn.Module) -> Tensor:
    """The norm of all gradients together, a scalar."""
    return torch.nn.utils.get_total_norm([each.grad for each in network.parameters() if each.grad is not None])
