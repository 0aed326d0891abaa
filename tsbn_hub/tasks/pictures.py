"""Pictures of targets and predictions, and what their colours mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import ImageFont


@dataclass(frozen=True)
class Swatches:
    """Colours that have a name each.

    Args:
        names: Of the colours, the most important one first.
        colors: (len(names), 3), float32 in [0, 1].
    """

    names: list[str]
    colors: Tensor


@dataclass(frozen=True)
class ColorBar:
    """Colours that stand for numbers.

    Args:
        label: What the numbers are, with their unit: "distance in m".
        low: The number of the first colour.
        high: The number of the last one.
        colors: (N, 3), float32 in [0, 1], in equal steps.
    """

    label: str
    low: float
    high: float
    colors: Tensor


Legend = Swatches | ColorBar


def text_font(size: float, bold: bool = False) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """DejaVu Sans where matplotlib is installed, which brings it; else Pillow's font, which has English letters alone.

    Example:
        >>> from tsbn_hub.tasks.pictures import text_font
        >>> text_font(12.0).getlength("depth") > 0
        True
    """
    from PIL import ImageFont

    matplotlib = find_spec("matplotlib")
    for home in (matplotlib.submodule_search_locations or []) if matplotlib else []:
        path = Path(home, "mpl-data", "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def write_lines(image: Tensor, lines: Sequence[str]) -> Tensor:
    """Write lines of text into an image, from its upper left corner, as large as fits.

    Args:
        image: (3, H, W), float32 in [0, 1].
        lines: The text; without a line the image stays as it is.

    Returns:
        (3, H, W), uint8.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.pictures import write_lines
        >>> write_lines(torch.zeros(3, 64, 64), ["cat 0.97"]).amax() > 128
        tensor(True)
    """
    import numpy
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().contiguous().numpy())
    draw, text, size = ImageDraw.Draw(canvas), "\n".join(lines), max(canvas.height / 10, 10.0)
    _, _, right, bottom = draw.multiline_textbbox((0, 0), text, text_font(size), stroke_width=1, spacing=1)
    size *= min(1.0, 0.95 * canvas.width / max(right, 1), 0.95 * canvas.height / max(bottom, 1))
    font = text_font(max(size, 4.0))
    # White with a black border: it can be read on any image.
    draw.multiline_text((1, 1), text, "white", font, spacing=1, stroke_width=1, stroke_fill="black")
    return torch.from_numpy(numpy.array(canvas)).permute(2, 0, 1).to(image.device)


def to_uint8(picture: Tensor) -> Tensor:
    """Values from 0 to 1, any floating dtype, as uint8 from 0 to 255; what is outside is clipped.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.pictures import to_uint8
        >>> to_uint8(torch.tensor([-1.0, 0.0, 0.5, 1.0]))
        tensor([  0,   0, 128, 255], dtype=torch.uint8)
    """
    return (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)


# Okabe and Ito's colours, which people with any colour vision tell apart, with grey in the place of black.
_CLASSES = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0),
    (86, 180, 233), (204, 121, 167), (240, 228, 66), (153, 153, 153),
)  # fmt: skip


def class_colors(num_classes: int) -> Tensor:
    """A colour for each class, float32 (num_classes, 3), in [0, 1]; up to 256 they all differ.

    The first eight are those of Okabe and Ito, which people with any colour vision tell apart; the next eight are the
    same, dark, and the next eight light. Beyond are PASCAL VOC's, in which every third bit of a class's number, from
    the lowest, is a bit of red, green or blue, from the highest.

    Example:
        >>> from tsbn_hub.tasks.pictures import class_colors
        >>> (class_colors(9) * 255).int()[[0, 1, 8]].tolist()
        [[0, 114, 178], [230, 159, 0], [0, 57, 89]]
    """
    base = torch.tensor(_CLASSES) / 255
    first = torch.cat([base, base / 2, (base + 1) / 2])[:num_classes]
    classes = torch.arange(len(first), num_classes)
    colors = torch.zeros(len(classes), 3, dtype=torch.int64)
    for bit in range(8):
        colors[:, bit % 3] += (classes >> bit & 1) << (7 - bit // 3)
    return torch.cat([first, colors / 255])


# Viridis, nine colours of matplotlib's, which are in the public domain.
_HEAT = (
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip


def heat(values: Tensor) -> Tensor:
    """Values as colours of equal steps to the eye, from dark violet for 0 to bright yellow for 1.

    Args:
        values: (H, W), floating, in [0, 1]; what is outside is clipped.

    Returns:
        (3, H, W), float32, in [0, 1].

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.pictures import heat
        >>> (heat(torch.tensor([[0.0, 1.0]])) * 255).int()[:, 0].T.tolist()
        [[68, 1, 84], [253, 231, 37]]
    """
    colors = torch.tensor(_HEAT, device=values.device).T / 255
    positions = values.float().clamp(0, 1) * (len(_HEAT) - 1)
    below = positions.long().clamp(max=len(_HEAT) - 2)
    return torch.lerp(colors[:, below], colors[:, below + 1], positions - below)
