"""Weights that stay as they are given: equal ones, if none are."""

import math
from collections.abc import Mapping, Sequence

from .balancing import register_balancing
from .weighting import LossWeighting


@register_balancing("equal")
class FixedWeights(LossWeighting):
    """Weights that stay as they are given: equal ones, if none are.

    Args:
        tasks: The tasks.
        weights: By task, its weight, finite and not negative. A task that is not named weighs 1.

    Raises:
        ValueError: if a task is unknown, or a weight is no such number.

    Example:
        >>> from tsbn_hub.training.balancing import FixedWeights
        >>> FixedWeights(["seg", "depth", "normals"], {"depth": 0.5}).weights(["depth", "normals"])
        tensor([0.5000, 1.0000])
    """

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        weights = weights or {}
        for row, (task, weight) in zip(self._rows(weights), weights.items(), strict=True):
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(f"The weight {weight!r} of task {task!r} is no finite number of at least 0.")
            self.fixed[row] = weight
