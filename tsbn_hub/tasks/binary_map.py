"""What kinds of task share that say yes or no to every pixel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from .checks import check_classes, check_map
from .kind import Json
from .losses import KindWithLosses
from .pictures import ColorBar, to_uint8


class BinaryMap(KindWithLosses):
    """Yes or no for each pixel.

    Target: int64 (B, H, W), 1 for yes, 0 for no, -100 for a pixel without a target, which counts nowhere.

    Output: logits (B, 1, H, W). Prediction: probabilities of yes, float32 (B, H, W), in [0, 1].

    Args:
        loss: By its name, or a mapping of its name and keywords; None: the default.

    Raises:
        ValueError: if there is no such loss, or it does not take the keywords.

    Attributes:
        yes: What a yes is, for `describe`.
    """

    yes: ClassVar[str]
    dense = True
    head = "small"
    default_loss = "binary_cross_entropy"
    missing = -100

    def __init__(self, loss: str | Mapping[str, Any] | None = None) -> None:
        self.choose_loss(loss)

    @property
    def outputs(self) -> int:
        """1."""
        return 1

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless the target is int64 (B, H, W), of 0, 1 and -100."""
        check_map(target, self.name, torch.int64, (), image_size)
        check_classes(target, self.name, 2)

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """The same values."""
        return target

    def compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, (B, H, W), and the target."""
        return output[:, 0].float(), target

    def predict(self, output: Tensor) -> Tensor:
        """The probabilities, float32 (B, H, W)."""
        return output[:, 0].float().sigmoid()

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """A target or probabilities as grey, from 0 in black to 1 in white; -100 is in the middle.

        Args:
            value: int64 or float (H, W).
            image: Not drawn.

        Returns:
            uint8 (3, H, W).
        """
        return to_uint8(value.float().where(self.valid(value), 0.5).expand(3, -1, -1))

    def legend(self, value: Tensor) -> ColorBar:
        """Greys from 0 to 1."""
        return ColorBar("probability", 0.0, 1.0, torch.linspace(0, 1, 256)[:, None].expand(-1, 3))

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The share of pixels with a probability above 0.5."""
        return {self.yes: (prediction > 0.5).float().mean().item()}
