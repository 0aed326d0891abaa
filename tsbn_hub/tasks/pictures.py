"""Pictures of targets and predictions."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().contiguous().numpy())
    draw, text, size = ImageDraw.Draw(canvas), "\n".join(lines), max(canvas.height / 10, 10.0)
    _, _, right, bottom = draw.multiline_textbbox((0, 0), text, ImageFont.load_default(size), stroke_width=1, spacing=1)
    size *= min(1.0, 0.95 * canvas.width / max(right, 1), 0.95 * canvas.height / max(bottom, 1))
    font = ImageFont.load_default(max(size, 4.0))
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


def class_colors(num_classes: int) -> Tensor:
    """A colour for each class, float32 (num_classes, 3), in [0, 1]; up to 256 they all differ.

    Source: PASCAL VOC's. Every third bit of a class's number, from the lowest, is a bit of red, green or blue, from the
    highest.

    Example:
        >>> from tsbn_hub.tasks.pictures import class_colors
        >>> (class_colors(4) * 255).int().tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    classes = torch.arange(num_classes)
    colors = torch.zeros(num_classes, 3, dtype=torch.int64)
    for bit in range(8):
        colors[:, bit % 3] += (classes >> bit & 1) << (7 - bit // 3)
    return colors / 255


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
