"""Weights by how slowly a loss falls."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .balancing import register_balancing
from .weighting import LossWeighting


@register_balancing("dwa")
class DynamicWeightAverage(LossWeighting):
    """Weights that grow with the rate L_t(last epoch) / L_t(the one before): a loss that falls slowly weighs more.

    The weights are softmax(rates / temperature) times the number of tasks. A task weighs 1 until it has had two epochs.
    In an epoch without a loss of its own (absent or NaN), a task keeps its last two. A step with fewer tasks takes
    their weights as they are. A rate of 0 / 0 counts as 1.

    Args:
        tasks: The tasks.
        temperature: The higher, the more equal the weights. Positive.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> from tsbn_hub.training.balancing import DynamicWeightAverage
        >>> weighting = DynamicWeightAverage(["seg", "depth"])
        >>> weighting.after_epoch({"seg": 2.0, "depth": 2.0})
        >>> weighting.weights(["seg", "depth"])
        tensor([1., 1.])
        >>> weighting.after_epoch({"seg": 2.0, "depth": 1.0})
        >>> weighting.weights(["seg", "depth"])
        tensor([1.1244, 0.8756])

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv 1803.10704, equation 7.
    """

    last: Tensor
    before: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature} must be positive and finite.")
        self.temperature = temperature
        self.register_buffer("last", torch.full((len(tasks),), math.nan))
        self.register_buffer("before", torch.full((len(tasks),), math.nan))

    def weights(self, active: Sequence[str]) -> Tensor:
        rated = ~self.before.isnan()
        # A loss that was 0 has an infinite rate: the largest number in its place gives softmax its limit, not NaN.
        logits = (self.last / self.before / self.temperature).nan_to_num(nan=1 / self.temperature)
        shares = logits.where(rated, -math.inf).softmax(dim=0)
        return (shares * rated.sum()).where(rated, 1.0)[self._rows(active)]

    def after_epoch(self, losses: Mapping[str, float]) -> None:
        for row, loss in zip(self._rows(losses), losses.values(), strict=True):
            if not math.isnan(loss):
                self.before[row] = self.last[row]
                self.last[row] = loss
