"""Metrics of numbers."""

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from .metric import DataSetMetric, ScoredKind, register_metric


class RegressionMetric(DataSetMetric):
    """A metric of numbers. All pairs are kept, for sums of squares lose their digits: see `compute_from`.

    Args:
        size: How many numbers each image has.
    """

    values: list[Tensor] | Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.add_state("values", [], dist_reduce_fx="cat")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind with so many numbers."""
        return cls(kind.outputs, **options)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: prediction and target (B, size), the latter NaN where a number is missing."""
        # Flat: the processes' states must have the same number of dimensions, and an empty one has one.
        pairs = torch.stack([prediction.float(), target.float()], dim=1).flatten()
        self.values.append(pairs)  # type: ignore[union-attr]

    def compute(self) -> Tensor:
        """In the data's units, or without one."""
        values = dim_zero_cat(self.values) if len(self.values) else torch.empty(0)
        prediction, target = values.cpu().double().view(-1, 2, self.size).unbind(dim=1)
        return self.compute_from(prediction, target).float().to(self.device)

    @abstractmethod
    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The metric of all pairs of the data set: (N, size), float64."""


@register_metric("mae", "regression")
class MeanAbsoluteError(RegressionMetric):
    """The mean absolute error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0."""
        return (prediction - target)[~target.isnan()].abs().mean()


@register_metric("rmse", "regression")
class RootMeanSquaredError(RegressionMetric):
    """The root of the mean squared error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0."""
        return (prediction - target)[~target.isnan()].square().mean().sqrt()


@register_metric("r2", "regression")
class R2(RegressionMetric):
    """The coefficient of determination of each number, averaged over those for which it is defined."""

    higher_is_better = True

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At most 1."""
        errors = (prediction - target).square().where(~target.isnan(), 0).sum(dim=0)
        spread = (target - target.nanmean(dim=0)).square().nansum(dim=0)
        return (1 - errors / spread)[spread > 0].mean()
