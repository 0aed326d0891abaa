"""Loss weighting: weights that are known before a step's losses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .balancing import Balancing


class LossWeighting(Balancing):
    """How much each task's loss counts in a step, known before the step. This base class weighs all 1.

    A subclass has its own `weights`, and learns in `after_step` or `after_epoch`. It goes with everything: a backward
    for each task, gradient accumulation, frozen trunks, and an aggregator of gradients, which gets weighted ones.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.

    Example:
        >>> from tsbn_hub.training.balancing import LossWeighting
        >>> LossWeighting(["seg", "depth"]).weights(["depth"])
        tensor([1.])
    """

    fixed: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("fixed", torch.ones(len(tasks)), persistent=False)

    def weights(self, active: Sequence[str]) -> Tensor:
        """The weights of a step's tasks: (len(active),), float32, without gradient, on the module's device."""
        return self.fixed[self._rows(active)]

    def step_weights(self, active: Sequence[str]) -> dict[str, Tensor]:
        """The weight of each task of a step."""
        return dict(zip(active, self.weights(active), strict=True))
