"""A loss weighting."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tsbn_hub.training.balancing import LossWeighting, register_balancing


@register_balancing("inverse")
class InverseWeighting(LossWeighting):
    """The inverse of each task's last loss."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("last", torch.ones(len(tasks)))

    def weights(self, active: Sequence[str]) -> Tensor:
        return 1 / self.last[[self.tasks.index(task) for task in active]].clamp(min=0.1)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        for task, loss in losses.items():
            self.last[self.tasks.index(task)] = loss
