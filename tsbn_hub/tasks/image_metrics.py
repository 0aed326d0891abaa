"""Metrics of tasks with a value an image. All are taken over the data set, however it is split into batches."""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from .metrics import DataSetMetric


class Accuracy(DataSetMetric):
    """The share of images whose most probable class is the target.

    Args:
        missing: The target of an image without one.
    """

    higher_is_better = True
    right: Tensor
    known: Tensor

    def __init__(self, missing: int) -> None:
        super().__init__()
        self.missing = missing
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("known", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Add a batch: scores (B, K), target (B,) int64."""
        self.right += (scores.argmax(dim=1) == target).sum()
        self.known += (target != self.missing).sum()

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return self.right / self.known


class AttributeMetric(DataSetMetric):
    """A metric of each binary attribute, averaged over the attributes for which it is defined.

    torchmetrics' own take an attribute that is never known, or never present, for one that is always wrong.

    Args:
        num_attributes: How many there are, K.
        missing: The target's value where it is unknown.
    """

    higher_is_better = True
    found: Tensor
    wrong: Tensor
    known: Tensor

    def __init__(self, num_attributes: int, missing: int) -> None:
        super().__init__()
        self.missing = missing
        for state in ("found", "wrong", "known"):
            self.add_state(state, torch.zeros(num_attributes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities (B, K), target (B, K) int64."""
        known, predicted, present = target != self.missing, probabilities > 0.5, target == 1
        self.found += (predicted & present).sum(dim=0)
        self.wrong += ((predicted != present) & known).sum(dim=0)
        self.known += known.sum(dim=0)


class AttributeAccuracy(AttributeMetric):
    """The share of right answers of each attribute, averaged."""

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return ((self.known - self.wrong) / self.known).nanmean()


class AttributeF1(AttributeMetric):
    """The F1 score of each attribute, 2 TP / (2 TP + FP + FN), averaged."""

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return (2 * self.found / (2 * self.found + self.wrong)).nanmean()


class RegressionMetric(DataSetMetric):
    """A metric of numbers. All pairs are kept, for sums of squares lose their digits: see `compute_from`.

    Args:
        size: How many numbers an image has.
    """

    values: list[Tensor] | Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.add_state("values", [], dist_reduce_fx="cat")

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


class MeanAbsoluteError(RegressionMetric):
    """The mean absolute error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0."""
        return (prediction - target).abs().nanmean()


class RootMeanSquaredError(RegressionMetric):
    """The root of the mean squared error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0."""
        return (prediction - target).square().nanmean().sqrt()


class R2(RegressionMetric):
    """The coefficient of determination of each number, averaged over those for which it is defined."""

    higher_is_better = True

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At most 1."""
        errors = (prediction - target).square().nansum(dim=0)
        spread = (target - target.nanmean(dim=0)).square().nansum(dim=0)
        return (1 - errors / spread.where(spread > 0, math.nan)).nanmean()
