"""Images of any kind, from files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import to_pil_image

from ..data.images import as_image
from ..data.images import check_image as check_sample_image
from ..models.preprocessing import check_channels


def read_image(path: str | Path) -> Image.Image:
    """Read an image file as a viewer shows it: RGB, in 8 bits a channel.

    It is turned as its EXIF data says; what is transparent is white; of 16 bits the upper 8 are kept; of an animation
    it is the first picture.

    Args:
        path: Of a file that Pillow can read.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is no image, is truncated, or has floating-point values, whose range nobody knows.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from tsbn_hub.deploy.images import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(Path(folder, "nothing.png"))
        ...     read_image(Path(folder, "nothing.png")).getpixel((0, 0))
        (255, 255, 255)
    """
    with Path(path).open("rb") as file:
        try:
            with Image.open(file) as image:
                return _in_8_bits(ImageOps.exif_transpose(image)).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error


def as_picture(image: object) -> Image.Image:
    """An image that is no file, as a picture of 8 bits a channel.

    Args:
        image: A picture already, which stays as it is; or a tensor or array (C, H, W), grey or RGB, as data sets have
            them: uint8, or floating-point numbers from 0 to 1.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(image, Image.Image):
        return image
    check_sample_image(image)
    values = as_image(image)
    check_channels(len(values))
    if values.dtype != torch.uint8:
        low, high = (value.item() for value in values.aminmax())
        if low < 0 or high > 1:
            raise ValueError(
                f"The values of the image go from {low:.3g} to {high:.3g}; expected are values from 0 to 1, which the "
                "model's own preprocessing normalises."
            )
        values = (values * 255).round().byte()
    picture: Image.Image = to_pil_image(values.cpu())
    return picture


def check_image(path: str | Path) -> None:
    """Raise an error if a file is missing or does not begin as an image; much faster than to read it.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is no image.
    """
    with Path(path).open("rb") as file:
        try:
            Image.open(file).close()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} is no image that can be read: {error}") from error


def _in_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, of a range that it does not say")
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
