"""The geometric mean of the losses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .balancing import register_balancing
from .first_losses import FirstLosses
from .scalarization import LossScalarization


@register_balancing("gls")
class GeometricLossStrategy(LossScalarization, FirstLosses):
    """The geometric mean of the losses, which does not ask for their units: GLS.

    The total is the product over the step's n tasks of (L_t + e_t)^(1/n), so that a task weighs
    total / (n (L_t + e_t)): its relative improvement counts. With e_t = 0, as in the paper, a loss that goes to 0
    starves the other tasks: their weights go to 0 with the total, while its own grows without end. So e_t is `floor`
    times the task's first loss: relative to the others, a task weighs half of what it would where its loss has fallen
    to that, and at most twice as much as there however small its loss gets. The guard is relative to the task's own
    scale, and a task in other units still weighs the same.

    Args:
        tasks: The tasks.
        floor: Of the guard, as a part of each task's first loss. Not negative. 0: the plain geometric mean, by which an
            easy task beside two hard ones took them from 62% to 38% on made-up data; 0.01 and more kept them.

    Raises:
        ValueError: if the floor is negative or not finite.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import GeometricLossStrategy
        >>> losses = {"seg": torch.tensor(4.0), "depth": torch.tensor(1.0)}
        >>> GeometricLossStrategy(["seg", "depth"], floor=0.0).weights_of(losses)
        {'seg': tensor(0.2500), 'depth': tensor(1.)}

    Source: Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning", arXiv 1904.08492: the product of all L_i^(1/n). Deviation: the guard.
    """

    def __init__(self, tasks: Sequence[str], floor: float = 0.03) -> None:
        super().__init__(tasks)
        if not 0 <= floor < torch.inf:
            raise ValueError(f"floor={floor} must be finite and not negative.")
        self.floor = floor

    def total(self, losses: Tensor, active: Sequence[str]) -> Tensor:
        guarded = losses + self.floor * self.first_losses(losses, active)
        guarded = guarded.where(guarded != 0, torch.finfo(losses.dtype).tiny)  # of 0, the gradient would be NaN
        return guarded.log().mean().exp()

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        self.keep_first(torch.stack(list(losses.values())), list(losses))
