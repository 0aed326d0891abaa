"""Parts of the code that a card shows."""

import json

from .surface import ImageShape

IMAGE_MODES = {1: "L", 3: "RGB"}
"""PIL's modes of images, by their channels."""


def quoted(text: str) -> str:
    """Text as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def opened_image(channels: int) -> str:
    """The code that opens a file of an image, grey or RGB."""
    return f'Image.open("photo.jpg").convert("{IMAGE_MODES[channels]}")'


def random_images(name: str, shape: ImageShape) -> str:
    """The line that makes a batch of one image of random values."""
    return f"{name} = torch.rand{(1, *shape)}  # images, prepared as those that it was trained on"
