"""A mean over all valid pixels of a data set."""

import torch
from torch import Tensor

from .metric import DataSetMetric


class PixelMean(DataSetMetric):
    """A mean over the valid pixels; `update` of a subclass says of what, through `add`.

    States: total (2,), float32, the sum and what it lost in rounding; pixels (), int64.
    """

    higher_is_better = False
    total: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Add the valid ones of a batch's values."""
        self.total = compensated_sum(self.total, values.where(valid, 0).sum())
        self.pixels = self.pixels + valid.sum()

    def compute(self) -> Tensor:
        return self.total.sum() / self.pixels


def compensated_sum(total: Tensor, value: Tensor) -> Tensor:
    """Add a value to a sum of two parts: float32 (2, ...), the rounded sum and the sum of its rounding errors.

    Source: the two-sum of Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
    """
    rounded, lost = total
    new = rounded + value
    added = new - rounded
    return torch.stack([new, lost + ((rounded - (new - added)) + (value - added))])
