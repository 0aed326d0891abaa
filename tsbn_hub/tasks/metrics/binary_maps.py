"""Metrics of yes or no at every pixel, at the best of several thresholds."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from .metric import DataSetMetric, ScoredKind, register_metric
from .pixels import compensated_sum


@register_metric("max_f", "saliency", beta_squared=0.3)
@register_metric("ods_f", "edges", beta_squared=1)
class MaxF(DataSetMetric):
    r"""The best F over thresholds of the precision P and recall R of all pixels of a data set, in [0, 1].

    .. math:: F = \frac{(1 + \beta^2) P R}{\beta^2 P + R}

    at the thresholds 0.01, 0.02, ..., 0.99; a probability equal to a threshold is above it. With a tolerance, a pixel
    that is predicted is right if a true one is in the square of so many pixels around it, and a true one is found
    likewise. NaN if no pixel of the data set is true.

    Takes: probabilities, float (B, H, W), and int64 (B, H, W) of 0, 1, and -100 for none.

    States: right, wrong, found, (100,), int64: predicted pixels that are right and wrong, and true pixels, by the
    number of thresholds up to their probability, which for a true one is the highest within the tolerance.

    Args:
        beta_squared: β², what recall weighs against precision.
        tolerance: In pixels.
    """

    higher_is_better = True
    right: Tensor
    wrong: Tensor
    found: Tensor

    def __init__(self, beta_squared: float, tolerance: int = 0) -> None:
        super().__init__()
        self.beta_squared = beta_squared
        self.tolerance = tolerance
        for name in ("right", "wrong", "found"):
            self.add_state(name, torch.zeros(100, dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind, with its `tolerance` if it has one."""
        return cls(tolerance=getattr(kind, "tolerance", 0), **options)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        true = target == 1
        # 0 is below every threshold: an invalid pixel is never a predicted one.
        probability = prediction.float().where(target != -100, 0)
        near_true = self._highest_around(true.float()) == 1
        self.right += self._counts(probability[near_true])
        self.wrong += self._counts(probability[~near_true])
        self.found += self._counts(self._highest_around(probability)[true])

    def compute(self) -> Tensor:
        return self.curves()["f"].max()

    def curves(self) -> dict[str, Tensor]:
        """The "precision", "recall" and "f" at each of the thresholds, (99,) each, in [0, 1]."""
        right, wrong, found = (counts.flip(0).cumsum(0).flip(0)[1:] for counts in (self.right, self.wrong, self.found))
        precision = right / (right + wrong).clamp(min=1)
        recall = found / self.found.sum()
        weighted = self.beta_squared * precision + recall
        f = (1 + self.beta_squared) * precision * recall / weighted.clamp(min=torch.finfo().tiny)
        return {"precision": precision, "recall": recall, "f": f}

    def _highest_around(self, values: Tensor) -> Tensor:
        return F.max_pool2d(values, 2 * self.tolerance + 1, stride=1, padding=self.tolerance)

    def _counts(self, probabilities: Tensor) -> Tensor:
        thresholds = torch.arange(1, 100, device=probabilities.device) / 100
        return torch.bincount(torch.bucketize(probabilities, thresholds, right=True), minlength=100)


@register_metric("miou", "saliency")
class BestMeanIoU(DataSetMetric):
    """The mean over images of the intersection over union of what is true, at the best threshold, in [0, 1].

    The thresholds are 0.2, 0.25, ..., 0.9, one for all images; a probability equal to a threshold is above it. An image
    in which nothing is true and nothing predicted has 1; an image without a valid pixel does not count.

    Takes: probabilities, float (B, H, W), and int64 (B, H, W) of 0, 1, and -100 for none.

    States: total (2, 15), float32, the sum at each threshold and what it lost in rounding; images (), int64.
    """

    higher_is_better = True
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, 15), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        true, valid = target == 1, target != -100
        counts = valid.any(dim=(1, 2))
        sums = []
        for percent in range(20, 91, 5):
            predicted = (prediction >= percent / 100) & valid
            union = (predicted | true).sum((1, 2))
            overlap = ((predicted & true).sum((1, 2)) / union).where(union > 0, 1)
            sums.append(overlap.where(counts, 0).sum())
        self.total = compensated_sum(self.total, torch.stack(sums))
        self.images = self.images + counts.sum()

    def compute(self) -> Tensor:
        return (self.total.sum(0) / self.images).max()
