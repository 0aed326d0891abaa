"""Images of any kind, from files."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


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
