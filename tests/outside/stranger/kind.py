"""A kind of task, and its metric."""

from typing import ClassVar

import torch
from torch import Tensor

from tsbn_hub.tasks import Kind, register_kind
from tsbn_hub.tasks.metrics import DataSetMetric, register_metric


@register_kind("quantile")
class Quantile(Kind):
    """One number for each image, of which a quantile is predicted. Targets: float32 (B, 1), NaN where missing."""

    dense = False
    head = "linear"
    missing = float("nan")
    metrics: ClassVar = {"pinball": False, "covered": True}
    chosen_by = "covered"

    def __init__(self, quantile: float = 0.5) -> None:
        self.quantile = quantile

    @property
    def outputs(self) -> int:
        return 1

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        if target.shape[1:] != (1,):
            raise ValueError(f"A target of quantile is float32 (B, 1), not {tuple(target.shape)}.")

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        error = (target - output).where(~target.isnan(), 0)
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error).sum() / self.count(target).clamp(min=1)

    def count(self, target: Tensor) -> Tensor:
        return (~target.isnan()).sum()

    def predict(self, output: Tensor) -> Tensor:
        return output.float()

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        return (image * 255).to(torch.uint8)

    def describe(self, prediction: Tensor) -> dict[str, object]:
        return {"quantile": prediction.item()}


class QuantileMetric(DataSetMetric):
    def __init__(self, quantile: float) -> None:
        super().__init__()
        self.quantile = quantile
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("known", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def of_kind(cls, kind: Quantile) -> "QuantileMetric":
        return cls(kind.quantile)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        known = ~target.isnan()
        self.total = self.total + self.values(prediction, target).where(known, 0).sum()
        self.known = self.known + known.sum()

    def compute(self) -> Tensor:
        return self.total / self.known


@register_metric("pinball", "quantile")
class Pinball(QuantileMetric):
    """The mean pinball loss."""

    higher_is_better = False

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        error = target - prediction
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error)


@register_metric("covered", "quantile")
class Covered(QuantileMetric):
    """The share of targets below the prediction."""

    higher_is_better = True

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (target <= prediction).float()
