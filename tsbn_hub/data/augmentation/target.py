"""How a target follows its image: its pixels move with the image's, and its kind says what becomes of its values."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from ...tasks import Kind


class Target(tv_tensors.TVTensor):
    """The target of a sample, which functions of torchvision's v2 change as its kind says.

    A pixel takes the value of the nearest one before, so that no values are mixed: of classes, across borders, with
    what is missing.

    Attributes:
        kind: Of its task.
    """

    kind: Kind

    @classmethod
    def of(cls, target: object, kind: Kind) -> "Target":
        """A target, of whatever a tensor can be made of."""
        wrapped: Target = torch.as_tensor(target).as_subclass(cls)
        wrapped.kind = kind
        return wrapped

    def moved(self, move: Callable[[Tensor], Tensor], mirrored: bool = False, zoom: float = 1.0) -> "Target":
        """The target after its image was changed.

        Args:
            move: Moves the pixels of a target for every pixel, (…, H, W).
            mirrored: Whether left and right were exchanged.
            zoom: How many times as large things are now.
        """
        values = self.as_subclass(Tensor)
        values = move(values) if self.kind.dense else values
        return Target.of(self.kind.follow(values, mirrored=mirrored, zoom=zoom), self.kind)


@F.register_kernel(F.horizontal_flip, Target)
def _horizontal_flip(target: Target) -> Target:
    return target.moved(lambda values: values.flip(-1), mirrored=True)


@F.register_kernel(F.pad, Target)
def _pad(target: Target, padding: Sequence[int], fill: object = None, padding_mode: str = "constant") -> Target:
    """The target with pixels (left, top, right, bottom) around it that have none, whatever the image has there."""
    left, top, right, bottom = padding
    missing = target.kind.missing
    return target.moved(lambda values: torch.nn.functional.pad(values, (left, right, top, bottom), value=missing))


@F.register_kernel(F.resized_crop, Target)
def _resized_crop(
    target: Target, top: int, left: int, height: int, width: int, size: Sequence[int], **_interpolation: object
) -> Target:
    rows, columns = top + _nearest(height, size[0])[:, None], left + _nearest(width, size[1])
    zoom = math.sqrt(size[0] * size[1] / (height * width))
    return target.moved(lambda values: values[..., rows, columns], zoom=zoom)


def _nearest(pixels: int, size: int) -> Tensor:
    """For each of `size` pixels, the nearest one of those that it is resized from, by their centres: (size,), int64."""
    return ((torch.arange(size, dtype=torch.float64) + 0.5) * pixels / size).long()


def _refuse(functional: Callable[..., Any]) -> None:
    # Without a kernel, torchvision would leave the target as it was, beside an image that was moved.
    @F.register_kernel(functional, Target)
    def refuse(target: Target, *args: object, **kwargs: object) -> NoReturn:
        raise ValueError(f"The targets of kind {target.kind.name!r} do not follow torchvision's {functional.__name__}.")


for _functional in (
    F.affine, F.center_crop, F.crop, F.elastic, F.five_crop, F.perspective, F.resize, F.rotate, F.ten_crop,
    F.vertical_flip,
):  # fmt: skip
    _refuse(_functional)
