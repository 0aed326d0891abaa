"""Blurred images."""

import math
from collections.abc import Sequence
from typing import ClassVar

from torchvision.transforms import v2

from .ranges import as_number, as_range
from .step import Effect, Step, register_augmentation


@register_augmentation("blur")
class Blur(Step, v2.RandomApply):
    """Blur some of the images by a Gaussian of random width.

    Args:
        p: The probability of it, in [0, 1].
        sigma: The least and the greatest standard deviation, in pixels.

    Raises:
        ValueError: if one of them is outside its range.
    """

    changes: ClassVar[Effect] = "colours"

    def __init__(self, p: float = 0.1, sigma: Sequence[float] = (0.1, 2.0)) -> None:
        low, high = as_range("sigma", sigma, 0.01, 100)
        kernel_size = 2 * math.ceil(2 * high) + 1  # to two standard deviations, where there is 5% left
        super().__init__([v2.GaussianBlur(kernel_size, (low, high))], p=as_number("p", p, 0, 1))
