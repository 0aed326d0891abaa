"""How a checkpoint wants its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Normalize


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images.

    Args:
        channels: 1 or 3: the images are grey, or RGB.
        prepare: From an image of PIL to what the model takes, (C, H, W), float32.
        show: The same, as the model sees it: before its values are normalised, (C, H, W), float32 in [0, 1].
        resizing: How it resizes and crops, in the words of the library, to be read.
    """

    channels: int
    prepare: Callable[[Image.Image], Tensor]
    show: Callable[[Image.Image], Tensor]
    resizing: str


def check_channels(channels: int) -> None:
    """Refuse images that no file of images holds.

    Raises:
        ValueError: unless they are grey (1) or RGB (3).
    """
    if channels not in (1, 3):
        raise ValueError(f"This model takes images of {channels} channels: only grey (1) and RGB (3) are known here.")


def check_mean(mean: object, channels: int, way_out: str) -> None:
    """Refuse a mean that images of so many channels cannot be shifted by.

    Raises:
        ValueError: if it is a sequence of another length; it names the way out.
    """
    if isinstance(mean, Sequence) and len(mean) != channels:
        raise ValueError(
            f"The checkpoint subtracts the mean {list(mean)} from images of {channels} channel{'s' * (channels > 1)}. "
            f"Save it anew with {way_out}."
        )


def normalization(mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """What shifts and scales images (…, C, H, W) with values from 0 to 1: nothing where it would change nothing."""
    changes = any(mean) or any(value != 1 for value in std)
    return Normalize(mean, std) if changes else nn.Identity()
