"""TrivialAugment."""

from typing import ClassVar

from torchvision.transforms import v2

from .photo import PhotoStep
from .step import Effect, register_augmentation


@register_augmentation("trivial_augment")
class TrivialAugment(PhotoStep, v2.TrivialAugmentWide):
    """One change for each image, of those of RandAugment, of random strength. It has no options.

    Source: Müller, Hutter, "TrivialAugment", arXiv 2103.10158, in its wide form, as torchvision has it.
    """

    changes: ClassVar[Effect] = "anything"

    def __init__(self) -> None:
        super().__init__()
