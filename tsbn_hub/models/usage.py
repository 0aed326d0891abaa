"""Parts of the code that a card shows."""

import json

from .surface import ImageShape

IMAGE_MODES = {1: "L", 3: "RGB"}
"""PIL's modes of images, by their channels."""


def quoted(text: str) -> str:
    """Text as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def new_image(shape: ImageShape) -> str:
    """The code of an image of PIL, as large as a model takes."""
    channels, height, width = shape
    return f'Image.new("{IMAGE_MODES[channels]}", ({width}, {height}))'


def random_images(name: str, shape: ImageShape) -> str:
    """The line that makes a batch of one image of random values."""
    return f"{name} = torch.rand{(1, *shape)}  # images, prepared as those that it was trained on"
