"""Regression: numbers that an image stands for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..checks import whole_number
from ..kind import Json, register_kind
from ..losses import KindWithLosses
from ..pictures import write_lines


@register_kind("regression")
class Regression(KindWithLosses):
    """One or several numbers for each image, in the units of the data.

    Target: float32 (B, size), NaN where a number is missing, which counts nowhere. Output: (B, size), in standard
    units: by how many times `scale` a number is above `mean`. Heads start near 0, and so losses of tasks compare. Loss:
    the mean absolute error in these units, which follows no outlier. Training takes mean and scale from the training
    targets, unless the task says them in its `kind_args`. Predictions and metrics are in the units of the data.

    Metrics, over all known numbers of the data set: `mae` and `rmse`, the mean absolute error and the root of the mean
    squared error, lower is better; `r2`, the coefficient of determination, 1 - sum of squared errors / sum of squared
    deviations from the mean target. r2 is at most 1, 0 for a constant prediction of the mean, and negative for worse
    ones. With several numbers it is their average, without those whose known targets are all equal or a single one,
    for which it is undefined.

    Args:
        size: How many numbers each image has.
        mean: Of each number, in the units of the data; one for all, or one for each. None: 0.
        scale: The standard deviation of each, above 0. None: 1.
        loss: "l1", the default, "mse", "huber" or another of `tsbn_hub.tasks.losses`, in standard units; or a
            mapping of its name and keywords.

    Raises:
        ValueError: if the size is less than 1; if mean or scale are not finite, not as many, or a scale is not above 0;
            if there is no such loss.

    Example:
        >>> import math, torch
        >>> from tsbn_hub.tasks.kinds.regression import Regression
        >>> age, output = Regression(), torch.tensor([[21.0], [35.0], [50.0]])
        >>> target = torch.tensor([[20.0], [40.0], [math.nan]])
        >>> age.loss(output, target)
        tensor(3.)
        >>> Regression(mean=40.0, scale=10.0).predict(torch.tensor([[0.0], [1.5]]))
        tensor([[40.],
                [55.]])
        >>> metrics = age.new_metrics()
        >>> metrics.update(age.predict(output), target)
        >>> metrics.compute()
        {'mae': tensor(3.), 'r2': tensor(0.8700), 'rmse': tensor(3.6056)}
    """

    dense = False
    head = "linear"
    default_loss = "l1"
    missing = math.nan
    metrics: ClassVar = {"mae": False, "rmse": False, "r2": True}
    chosen_by = "r2"
    metrics_share_state = True
    gives = "the numbers"
    unit = "the data's unit"
    taken_from_targets = ("mean", "scale")
    hub_metrics: ClassVar = {"mae": "mae", "r2": "r_squared"}

    def __init__(
        self,
        size: int = 1,
        mean: float | Sequence[float] | None = None,
        scale: float | Sequence[float] | None = None,
        loss: str | Mapping[str, Any] | None = None,
    ) -> None:
        self.size = size = whole_number(size, "size", least=1)
        self.has_units = mean is not None or scale is not None
        self.mean, self.scale = _of_each("mean", mean, 0.0, size), _of_each("scale", scale, 1.0, size)
        if min(self.scale) <= 0:
            raise ValueError(f"scale={scale} must be above 0.")
        self.choose_loss(loss)

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

    def compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers and the targets in standard units."""
        return output.float(), (target - target.new_tensor(self.mean)) / target.new_tensor(self.scale)

    def predict(self, output: Tensor) -> Tensor:
        """The numbers in the units of the data: (B, size), float32."""
        output = output.float()
        return output * output.new_tensor(self.scale) + output.new_tensor(self.mean)

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The mean and the standard deviation of the known targets; nothing, if the task says its own."""
        known = torch.stack([target.double().reshape(self.size) for target in targets]) if targets else None
        if self.has_units or known is None:
            return {}
        means, scales = [], []
        for column in known.unbind(dim=1):
            finite = column[column.isfinite()]
            spread = finite.std(correction=0).item() if len(finite) else 0.0
            means.append(finite.mean().item() if len(finite) else 0.0)
            scales.append(spread if spread > 0 else 1.0)
        return {"mean": means, "scale": scales}

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """The same numbers."""
        return target

    def fold_into(self, head: nn.Module) -> nn.Module:
        """The head, and after it the units of the data."""
        return InUnits(head, self.mean, self.scale) if self.has_units else head

    def is_share(self, metric: str) -> bool:
        """None is: r2 has no lower bound."""
        return False

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image with the numbers written into it."""
        return write_lines(image, [f"{number:.4g}" for number in value.tolist()])

    def caption(self, prediction: Tensor, target: Tensor) -> list[str]:
        """The numbers, and the true ones."""
        said, true = (", ".join(f"{number:.4g}" for number in value.tolist()) for value in (prediction, target))
        return [said, f"true: {true}".replace("nan", "no target")]

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The numbers."""
        return {"values": prediction.tolist()}


class InUnits(nn.Module):
    """A head whose output is in standard units, and after it the units of the data.

    Args:
        head: Takes anything, and gives (B, size).
        mean: Of each number.
        scale: Of each number.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: nn.Module, mean: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.head = head
        like = next(head.parameters(), torch.empty(()))
        self.register_buffer("mean", torch.tensor(mean, dtype=like.dtype, device=like.device))
        self.register_buffer("scale", torch.tensor(scale, dtype=like.dtype, device=like.device))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The numbers, (B, size), in the units of the data."""
        return self.head(*args, **kwargs) * self.scale + self.mean


def _of_each(name: str, given: float | Sequence[float] | None, default: float, size: int) -> list[float]:
    values = [default] * size if given is None else [given] * size if isinstance(given, int | float) else list(given)
    if len(values) != size or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name}={given} must be a finite number, or {size} of them, one for each.")
    return [float(value) for value in values]
