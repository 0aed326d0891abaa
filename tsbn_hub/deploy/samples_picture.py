"""Pictures of samples, with what is true and what a model predicts."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..tasks import Kind
from ..tasks.pictures import text_font, to_uint8
from .drawing import TEXT, as_image, beside, cut, draw_legend

_MOST_TASKS = 12
_CELL = 168  # pixels: the width of an image, and at most its height
_GAP = 8
_NAMES = 180  # pixels: the column of the tasks' names
_LETTER, _LINE = 13, 20


def draw_samples(
    images: Tensor, targets: Mapping[str, Tensor], predictions: Mapping[str, Tensor], kinds: Mapping[str, Kind]
) -> Image.Image:
    """Samples side by side, and below them for each task what is true and what is predicted.

    What a kind draws is drawn, on one scale for all samples, with its legend. What it has a caption for is written. Of
    more than 12 tasks the first 12 are shown.

    Args:
        images: (B, C, H, W), floating, in [0, 1]; of three channels, or else the first one is shown.
        targets: By task, of the batch.
        predictions: By task, what its kind's `predict` gives for the batch.
        kinds: By task.

    Returns:
        RGB.

    Example:
        >>> import torch
        >>> from tsbn_hub.deploy import draw_samples
        >>> from tsbn_hub.tasks import Classification
        >>> images, kinds = torch.rand(2, 3, 32, 32), {"pet": Classification(labels=["cat", "dog"])}
        >>> draw_samples(images, {"pet": torch.tensor([0, 1])}, {"pet": torch.eye(2)}, kinds).size
        (532, 224)
    """
    images = (images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)).float().cpu()
    bands = [_row(["image"], [_fitted(to_uint8(image)) for image in images])]
    for task, kind in list(kinds.items())[:_MOST_TASKS]:
        bands.append(_band(task, kind, images, targets[task].cpu(), predictions[task].cpu()))
    if len(kinds) > _MOST_TASKS:
        bands.append(_row([f"and {len(kinds) - _MOST_TASKS} more tasks"], []))
    return _stacked(bands)


def _band(task: str, kind: Kind, images: Tensor, target: Tensor, prediction: Tensor) -> Image.Image:
    """What is shown of a task: a line of text, or what is true above what is predicted."""
    captions = [kind.caption(said, true) for said, true in zip(prediction, target, strict=True)]
    if None not in captions:
        return _row([task, "predicted"], [_written(caption) for caption in captions if caption is not None])
    legend = None
    if kind.dense:
        # Beside each other they are one map, which is drawn on one scale.
        joined = torch.cat([*target.to(prediction.dtype), *prediction], dim=-1)
        pictures = kind.picture(joined, torch.cat([*images, *images], dim=-1)).split(images.shape[-1], dim=-1)
        legend = kind.legend(joined)
    else:
        twice = zip([*target, *prediction], [*images, *images], strict=True)
        pictures = tuple(kind.picture(value, image) for value, image in twice)
    cells = [_fitted(picture) for picture in pictures]
    rows = _row([task, "true"], cells[: len(images)]), _row(["", "predicted"], cells[len(images) :])
    pair = _stacked(rows)
    return pair if legend is None else beside(pair, draw_legend(legend, "", _LETTER))


def _row(names: Sequence[str], cells: Sequence[Image.Image]) -> Image.Image:
    """Cells beside each other, and to their left lines of text, the first of them bold."""
    height = max([cell.height for cell in cells] + [len(names) * _LINE])
    canvas = Image.new("RGB", (_NAMES + len(cells) * (_CELL + _GAP), height + _GAP), "white")
    _write(canvas, names, (_GAP, _GAP // 2), _NAMES - 2 * _GAP, bold=0)
    for column, cell in enumerate(cells):
        canvas.paste(cell, (_NAMES + column * (_CELL + _GAP), _GAP // 2))
    return canvas


def _written(lines: Sequence[str]) -> Image.Image:
    """What is predicted, and in bold the truth where it is another."""
    canvas = Image.new("RGB", (_CELL, 2 * _LINE), "white")
    _write(canvas, lines, (0, 0), _CELL, bold=1)
    return canvas


def _write(canvas: Image.Image, lines: Sequence[str], place: tuple[int, int], room: int, bold: int) -> None:
    """Lines of text, one of them bold."""
    for row, words in enumerate(lines):
        font = text_font(_LETTER, bold=row == bold)
        ImageDraw.Draw(canvas).text((place[0], place[1] + row * _LINE), cut(words, font, room), TEXT, font)


def _fitted(picture: Tensor) -> Image.Image:
    """A picture as large as a cell; pixels that are enlarged stay pixels."""
    image = as_image(picture)
    scale = _CELL / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    return canvas
