"""Things larger or smaller."""

from collections.abc import Sequence

import torch

from .ranges import as_number, as_range
from .step import register_augmentation
from .window import RandomWindow, Window, uniform, zoomed_window

_LEAST, _MOST = 0.1, 10


@register_augmentation("scale")
class Scale(RandomWindow):
    """Make all things larger or smaller by a random factor, and take a window of the sample's size at a random place.

    Args:
        between: The least and the greatest factor, in [0.1, 10].
        choices: In place of them, the factors of which one is drawn.

    Raises:
        ValueError: if they are no such factors.

    Source: with `choices` of 1, 1.2 and 1.5, and a flip, Xu et al., PAD-Net, arXiv 1805.04409, section 4.1, as the code
    of MTAN (arXiv 1803.10704) has it, but that there normals are interpolated, and that pixels are aligned by their
    corners.
    """

    def __init__(self, between: Sequence[float] = (0.8, 1.25), choices: Sequence[float] | None = None) -> None:
        super().__init__()
        self.between = as_range("between", between, _LEAST, _MOST)
        if choices is not None and not (isinstance(choices, list | tuple) and choices):
            raise ValueError(f"choices={choices!r} must be one or more factors.")
        self.choices = None if choices is None else [as_number("choices", each, _LEAST, _MOST) for each in choices]

    def window(self, height: int, width: int) -> Window:
        """A part of the image, or more than all of it."""
        if self.choices is None:
            return zoomed_window(uniform(*self.between), height, width)
        return zoomed_window(self.choices[int(torch.randint(len(self.choices), ()))], height, width)
