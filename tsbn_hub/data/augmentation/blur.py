"""Blurred images."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
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
        reach = math.ceil(2 * high)  # two standard deviations, beyond which is 5%
        super().__init__([v2.GaussianBlur(2 * reach + 1, (low, high))], p=as_number("p", p, 0, 1))
        self.reach = reach

    def forward(self, image: Tensor, *targets: Any) -> Any:
        """The step, for v2.

        Raises:
            ValueError: if the image is smaller than what it is blurred by.
        """
        height, width = image.shape[-2:]
        if min(height, width) <= self.reach:
            raise ValueError(
                f"augmentation: 'blur' takes {self.reach} pixels to all sides; an image has {height}x{width}. Take a "
                "smaller sigma."
            )
        return super().forward(image, *targets)
