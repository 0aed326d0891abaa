"""Steps that show a part of a sample, or more than all of it, in the size of the whole."""

from typing import Any, ClassVar, NamedTuple

import torch
from torchvision.transforms.v2 import functional as F

from .step import Effect, Step


class Window(NamedTuple):
    """A rectangle of pixels; it may reach beyond the image.

    Attributes:
        top: Its first row.
        left: Its first column.
        height: How many rows it has.
        width: How many columns it has.
    """

    top: int
    left: int
    height: int
    width: int


class RandomWindow(Step):
    """Takes a random window of a sample, and resizes it to the size of the whole, the image bilinearly.

    Beyond its border an image is continued by the pixels there; a target for every pixel has none.
    """

    changes: ClassVar[Effect] = "places"

    def window(self, height: int, width: int) -> Window:
        """A random window of an image of this size, of its shape."""
        raise NotImplementedError

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The window, for v2."""
        height, width = F.get_size(flat_inputs[0])
        return {"window": self.window(height, width), "size": [height, width]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image, or a target, in the window."""
        (top, left, height, width), size = params["window"], params["size"]
        beyond = [max(0, -left), max(0, -top), max(0, left + width - size[1]), max(0, top + height - size[0])]
        if any(beyond):
            inpt = F.pad(inpt, beyond, padding_mode="edge")
            top, left = top + beyond[1], left + beyond[0]
        return F.resized_crop(inpt, top, left, height, width, size)


def zoomed_window(zoom: float, height: int, width: int) -> Window:
    """A window at a random place within the image, or around it, in which things are so many times as large."""
    rows, columns = max(1, round(height / zoom)), max(1, round(width / zoom))
    return Window(_between(0, height - rows), _between(0, width - columns), rows, columns)


def uniform(low: float, high: float) -> float:
    """A random number between two, by torch's global generator."""
    return low + (high - low) * torch.rand(()).item()


def _between(one: int, other: int) -> int:
    """A random whole number from one to the other, both included."""
    low, high = sorted((one, other))
    return int(torch.randint(low, high + 1, ()))
