"""Regression: numbers that an image stands for."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import whole_number
from ..kind import Json, Kind, register_kind
from ..pictures import write_lines


@register_kind("regression")
class Regression(Kind):
    """One or several numbers for each image, in the units of the data.

    Target: float32 (B, size), NaN where a number is missing, which counts nowhere. Output: (B, size). Loss: the mean
    absolute error, which is in the data's units, as the primary metric is, and follows no outlier. A target that is far
    from 0, or whose spread is far from 1, is best standardised before: heads start near 0.

    Metrics, over all known numbers of the data set: `mae` and `rmse`, the mean absolute error and the root of the mean
    squared error, lower is better; `r2`, the coefficient of determination, 1 - sum of squared errors / sum of squared
    deviations from the mean target. r2 is at most 1, 0 for a constant prediction of the mean, and negative for worse
    ones. With several numbers it is their average, without those whose known targets are all equal or a single one,
    for which it is undefined.

    Args:
        size: How many numbers each image has.

    Raises:
        ValueError: if the size is less than 1.

    Example:
        >>> import math, torch
        >>> from tsbn_hub.tasks.kinds.regression import Regression
        >>> age, output = Regression(), torch.tensor([[21.0], [35.0], [50.0]])
        >>> target = torch.tensor([[20.0], [40.0], [math.nan]])
        >>> age.loss(output, target)
        tensor(3.)
        >>> metrics = age.new_metrics()
        >>> metrics.update(age.predict(output), target)
        >>> metrics.compute()
        {'mae': tensor(3.), 'r2': tensor(0.8700), 'rmse': tensor(3.6056)}
    """

    dense = False
    head = "linear"
    missing = math.nan
    metrics: ClassVar = {"mae": False, "rmse": False, "r2": True}
    chosen_by = "r2"
    metrics_share_state = True
    hub_metrics: ClassVar = {"mae": "mae", "r2": "r_squared"}

    def __init__(self, size: int = 1) -> None:
        self.size = whole_number(size, "size", least=1)

    @property
    def outputs(self) -> int:
        """How many numbers each image has."""
        return self.size

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless this is float32 (B, size), finite or NaN."""
        if target.dtype != torch.float32 or target.ndim != 2 or target.shape[1] != self.size:
            raise ValueError(
                f"A target of regression is float32 (B, {self.size}); this one is {target.dtype} "
                f"{tuple(target.shape)}. Convert it with .float(), and single numbers with [:, None]."
            )
        if target.isinf().any():
            raise ValueError("A target of regression has infinite numbers. Where a number is missing, write NaN.")

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean absolute error of the known numbers, a scalar; 0 if there is none."""
        # Before the absolute value: behind it, a missing number's NaN could reach the gradient.
        errors = (output - target).where(self.valid(target), 0.0).abs()
        return errors.sum() / self.count(target).clamp(min=1)

    def predict(self, output: Tensor) -> Tensor:
        """The numbers: (B, size), float32."""
        return output.float()

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image with the numbers written into it."""
        return write_lines(image, [f"{number:.4g}" for number in value.tolist()])

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The numbers."""
        return {"values": prediction.tolist()}
