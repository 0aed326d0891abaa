"""Losses of numbers and depths: what an error costs."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, register_loss


@register_loss("l1", "regression", "depth")
class L1(Loss):
    """The absolute error |p - t|: the default. Of a regression it is in standard units, of depths in theirs."""

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the valid errors."""
        return _error(output, target, valid).abs().sum()


@register_loss("mse", "regression", "depth")
class MSE(Loss):
    """The squared error (p - t)²."""

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the valid errors."""
        return _error(output, target, valid).square().sum()


@register_loss("huber", "regression", "depth")
class Huber(Loss):
    """Half the squared error up to delta, then delta (|p - t| - delta / 2), as `torch.nn.HuberLoss`.

    Args:
        num_classes: None.
        delta: Above 0; in standard units of a regression, in their unit of depths.

    Raises:
        ValueError: if delta is not above 0.

    Source: Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35(1), 1964.
    """

    def __init__(self, num_classes: int | None, delta: float = 1.0) -> None:
        super().__init__(num_classes)
        if not delta > 0:
            raise ValueError(f"delta={delta} must be above 0.")
        self.delta = delta

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the valid errors' terms."""
        error = _error(output, target, valid)
        return F.huber_loss(error, error.new_zeros(()).expand_as(error), reduction="sum", delta=self.delta)


def _error(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """The error p - t, and 0 where there is no target: a missing number's NaN must not reach the gradient."""
    return (output - target).where(valid, 0.0)
