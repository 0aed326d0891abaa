"""Metrics of surface normals over all valid pixels of a data set."""

import torch
from torch import Tensor

from ..vectors import angles
from .metric import DataSetMetric, register_metric
from .pixels import PixelMean


@register_metric("mean_angle", "normals")
class MeanAngle(PixelMean):
    """The mean angle between normals, in degrees. Takes: float (B, 3, H, W); a target of 0 is invalid."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add(angles(prediction, target), target.any(dim=1))


@register_metric("within_11_25", "normals", degrees=11.25)
@register_metric("within_22_5", "normals", degrees=22.5)
@register_metric("within_30", "normals", degrees=30)
class AngleWithin(PixelMean):
    """The share of angles between normals below some degrees, in [0, 1].

    Takes: float (B, 3, H, W); a target of 0 is invalid.
    """

    higher_is_better = True

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((angles(prediction, target) < self.degrees).float(), target.any(dim=1))


@register_metric("median_angle", "normals")
class MedianAngle(DataSetMetric):
    """The median angle between normals, in degrees, to 0.005 degrees: the middle of a bin of 0.01.

    Takes: float (B, 3, H, W); a target of 0 is invalid.

    State: counts (18000,), int64, the angles from 0 to 180 in bins of 0.01, which adds up over processes where the
    angles themselves would have to be gathered.
    """

    higher_is_better = False
    bins_per_degree = 100
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(180 * self.bins_per_degree, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        found = angles(prediction, target)[target.any(dim=1)].nan_to_num(180)
        bins = (found * self.bins_per_degree).long().clamp(max=len(self.counts) - 1)
        self.counts += torch.bincount(bins, minlength=len(self.counts))

    def compute(self) -> Tensor:
        seen = self.counts.cumsum(0)
        middle = torch.searchsorted(seen, (seen[-1:] + 1) // 2).squeeze()
        return ((middle + 0.5) / self.bins_per_degree).where(seen[-1] > 0, torch.nan)
