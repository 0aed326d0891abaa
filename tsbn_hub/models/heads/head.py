"""What a head is, and the heads by their names."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from ...files.registry import Registry, UnknownNameError, did_you_mean


class FeatureInfo(NamedTuple):
    """The sizes of a backbone's features.

    Attributes:
        channels: Of each feature map, from fine to coarse; empty for a backbone without maps.
        strides: Pixels of the image for one pixel of each map.
        pooled: The size of the vector of an image.
    """

    channels: list[int]
    strides: list[int]
    pooled: int


class Features(NamedTuple):
    """A backbone's features for a batch.

    Attributes:
        maps: Each (B, C, H, W), with its own C, H and W, from fine to coarse.
        pooled: (B, D), a vector an image.
    """

    maps: list[Tensor]
    pooled: Tensor


class Head(nn.Module, ABC):
    """Maps a backbone's features to one task's output.

    A new head is a subclass with `@register_head("its name", dense=…)`, made from `outputs`, the features' sizes and
    the keywords of `head_args`: its name then works in every `Task`, config and checkpoint, once the file is imported.
    """

    @abstractmethod
    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        """The output: (B, outputs), or, of a dense task, (B, outputs, *size).

        Args:
            features: Of a batch.
            size: Height and width of the images.
        """


class DenseHead(Head):
    """A head with a value for every pixel. It says what it makes of the maps, at any resolution, in `decode`."""

    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        return F.interpolate(self.decode(features.maps), size, mode="bilinear")

    @abstractmethod
    def decode(self, maps: list[Tensor]) -> Tensor:
        """The output, (B, outputs, H, W), in the resolution of one of the maps."""


HeadClass = TypeVar("HeadClass", bound=type[Head])

heads: Registry[type[Head]] = Registry("head")  # in two groups, by whether they are dense


def register_head(name: str, dense: bool) -> Callable[[HeadClass], HeadClass]:
    """A decorator of subclasses of `Head`: tasks can name the head from now on.

    Args:
        name: Of the head. One for dense tasks and one for others can share it.
        dense: Whether the head is for tasks with a value for every pixel.

    Raises:
        ValueError: if another head has the name.
    """
    return heads.register(name, of=dense)


def make_head(name: str, outputs: int, dense: bool, features: FeatureInfo, **head_args: Any) -> Head:
    """A head by its name, freshly initialised.

    Args:
        name: "linear"; for dense tasks also "small", "deeplabv3", "upernet" or "segformer"; or another that is
            registered.
        outputs: The number of channels of its output.
        dense: Whether the task has a value for every pixel.
        features: The sizes of the backbone's features.
        head_args: Further keywords of the head: see its class.

    Raises:
        UnknownNameError: if there is no such head for such a task. It is a ValueError.
        ValueError: if it has no such keyword, or it needs feature maps and the backbone has none.

    Example:
        >>> import torch
        >>> from tsbn_hub.models.heads import FeatureInfo, Features, make_head
        >>> head = make_head("small", 13, dense=True, features=FeatureInfo([8, 16], [4, 8], pooled=16), channels=32)
        >>> features = Features([torch.rand(2, 8, 24, 32), torch.rand(2, 16, 12, 16)], torch.rand(2, 16))
        >>> head(features, (96, 128)).shape
        torch.Size([2, 13, 96, 128])
    """
    known = heads.names(of=dense)
    if name not in known:
        tasks = "with a value for every pixel" if dense else "with a value for every image"
        raise UnknownNameError(
            f"There is no head {name!r} for tasks {tasks}.{did_you_mean(name, known)} Known for them: "
            f"{', '.join(known)}."
        )
    head_class = heads.find(name, of=dense)
    keywords = [
        keyword for keyword in inspect.signature(head_class).parameters if keyword not in ("outputs", "features")
    ]
    unknown = [keyword for keyword in head_args if keyword not in keywords]
    if unknown:
        raise ValueError(f"The head {name!r} has no keywords {unknown}. It has {keywords}.")
    if dense and not features.channels:
        raise ValueError(f"The head {name!r} needs feature maps, and this backbone has none, only a vector an image.")
    return head_class(outputs, features, **head_args)
