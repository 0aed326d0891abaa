"""Avatars from seeds: what each shows, and its pixels."""

import io
import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from .style import Choices, Style

if TYPE_CHECKING:
    from dicebear import Avatar
    from dicebear import Style as Definition

LIBRARIES = ("dicebear-core", "dicebear-styles", "resvg-py")
_APART = 24  # of 255, in one channel at least: colours that are to be told from each other
_MOST_NOISE = 8  # of 255: standard deviation
_SHIFT = 16  # an avatar is shifted by up to this part of its size


def draw_choices(style: Style, random: Random) -> dict[str, str | None]:
    """What an avatar shows: every value as likely, but for colours that could not be seen on what is beneath."""
    choices: dict[str, str | None] = {}
    for part, values in style.options.items():
        lacks = not values or (part in style.optional and random.random() < 0.5)
        choices[part] = None if lacks else random.choice(values)
    for part, palette in style.palettes.items():
        beneath = [style.palettes[other].colours[str(choices[other])] for other in palette.unlike]
        seen = [name for name, colour in palette.colours.items() if all(_are_apart(colour, other) for other in beneath)]
        choices[part] = random.choice(seen)
    return choices


def photograph(style: Style, choices: Choices, size: int, random: Random) -> npt.NDArray[np.uint8]:
    """An avatar before a background of one colour: shifted, mirrored or not, with noise.

    Args:
        style: The style.
        choices: What the avatar shows.
        size: Height and width, in pixels.
        random: Draws the background, the shift, whether it is mirrored, and the noise.

    Returns:
        (3, size, size): red, green and blue.
    """
    avatar = draw_avatar(style, choices, size)
    image = Image.new("RGB", avatar.size, _background(style, choices, random))
    most = size // _SHIFT
    image.paste(avatar, (random.randint(-most, most), random.randint(-most, most)), avatar)
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    strength, seed = random.uniform(0, _MOST_NOISE), random.getrandbits(64)
    noise = np.random.default_rng(seed).standard_normal((size, size, 3), np.float32)
    pixels = np.array(image, np.float32) + np.float32(strength) * noise
    return pixels.round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def draw_avatar(style: Style, choices: Choices, size: int) -> Image.Image:
    """An avatar on a transparent background, RGBA."""
    from resvg_py import svg_to_bytes

    png = svg_to_bytes(svg_string=str(avatar_of(style, choices)), width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def avatar_of(style: Style, choices: Choices) -> "Avatar":
    """An avatar of DiceBear with all that is chosen, and nothing that its seed would choose."""
    from dicebear import Avatar

    options: dict[str, object] = {"seed": ""}
    for part in style.options:
        if choices[part] is not None:
            options[f"{part}Variant"] = choices[part]
        options[f"{part}Probability"] = 0 if choices[part] is None else 100
    for part, palette in style.palettes.items():
        options[part] = [palette.colours[str(choices[part])]]
    return Avatar(_definition(style.name), options)


def check_installed(style: Style) -> None:
    """Raise an error unless avatars of a style can be drawn.

    Raises:
        ImportError: if a library is missing.
        ValueError: if the installed version of dicebear-styles has not all that the style draws.
    """
    try:
        import dicebear_styles  # noqa: F401
        import resvg_py  # noqa: F401

        components = _definition(style.name).components()
    except ImportError as error:
        raise ImportError(
            "Avatars are drawn by dicebear-core, dicebear-styles and resvg-py: pip install 'tsbn_hub[avatars]'."
        ) from error
    lacks = [
        f"{part} {value}"
        for part, values in style.options.items()
        for value in values
        if part not in components or value not in components[part].variants()
    ]
    if lacks:
        raise ValueError(f"dicebear-styles {version('dicebear-styles')} has no {lacks} in {style.name}.")


@cache
def _definition(name: str) -> "Definition":
    from dicebear import Style as Definition

    return Definition(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")))


def _background(style: Style, choices: Choices, random: Random) -> tuple[int, int, int]:
    """A colour that is neither dark, as outlines are, nor one of the avatar's."""
    colours = [palette.colours[str(choices[part])] for part, palette in style.palettes.items()]
    while True:
        red, green, blue = (random.randint(64, 255) for _ in range(3))
        if all(_are_apart(f"#{red:02x}{green:02x}{blue:02x}", colour) for colour in colours):
            return red, green, blue


def _are_apart(one: str, other: str) -> bool:
    return any(abs(a - b) >= _APART for a, b in zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True))
