"""Images of any kind, from files of anybody's."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are read. Others hand the file to another program, as EPS does, or are rare."""

WEIGHTS_OF_PICTURE = "weights"
"""The text of a PNG that holds the SHA-256 of the weights that it shows something of."""

LONGEST_SIDE = 100
"""How many times as long as the shorter side the longer one may be. A model's resizing makes the shorter side fit."""


def read_image(path: str | Path | BytesIO) -> Image.Image:
    """Read an image file as a viewer shows it: RGB, in 8 bits a channel.

    It is turned as its EXIF data says; what is transparent is white; of 16 bits the upper 8 are kept; of an animation
    it is the first picture.

    Args:
        path: Of a regular file in one of the formats of `FORMATS`; or the content of one.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is no regular file, no image, truncated, larger than Pillow's bound
            (`PIL.Image.MAX_IMAGE_PIXELS`, twice), so long that `check_sides` refuses it, or has floating-point values,
            whose range nobody knows.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from tsbn_hub.data import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(Path(folder, "nothing.png"))
        ...     read_image(Path(folder, "nothing.png")).getpixel((0, 0))
        (255, 255, 255)
    """
    with _opened(path) as image:
        return _in_8_bits(ImageOps.exif_transpose(image)).convert("RGB")


def check_image_file(path: str | Path | BytesIO) -> None:
    """Raise what `read_image` would of a file that does not begin as an image; much faster than to read it.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is no regular file, no image, too large, or too long.
    """
    with _opened(path):
        pass


def weights_of_picture(path: Path) -> str | None:
    """The SHA-256 of the weights that a picture notes that it is of; None: it is not there, or notes none."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            noted = image.info.get(WEIGHTS_OF_PICTURE)
    except Exception:  # noqa: BLE001 — whatever a damaged file makes a decoder raise, it notes nothing
        return None
    return noted if isinstance(noted, str) else None


def check_sides(image: Image.Image) -> None:
    """Refuse an image so long that resizing its shorter side for a model would take the memory of the machine.

    Raises:
        ValueError: if one side is more than `LONGEST_SIDE` times the other.

    Example:
        >>> from PIL import Image
        >>> from tsbn_hub.files.images import check_sides
        >>> check_sides(Image.new("L", (1, 60_000)))
        Traceback (most recent call last):
        ValueError: it is 1 x 60000 pixels: one side is over 100 times the other. Cut it into parts.
    """
    if max(image.size) > LONGEST_SIDE * min(image.size):
        raise ValueError(
            f"it is {image.width} x {image.height} pixels: one side is over {LONGEST_SIDE} times the other. Cut it "
            "into parts."
        )


@contextmanager
def _opened(source: str | Path | BytesIO) -> Iterator[Image.Image]:
    path = "The content" if isinstance(source, BytesIO) else Path(source)
    if isinstance(path, Path) and path.exists() and not path.is_file():
        # Opening a pipe waits for somebody to write into it.
        raise ValueError(f"{path} cannot be read as an image: it is {'a folder' if path.is_dir() else 'no file'}.")
    with path.open("rb") if isinstance(path, Path) else nullcontext(source) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                check_sides(image)
                yield image
        except Image.UnidentifiedImageError as error:
            raise ValueError(f"{path} is no image that can be read ({', '.join(FORMATS)}).") from error
        except Exception as error:  # what a damaged file makes a decoder raise can be anything
            raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _in_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, of a range that it does not say")
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
