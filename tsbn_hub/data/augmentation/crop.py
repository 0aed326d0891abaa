"""A random part of a sample."""

from collections.abc import Sequence

from .ranges import as_range
from .step import register_augmentation
from .window import RandomWindow, Window, uniform, zoomed_window


@register_augmentation("crop")
class Crop(RandomWindow):
    """Take a random part of a sample, of its shape, and zoom it to the size of the whole.

    Args:
        scale: The least and the greatest share of the area that is taken, in (0, 1].

    Raises:
        ValueError: if they are no such shares.

    Source: the random resized crop of Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, section 6.
    Here the part has the shape of the image: depth and normals could not follow one that is stretched.
    """

    def __init__(self, scale: Sequence[float] = (0.8, 1.0)) -> None:
        super().__init__()
        self.scale = as_range("scale", scale, 0.01, 1)

    def window(self, height: int, width: int) -> Window:
        """A part of the image."""
        return zoomed_window(uniform(*self.scale) ** -0.5, height, width)
