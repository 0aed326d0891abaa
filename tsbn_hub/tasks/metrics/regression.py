"""Metrics of numbers: of all pairs, for sums of squares lose their digits. A target is NaN where it is missing."""

from torch import Tensor

from .metric import register_metric
from .pairs import PairsMetric


@register_metric("mae", "regression")
class MeanAbsoluteError(PairsMetric):
    """The mean absolute error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0, in the data's units."""
        return (prediction - target)[~target.isnan()].abs().mean()


@register_metric("rmse", "regression")
class RootMeanSquaredError(PairsMetric):
    """The root of the mean squared error."""

    higher_is_better = False

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At least 0, in the data's units."""
        return (prediction - target)[~target.isnan()].square().mean().sqrt()


@register_metric("r2", "regression")
class R2(PairsMetric):
    """The coefficient of determination of each number, averaged over those for which it is defined."""

    higher_is_better = True

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """At most 1."""
        errors = (prediction - target).where(~target.isnan(), 0).square().sum(dim=0)
        spread = (target - target.nanmean(dim=0)).square().nansum(dim=0)
        return (1 - errors / spread)[spread > 0].mean()
