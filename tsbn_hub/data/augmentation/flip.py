"""Left and right exchanged."""

from typing import ClassVar

from torchvision.transforms import v2

from .ranges import as_number
from .step import Effect, Step, register_augmentation


@register_augmentation("flip")
class Flip(Step, v2.RandomHorizontalFlip):
    """Exchange left and right in some of the samples. Labels that say left or right would be wrong: leave it out there.

    Args:
        p: The probability of it, in [0, 1].

    Raises:
        ValueError: if it is none.
    """

    changes: ClassVar[Effect] = "places"

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=as_number("p", p, 0, 1))
