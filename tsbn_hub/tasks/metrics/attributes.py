"""Metrics of binary attributes, averaged over the attributes."""

from typing import Any, Self

import torch
from torch import Tensor

from .metric import DataSetMetric, ScoredKind, register_metric


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

    def __init__(self, num_attributes: int, missing: float) -> None:
        super().__init__()
        self.missing = missing
        for state in ("found", "wrong", "known"):
            self.add_state(state, torch.zeros(num_attributes, dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind with a channel for each attribute."""
        return cls(kind.outputs, kind.missing, **options)

    def update(self, probabilities: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities (B, K), target (B, K) int64."""
        known, predicted, present = target != self.missing, probabilities > 0.5, target == 1
        self.found += (predicted & present).sum(dim=0)
        self.wrong += ((predicted != present) & known).sum(dim=0)
        self.known += known.sum(dim=0)


@register_metric("accuracy", "attributes")
class AttributeAccuracy(AttributeMetric):
    """The share of right answers of each attribute, averaged."""

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return ((self.known - self.wrong) / self.known).nanmean()


@register_metric("f1", "attributes")
class AttributeF1(AttributeMetric):
    """The F1 score of each attribute, 2 TP / (2 TP + FP + FN), averaged."""

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return (2 * self.found / (2 * self.found + self.wrong)).nanmean()
