"""Other brightness, contrast and colours."""

from typing import ClassVar

from torchvision.transforms import v2

from .photo import PhotoStep
from .ranges import as_number
from .step import Effect, register_augmentation


@register_augmentation("color")
class Color(PhotoStep, v2.ColorJitter):
    """Change brightness, contrast and saturation by random factors from 1 - strength to 1 + strength, and turn the hue.

    Args:
        strength: In [0, 10]; factors below 0 are 0.
        hue: The greatest turn, as a share of the circle of hues, in [0, 0.5].

    Raises:
        ValueError: if one of them is outside its range.
    """

    changes: ClassVar[Effect] = "colours"

    def __init__(self, strength: float = 0.3, hue: float = 0.0) -> None:
        strength, hue = as_number("strength", strength, 0, 10), as_number("hue", hue, 0, 0.5)
        super().__init__(brightness=strength, contrast=strength, saturation=strength, hue=hue)
