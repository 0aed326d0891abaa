"""RandAugment."""

from typing import ClassVar

from torchvision.transforms import v2

from ...tasks.checks import whole_number
from .photo import PhotoStep
from .step import Effect, register_augmentation

_MAGNITUDES = 31


@register_augmentation("rand_augment")
class RandAugment(PhotoStep, v2.RandAugment):
    """Some changes of all sorts, drawn from fourteen: shears, shifts, turns, and changes of the colours.

    Args:
        num_ops: How many are drawn for each image, at least 1.
        magnitude: How strong they are, from 0 to 30.

    Raises:
        ValueError: if one of them is outside its range.

    Source: Cubuk, Zoph, Shlens, Le, "RandAugment", arXiv 1909.13719, as torchvision has it.
    """

    changes: ClassVar[Effect] = "anything"

    def __init__(self, num_ops: int = 2, magnitude: int = 9) -> None:
        if whole_number(magnitude, "magnitude", least=0) >= _MAGNITUDES:
            raise ValueError(f"magnitude={magnitude} must be at most {_MAGNITUDES - 1}.")
        super().__init__(whole_number(num_ops, "num_ops", least=1), magnitude, _MAGNITUDES)
