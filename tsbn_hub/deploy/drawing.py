"""Values for each pixel, drawn over a photo of any size, and the legend beside them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..models.preprocessing import Preprocessing
from ..tasks import Kind
from ..tasks.pictures import ColorBar, Legend, text_font, to_uint8

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TEXT = (30, 30, 30)
_LARGEST = 2048  # pixels a side; a larger picture is drawn at this size, and enlarged
_LARGEST_WRITTEN = 1024  # of a picture with nothing but text in it
_MOST_NAMES = 24


def view_of(preprocessing: Preprocessing, size: tuple[int, int]) -> Box:
    """What a model sees of a photo, in the photo's pixels: a part of it, or more where it is padded.

    It is read off what the preprocessing makes of two ramps, so that nothing need be known of its steps.

    Args:
        preprocessing: Resizes, crops or pads.
        size: Width and height of the photo.
    """
    width, height = size
    mode = "RGB" if preprocessing.channels == 3 else "L"
    across, down = ((np.arange(length) + 0.5) * 255 / length for length in size)
    ramps = (
        np.broadcast_to(across, (height, width)),
        np.broadcast_to(down[:, None], (height, width)),
        np.full((height, width), 255.0),
    )
    x, y, inside = (
        preprocessing.show(Image.fromarray(ramp.round().astype(np.uint8)).convert(mode))[0].double() for ramp in ramps
    )
    inside = inside > 0.99  # what is padded is dark
    left, right = (edge * width for edge in _edges(x.where(inside, torch.nan).nanmean(dim=0)))
    top, bottom = (edge * height for edge in _edges(y.where(inside, torch.nan).nanmean(dim=1)))
    return left, top, right, bottom


def _edges(ramp: Tensor) -> tuple[float, float]:
    """Where the first pixel of a ramp begins and the last one ends, on a scale on which the whole ramp is 0 to 1."""
    places = torch.arange(len(ramp), dtype=ramp.dtype)
    used = ramp.isfinite() & (ramp > 0.02) & (ramp < 0.98)  # the ends are rounded off where an image is enlarged
    if used.sum() < 2:
        return 0.0, 1.0
    x, y = places[used], ramp[used]
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    first = y.mean() - slope * (x.mean() + 0.5)
    begin, end = first.item(), (first + slope * len(ramp)).item()
    # What is measured is right to some thousandths.
    return 0.0 if abs(begin) < 0.005 else begin, 1.0 if abs(end - 1) < 0.005 else end


def drawn(kind: Kind, value: Tensor, photo: Image.Image, view: Box, title: str) -> Image.Image:
    """What is said of a photo, as large and of the same shape, with a legend at its right where the kind has one.

    Args:
        kind: Of the task.
        value: A target or prediction; of a dense kind for what the model sees, (…, H, W).
        photo: RGB.
        view: What the model sees of it. Outside, the photo is pale and grey.
        title: Of the legend.

    Returns:
        The picture. One of a kind that is not dense has at most 1,024 pixels a side, and no legend.
    """
    scale = min(1.0, (_LARGEST if kind.dense else _LARGEST_WRITTEN) / max(photo.size))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    pixels = as_pixels(photo.resize(size, Image.Resampling.LANCZOS) if size != photo.size else photo)
    if not kind.dense:
        return as_image(kind.picture(value, pixels))
    _, height, width = pixels.shape
    left, top, right, bottom = (edge * scale for edge in view)
    value, rows, columns = placed(value, (left, top, right, bottom), (width, height))
    picture = to_uint8((pixels.mean(dim=0, keepdim=True).expand(3, -1, -1) + 1) / 2)
    picture[:, rows, columns] = kind.picture(value, pixels[:, rows, columns])
    image = as_image(picture)
    image = image if image.size == photo.size else image.resize(photo.size, Image.Resampling.BILINEAR)
    legend = kind.legend(value)
    if legend is None:
        return image
    note = "" if value.shape[-2:] == (height, width) else "pale: not seen"
    return beside(image, draw_legend(legend, title, max(13, min(photo.size) // 32), note))


def placed(value: Tensor, view: Box, size: tuple[int, int]) -> tuple[Tensor, slice, slice]:
    """A map of values of what a model sees, in the pixels of the photo.

    Args:
        value: (…, h, w), of what the model sees.
        view: What it sees, in the photo's pixels.
        size: Width and height of the photo.

    Returns:
        The values of the photo's pixels that the model sees, (…, H, W), and the rows and columns where they are.
    """
    width, height = size
    left, top, right, bottom = map(round, view)
    value = resized(value, (max(bottom - top, 1), max(right - left, 1)))
    value = value[..., max(-top, 0) : height - top, max(-left, 0) : width - left]
    rows, columns = (
        slice(max(first, 0), max(first, 0) + n) for first, n in zip((top, left), value.shape[-2:], strict=True)
    )
    return value, rows, columns


def resized(value: Tensor, size: tuple[int, int]) -> Tensor:
    """A map of values (…, H, W) in another size: numbers in between, but the nearest of whole numbers."""
    if value.shape[-2:] == size:
        return value
    planes = value.reshape(1, -1, *value.shape[-2:])
    if value.is_floating_point():
        planes = F.interpolate(planes, size, mode="bilinear", align_corners=False)
    else:
        planes = F.interpolate(planes.double(), size, mode="nearest-exact").to(value.dtype)
    return planes.reshape(*value.shape[:-2], *size)


def draw_legend(legend: Legend, title: str, text: float, note: str = "") -> Image.Image:
    """A legend, dark on white.

    Args:
        legend: Of a kind.
        title: Above it; it may be empty.
        text: The height of the letters, in pixels.
        note: Below it.
    """
    font, bold, line = text_font(text), text_font(text, bold=True), round(1.5 * text)
    swatch, gap = round(1.1 * text), round(0.5 * text)
    is_bar = isinstance(legend, ColorBar)
    names, step = (_ticks(legend), 2) if isinstance(legend, ColorBar) else (_names(legend.names), 1)
    head = [cut(title, bold, 16 * text)] if title else []
    head += [legend.label] if isinstance(legend, ColorBar) else []
    bottom = [note] if note else []
    rows = step * (len(names) - 1) + 1
    # Bold is the widest that a line can be.
    width = max(
        [swatch + gap + font.getlength(name) for name in names] + [bold.getlength(words) for words in head + bottom]
    )
    canvas = Image.new("RGB", (round(width) + 2 * gap, (len(head) + rows + len(bottom)) * line + 2 * gap), "white")
    pen = ImageDraw.Draw(canvas)
    for row, words in enumerate(head):
        pen.text((gap, gap + row * line), words, TEXT, bold if title and row == 0 else font)
    top = gap + len(head) * line
    if is_bar:
        bar = as_image(to_uint8(legend.colors.flip(0).T[:, :, None]))
        canvas.paste(bar.resize((swatch, rows * line - line // 2), Image.Resampling.BILINEAR), (gap, top + line // 4))
    for row, name in enumerate(names):
        y = top + row * line * step
        if not is_bar and row < _MOST_NAMES:
            red, green, blue = to_uint8(legend.colors[row]).tolist()
            pen.rectangle((gap, y + line // 8, gap + swatch, y + line // 8 + swatch), (red, green, blue), TEXT)
        pen.text((2 * gap + swatch, y), name, TEXT, font)
    for words in bottom:
        pen.text((gap, top + rows * line), words, TEXT, font)
    return canvas


def _ticks(bar: ColorBar) -> list[str]:
    """The highest number above."""
    middle = (bar.low + bar.high) / 2
    return [f"{number:.3g}" for number in ((bar.high, middle, bar.low) if bar.high > bar.low else (bar.high,))]


def _names(names: Sequence[str]) -> list[str]:
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return [" ".join(name.split())[:30] for name in names[:_MOST_NAMES]] + more


def cut(text: str, font: Font, width: float) -> str:
    """A text in one line, without its end where it is wider than so many pixels."""
    text = " ".join(text.split())
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures beside each other, at the top, on white."""
    canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width, 0))
    return canvas


def as_pixels(image: Image.Image) -> Tensor:
    """An image in RGB as (3, H, W), float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def as_image(picture: Tensor) -> Image.Image:
    """A picture, (3, H, W), uint8, as an image."""
    return Image.fromarray(picture.permute(1, 2, 0).cpu().contiguous().numpy())
