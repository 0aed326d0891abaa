"""Metrics of classes at every pixel, from one confusion matrix over the data set."""

from typing import Any, Self

import torch
from torch import Tensor

from .metric import DataSetMetric, ScoredKind, register_metric


class ConfusionMetric(DataSetMetric):
    """What is computed of a confusion matrix.

    Unlike torchmetrics' it takes no more memory under `torch.use_deterministic_algorithms`: theirs then compares
    every pixel with every pair of classes at once.

    Takes: int64 (B, H, W) classes, predicted and true; -100 in the target for none.

    State: counts (num_classes, num_classes), int64, by true class, then by predicted class.
    """

    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind with so many classes."""
        return cls(kind.outputs, **options)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        valid = target != -100
        pairs = target[valid] * self.num_classes + prediction[valid]
        self.counts += torch.bincount(pairs, minlength=self.num_classes**2).view(self.num_classes, -1)


@register_metric("miou", "segmentation")
class MeanIoU(ConfusionMetric):
    """Intersection over union, true positives / (true positives + false positives + false negatives), in [0, 1].

    The mean over the classes that are in the targets or the predictions of the data set: of a class in neither there is
    nothing to score.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        right = self.counts.diag()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        return (right / union)[union > 0].mean()


@register_metric("pixel_accuracy", "segmentation")
class PixelAccuracy(ConfusionMetric):
    """The share of pixels whose class is right, in [0, 1]."""

    higher_is_better = True

    def compute(self) -> Tensor:
        return self.counts.diag().sum() / self.counts.sum()
