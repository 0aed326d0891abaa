"""Classification: one class an image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Classification:
    """One of K classes for each image.

    Target: int64 (B,), from 0 to K - 1, or -100 for an image without a target, which counts nowhere. Output: logits
    (B, K). Loss: cross-entropy. Metric: accuracy over the data set, in [0, 1], higher is better.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Classification
        >>> task, logits, target = Classification(), torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> task.value(task.totals(logits, target))
        0.5
    """

    missing = -100
    metric = "accuracy"
    higher_is_better = True

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of the images that have a target, a scalar; 0 if there is none."""
        total = F.cross_entropy(logits.float(), target, ignore_index=self.missing, reduction="sum")
        return total / self.count(target).clamp(min=1)

    def count(self, target: Tensor) -> Tensor:
        """How many terms the mean of the loss has: images with a target, a scalar."""
        return (target != self.missing).sum()

    def totals(self, logits: Tensor, target: Tensor) -> Tensor:
        """What the metric needs of a batch, (2,), int64: right answers and samples. Add them up over the data set."""
        right = (logits.argmax(dim=1) == target).sum()
        return torch.stack([right, self.count(target)])

    def no_totals(self) -> Tensor:
        """The totals of no batch, (2,), int64."""
        return torch.zeros(2, dtype=torch.int64)

    def value(self, totals: Tensor) -> float:
        """The metric, from the totals of the data set; NaN if it has no sample."""
        right, samples = totals.tolist()
        return right / samples if samples else math.nan
