"""A metric of all predictions and targets of a data set."""

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from .metric import DataSetMetric, ScoredKind


class PairsMetric(DataSetMetric):
    """A metric that keeps all pairs of predicted and true values, for no sums would tell it.

    Args:
        size: How many values each image has, K.
    """

    values: list[Tensor] | Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.add_state("values", [], dist_reduce_fx="cat")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind with so many values."""
        return cls(kind.outputs, **options)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: prediction and target, (B, K), as the kind says."""
        # Flat: the processes' states must have the same number of dimensions, and an empty one has one.
        pairs = torch.stack([prediction.float(), target.float()], dim=1).flatten()
        self.values.append(pairs)  # type: ignore[union-attr]

    def compute(self) -> Tensor:
        """The metric of all pairs, float32."""
        values = dim_zero_cat(self.values) if len(self.values) else torch.empty(0)
        prediction, target = values.cpu().double().view(-1, 2, self.size).unbind(dim=1)
        return self.compute_from(prediction, target).float().to(self.device)

    @abstractmethod
    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The metric of all pairs of the data set: (N, K), float64, on the CPU."""
