"""Things elsewhere."""

from .ranges import as_number
from .step import register_augmentation
from .window import RandomWindow, Window, uniform


@register_augmentation("shift")
class Shift(RandomWindow):
    """Move a sample by a random number of pixels, up or down, and left or right. Sizes and colours stay as they are.

    Args:
        most: The greatest shift, as a share of height and width, in [0, 0.5].

    Raises:
        ValueError: if it is no such share.
    """

    def __init__(self, most: float = 0.1) -> None:
        super().__init__()
        self.most = as_number("most", most, 0, 0.5)

    def window(self, height: int, width: int) -> Window:
        """A window of the image's size."""
        top, left = (round(uniform(-self.most, self.most) * pixels) for pixels in (height, width))
        return Window(top, left, height, width)
