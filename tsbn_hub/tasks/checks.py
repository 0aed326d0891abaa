"""What is wrong with a target, or with a number that says what a task is, in words."""

import operator

import torch
from torch import Tensor


def check_map(
    target: Tensor, kind: str, dtype: torch.dtype, channels: tuple[int, ...], image_size: tuple[int, int]
) -> None:
    """Raise ValueError unless a target has a value for every pixel.

    Args:
        target: Of a batch.
        kind: The name of the kind, for the message.
        dtype: The expected dtype.
        channels: The dimensions between the batch's and the image's: (), or (3,) for vectors.
        image_size: Height and width of the images.
    """
    expected = (*channels, *image_size)
    if tuple(target.shape[1:]) != expected:
        raise ValueError(
            f"A target of {kind} has the shape {tuple(target.shape)}; expected is "
            f"(B, {', '.join(map(str, expected))}), in the size of the images: resize and crop targets together "
            "with their images."
        )
    if target.dtype != dtype:
        raise ValueError(
            f"A target of {kind} is {target.dtype}; expected is {dtype}: convert it with `target.to({dtype})`."
        )


def check_classes(target: Tensor, kind: str, num_classes: int) -> None:
    """Raise ValueError unless a target's values are classes, or -100."""
    outside = target[((target < 0) & (target != -100)) | (target >= num_classes)].unique().tolist()
    if outside:
        listed = ", ".join(map(str, outside[:10])) + (", …" if len(outside) > 10 else "")
        raise ValueError(
            f"A target of {kind} has the values {listed}; expected are 0 to {num_classes - 1}, and -100 where there "
            "is no target: map every other value to one of these when reading the data."
        )


def whole_number(value: object, name: str, least: int) -> int:
    """A number that counts something.

    Raises:
        ValueError: if it is none, or too small.

    Example:
        >>> from tsbn_hub.tasks.checks import whole_number
        >>> whole_number(2.5, "num_classes", least=1)
        Traceback (most recent call last):
        ValueError: num_classes=2.5 must be at least 1, and a whole number.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        whole = ", and a whole number" if number is None else ""
        raise ValueError(f"{name}={value!r} must be at least {least}{whole}.")
    return number
