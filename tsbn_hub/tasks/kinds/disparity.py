"""Disparity: how near each pixel is."""

from typing import ClassVar

from ..kind import register_kind
from .depth import Depth


@register_kind("disparity")
class Disparity(Depth):
    """How near each pixel is: the disparity between two cameras, or any other inverse depth.

    Target: float32 (B, H, W), above 0, and greater for what is nearer; 0 for a pixel without a target, which counts
    nowhere. Its unit is that of the data.

    Output, loss, prediction and metrics are those of `Depth`, and of inverse depths: what papers print as the absolute
    and relative error of "depth" on Cityscapes. Pictures show near pixels bright, as pictures of depth do.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("depth", kind="disparity"))
        >>> output, target = torch.tensor([[[[0.1, 0.3, 9.0]]]]), torch.tensor([[[0.1, 0.2, 0.0]]])
        >>> round(kind.loss(output, target).item(), 3)
        0.05
    """

    gives = "the inverse depth of each pixel"
    measures: ClassVar[str] = "inverse depth"
    unit: ClassVar[str | None] = "the data's unit"
    near_is_greater: ClassVar[bool] = True
