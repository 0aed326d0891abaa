"""Metrics of tasks with a value an image. All are taken over the data set, however it is split into batches."""

import torch
from torch import Tensor

from .metric import DataSetMetric


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
