"""Metrics of tasks with one class for each image."""

from typing import Any, Self

import torch
from torch import Tensor

from .metric import DataSetMetric, ScoredKind, register_metric


@register_metric("accuracy", "classification")
class Accuracy(DataSetMetric):
    """The share of images whose most probable class is the target.

    Args:
        missing: The target of an image without one.
    """

    higher_is_better = True
    right: Tensor
    known: Tensor

    def __init__(self, missing: float) -> None:
        super().__init__()
        self.missing = missing
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("known", torch.tensor(0), dist_reduce_fx="sum")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind that fills missing targets with a value of its own."""
        return cls(kind.missing, **options)

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Add a batch: scores (B, K), target (B,) int64."""
        self.right += (scores.argmax(dim=1) == target).sum()
        self.known += (target != self.missing).sum()

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return self.right / self.known
