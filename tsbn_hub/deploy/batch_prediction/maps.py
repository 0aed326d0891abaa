"""Predictions for every pixel as files of values, which a table of files takes as targets."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from ...data.sets.table.maps import MILLIMETRE, Array
from ...tasks import Depth, Kind, Normals, Segmentation
from ...tasks.binary_map import BinaryMap
from ...tasks.vectors import unit_vectors
from ..drawing import Box, placed

MapFormat = Literal["png", "npy"]


def whole_map(kind: Kind, value: Tensor, view: Box, size: tuple[int, int]) -> Tensor:
    """A prediction for every pixel, as large as the image; what the model does not see has no value.

    Args:
        kind: Of the task: dense.
        value: What it predicts, (…, h, w).
        view: What the model sees of the image, in pixels.
        size: Width and height of the image.

    Returns:
        (…, height, width). Numbers are interpolated, classes are those of the nearest pixel, and normals stay of unit
        length. Where there is no value: -100 of segmentation, 0 of the others.
    """
    width, height = size
    nothing = kind.missing if isinstance(kind, Segmentation) else 0
    whole = value.new_full((*value.shape[:-2], height, width), nothing)
    seen, rows, columns = placed(value, view, size)
    whole[..., rows, columns] = unit_vectors(seen[None])[0] if isinstance(kind, Normals) else seen
    return whole


def encoded_map(kind: Kind, value: Tensor, form: MapFormat) -> Array:
    """The values of a map, as they are in its file.

    Args:
        kind: Of the task: dense.
        value: (H, W), or of normals (3, H, W).
        form: "npy": of depths, probabilities and vectors the numbers, float32, vectors as (H, W, 3). "png": of depths
            thousandths, 16 bits; of probabilities 0 to 255; of vectors x, y, z from -1 to 1 as 0 to 255. In both, of
            segmentation the numbers of the classes, and 255 for none; of over 255 classes in 16 bits, and 65,535 for
            none.

    Raises:
        ValueError: if a value is too large for the file, or the kind has no such file.
    """
    if isinstance(kind, Segmentation):
        dtype = np.uint8 if kind.outputs <= np.iinfo(np.uint8).max else np.uint16
        return value.masked_fill(~kind.valid(value), np.iinfo(dtype).max).numpy().astype(dtype)
    if form == "npy":
        return (value.movedim(0, -1) if value.ndim == 3 else value).contiguous().numpy()
    if isinstance(kind, Depth):
        most = np.iinfo(np.uint16).max * MILLIMETRE
        if value.max() > most:
            raise ValueError(f"a {kind.name} of {value.max():.4g} is above {most:g}, which PNG ends at: take npy")
        return (value.double() / MILLIMETRE).round().numpy().astype(np.uint16)
    if isinstance(kind, Normals):
        return ((value.movedim(0, -1) + 1) * 127.5).round().numpy().astype(np.uint8)
    if isinstance(kind, BinaryMap):
        return (value * 255).round().numpy().astype(np.uint8)
    raise ValueError(f"maps of the kind {kind.name!r} have no form as PNG: take npy")


def write_map(array: Array, path: Path, form: MapFormat) -> None:
    """Write the values of a map, as `encoded_map` gives them, into a file that may be called anything."""
    if form == "png":
        Image.fromarray(array).save(path, format="PNG")
    else:
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
