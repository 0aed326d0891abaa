"""Targets for every pixel, from files of pictures or arrays."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ....files.images import FORMATS
from ....tasks import Depth, Kind, Normals, Segmentation

Array = npt.NDArray[np.generic]
_OF_WORDS = {"edge": "edges", "contour": "edges", "salien": "saliency", "normal": "normals", "depth": "depth"}
MILLIMETRE = 0.001


def read_array(source: Path | BytesIO) -> Array:
    """The values of a file: an npy file's array, or a picture's pixels as they are stored, of a palette the indices.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is neither, damaged, or pickled.
    """
    begin = source.getvalue()[:6] if isinstance(source, BytesIO) else _begin_of(source)
    try:
        if begin == b"\x93NUMPY":
            array: Array = np.load(source, allow_pickle=False)
            return array
        with Image.open(source, formats=FORMATS) as image:
            return np.asarray(image)
    except Exception as error:  # what a damaged file makes a decoder raise can be anything
        raise ValueError(f"it can be read as neither picture nor npy file: {error}") from error


def _begin_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def guess_kind(name: str, arrays: list[Array]) -> tuple[str | None, str]:
    """The kind of the maps of a column, and why; None: it is not known.

    Args:
        name: Of the column.
        arrays: Some of the maps.
    """
    said = next((kind for word, kind in _OF_WORDS.items() if word in name.lower()), None)
    depths = {array.ndim if 1 not in array.shape[2:] else 2 for array in arrays}
    types = {array.dtype for array in arrays}
    if depths == {3}:
        return ("normals", "vectors") if said == "normals" or _are_floats(types) else (None, "pictures in colour")
    if said in ("edges", "saliency", "depth"):
        return said, "by its name"
    if _are_floats(types) or types <= {np.dtype(np.uint16), np.dtype(np.int32)}:
        return "depth", "numbers" if _are_floats(types) else "pictures of 16 bits, in millimetres"
    values = {int(value) for array in arrays for value in np.unique(array)}
    if values <= {0, 255} or types == {np.dtype(bool)}:
        return "saliency", "masks in black and white"
    return "segmentation", "masks"


def _are_floats(types: set[np.dtype[np.generic]]) -> bool:
    return all(each.kind == "f" for each in types)


def number_of_classes(arrays: list[Array], ignore: int) -> int:
    """One more than the greatest class in some masks."""
    return 1 + max((int(array[array != ignore].max(initial=0)) for array in arrays), default=0)


def target_of(kind: Kind, array: Array, unit: float | None = None, ignore: int = 255) -> Tensor:
    """What the values of a file are for a kind of task.

    Args:
        kind: Of the task: dense.
        array: (H, W) or (H, W, 1); of normals (H, W, 3), vectors, or their x, y, z from -1 to 1 as bytes.
        unit: Of depths, in metres; None: 1 of floating-point numbers, and a millimetre of pictures of 16 bits.
        ignore: The class of pixels without a target; so is every negative one.

    Returns:
        The target of a sample, (H, W) or (3, H, W).

    Raises:
        ValueError: if the values cannot be of this kind.
    """
    if isinstance(kind, Normals):
        return _normals(array)
    plane = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if plane.ndim != 2:
        raise ValueError(f"it has the shape {array.shape}; expected is (H, W)")
    if isinstance(kind, Depth):
        return _depths(plane, unit)
    if isinstance(kind, Segmentation):
        if plane.dtype.kind == "f" and not np.array_equal(plane, np.round(plane)):
            raise ValueError("its classes are no whole numbers")
        classes = torch.from_numpy(plane.astype(np.int64))
        return classes.masked_fill((classes < 0) | (classes == ignore), Segmentation.missing)
    numbers = torch.from_numpy(plane.astype(np.float32))
    return (numbers > (0.5 if numbers.numel() == 0 or numbers.max() <= 1 else 127)).long()


def _depths(plane: Array, unit: float | None) -> Tensor:
    if unit is None and plane.dtype.kind != "f":
        if plane.dtype == np.uint8:
            raise ValueError("depths in 8 bits are of no known unit: say it, as in {kind: depth, unit: 0.04}")
        unit = MILLIMETRE
    depths = torch.from_numpy(plane.astype(np.float32)) * (1.0 if unit is None else unit)
    return depths.where(depths.isfinite() & (depths > 0), 0.0)


def _normals(array: Array) -> Tensor:
    if array.ndim != 3 or 3 not in (array.shape[0], array.shape[2]):
        raise ValueError(f"it has the shape {array.shape}; expected is (H, W, 3)")
    if array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    vectors = torch.from_numpy(np.ascontiguousarray(array.astype(np.float32))).movedim(-1, 0)
    if array.dtype == np.uint8:
        vectors = vectors * 2 / 255 - 1
    lengths = vectors.square().sum(dim=0).sqrt()
    # Black, and grey in the middle, are no directions.
    return (vectors / lengths.clamp(min=1e-6)).where((lengths > 0.5) & (lengths < 1.5), 0.0)
