"""Metrics of depth over all valid pixels of a data set."""

from torch import Tensor

from .metric import register_metric
from .pixels import PixelMean


@register_metric("abs_err", "depth")
class AbsoluteError(PixelMean):
    """The mean of |p - t| for depths p and t, float (B, H, W), where t > 0: in the target's unit."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).abs(), target > 0)


@register_metric("rel_err", "depth")
class RelativeError(PixelMean):
    """The mean of |p - t| / t for depths p and t, float (B, H, W), where t > 0."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).abs() / target, target > 0)


@register_metric("rmse", "depth")
class RootMeanSquareError(PixelMean):
    """The root of the mean of (p - t)² for depths p and t, float (B, H, W), where t > 0: in the target's unit."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).square(), target > 0)

    def compute(self) -> Tensor:
        return super().compute().sqrt()


@register_metric("delta1", "depth", ratio=1.25)
class WithinRatio(PixelMean):
    """The share of depths with max(p / t, t / p) < ratio, in [0, 1], for p and t, float (B, H, W), where t > 0.

    A p that is not positive is not within.
    """

    higher_is_better = True

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def update(self, prediction: Tensor, target: Tensor) -> None:
        prediction = prediction.float()
        within = (prediction < self.ratio * target) & (target < self.ratio * prediction)
        self.add(within.float(), target > 0)
