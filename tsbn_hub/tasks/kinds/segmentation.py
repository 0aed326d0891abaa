"""Segmentation: one class for each pixel."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_classes, check_map
from ..kind import Json, register_kind
from ..labels import LabelledKind
from ..losses import KindWithLosses
from ..pictures import Swatches, class_colors, to_uint8


@register_kind("segmentation")
class Segmentation(KindWithLosses, LabelledKind):
    """One of C classes for each pixel: semantic segmentation, or parts of people.

    Target: int64 (B, H, W), from 0 to C - 1, or -100 for a pixel without a target, which counts nowhere. An image may
    have no other: one without a person, where parts of people are looked for.

    Output: logits (B, C, H, W). Loss: cross-entropy, or another by name. Prediction: the classes, int64 (B, H, W).

    Metrics, from one confusion matrix over the data set, in [0, 1], higher is better: "miou", intersection over union,
    the mean over the classes that are in the targets or the predictions; "pixel_accuracy".

    Args:
        num_classes: C.
        labels: The classes' names; None: their numbers.
        loss: "cross_entropy", the default, "focal", "dice", "cross_entropy_dice" or another of
            `tsbn_hub.tasks.losses`; or a mapping of its name and keywords.

    Raises:
        ValueError: if there is no class, or the labels are not as many as the classes; if there is no such
            loss.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("seg", kind="segmentation", labels=["floor", "wall"]))
        >>> logits = torch.tensor([[[[2.0, 0.0, 1.0]], [[0.0, 2.0, 0.0]]]])  # one image of 1x3 pixels
        >>> metrics = kind.new_metrics()
        >>> metrics.update(kind.predict(logits), torch.tensor([[[0, 1, 1]]]))
        >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}
        {'miou': 0.5, 'pixel_accuracy': 0.667}
        >>> {label: round(share, 2) for label, share in kind.describe(kind.predict(logits)[0]).items()}
        {'floor': 0.67, 'wall': 0.33}
    """

    dense = True
    head = "small"
    default_loss = "cross_entropy"
    metrics: ClassVar[dict[str, bool]] = {"miou": True, "pixel_accuracy": True}
    chosen_by = "miou"
    metrics_share_state = True
    gives = "the class of each pixel"
    hub_task = "image-segmentation"
    hub_metrics: ClassVar = {"miou": "mean_iou"}

    def __init__(
        self, num_classes: int, labels: Sequence[str] | None = None, loss: str | Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(num_classes, labels)
        self.choose_loss(loss)

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless the target is int64 (B, H, W), of classes or -100."""
        check_map(target, self.name, torch.int64, (), image_size)
        check_classes(target, self.name, self.outputs)

    def predict(self, output: Tensor) -> Tensor:
        """The classes with the highest logits, int64 (B, H, W)."""
        return output.argmax(dim=1)

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image in grey, with each class in a colour over it; pixels without a target as they are.

        The colours are those of `class_colors`: two parts of colour, and one of grey.

        Args:
            value: Classes, int64 (H, W), or -100.
            image: float32 (3, H, W) in [0, 1].

        Returns:
            uint8 (3, H, W).
        """
        colors = class_colors(self.outputs).to(value.device)[value.clamp(min=0)].movedim(-1, 0)
        return to_uint8(torch.where(self.valid(value), _over(colors, image.mean(dim=0, keepdim=True)), image))

    def legend(self, value: Tensor) -> Swatches:
        """The colours of the classes that are there, over a grey between black and white, the largest class first."""
        counts = torch.bincount(value[self.valid(value)].flatten(), minlength=self.outputs)
        there = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]]
        return Swatches([self.label(index) for index in there], _over(class_colors(self.outputs)[there], 0.5))

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The share of the pixels that each class has, in [0, 1], by its label, if it has any."""
        counts = torch.bincount(prediction.flatten(), minlength=self.outputs).tolist()
        return {label: count / prediction.numel() for label, count in self.by_label(counts).items() if count}


def _over(colors: Tensor, grey: Tensor | float) -> Tensor:
    """Colours of classes over the grey values of an image, by broadcasting."""
    return (2 * colors + grey) / 3
