"""Depth: how far away each pixel is."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_map
from ..kind import Json, register_kind
from ..losses import KindWithLosses
from ..pictures import ColorBar, heat, to_uint8


@register_kind("depth")
class Depth(KindWithLosses):
    """How far away each pixel is.

    Target: float32 (B, H, W), in metres, 0 for a pixel without a target, which counts nowhere. Another unit does as
    well: "abs_err" and "rmse" are in the target's unit.

    Output: depths (B, 1, H, W). Loss: |p - t|, or another by name. Prediction: the depths, float32 (B, H, W),
    negative ones as 0.

    Metrics, over all valid pixels of the data set, of depths p and t: "abs_err", the mean of |p - t|; "rel_err", the
    mean of |p - t| / t; "rmse", the root of the mean of (p - t)²; "delta1", the share with max(p / t, t / p) < 1.25, in
    [0, 1]. Of "delta1" higher is better, of the others lower.

    Source: Eigen, Puhrsch, Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", arXiv
    1406.2283, section 4.3; the loss of Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv
    1803.10704.

    Args:
        loss: "l1", the default, "mse", "huber" or another of `tsbn_hub.tasks.losses`, in the unit of the targets; or a
            mapping of its name and keywords.

    Raises:
        ValueError: if there is no such loss, or it does not take the keywords.

    Attributes:
        measures: What the targets are, for the legend of pictures.
        unit: Of the targets, for the same. A kind with another one is a subclass that says it.
        near_is_greater: Whether a greater value is nearer, for the colours.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("depth", kind="depth"))
        >>> output, target = torch.tensor([[[[1.0, 3.0, 9.0]]]]), torch.tensor([[[1.0, 2.0, 0.0]]])
        >>> kind.loss(output, target).item()
        0.5
        >>> metrics = kind.new_metrics()
        >>> metrics.update(kind.predict(output), target)
        >>> {name: round(metrics[name].compute().item(), 3) for name in kind.metrics}
        {'abs_err': 0.5, 'rel_err': 0.25, 'rmse': 0.707, 'delta1': 0.5}
    """

    dense = True
    head = "small"
    default_loss = "l1"
    missing = 0
    metrics: ClassVar[dict[str, bool]] = {"abs_err": False, "rel_err": False, "rmse": False, "delta1": True}
    chosen_by = "delta1"
    gives = "the distance of each pixel"
    hub_task = "depth-estimation"
    measures: ClassVar[str] = "distance"
    unit: ClassVar[str | None] = "m"
    near_is_greater: ClassVar[bool] = False

    def __init__(self, loss: str | Mapping[str, Any] | None = None) -> None:
        self.choose_loss(loss)

    @property
    def outputs(self) -> int:
        """1."""
        return 1

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless the target is float32 (B, H, W), finite and not negative."""
        check_map(target, self.name, torch.float32, (), image_size)
        wrong = target[~((target >= 0) & target.isfinite())]
        if len(wrong):
            raise ValueError(
                f"A target of {self.name} has {len(wrong)} pixels that are negative, infinite or NaN, the first "
                f"{wrong[0]}; expected are values above 0, and 0 where there is no target: set these to 0 when reading "
                "the data."
            )

    def compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The depths, (B, H, W)."""
        return output[:, 0].float(), target

    def valid(self, target: Tensor) -> Tensor:
        """Where the depth is above 0, bool (B, H, W)."""
        return target > 0

    def predict(self, output: Tensor) -> Tensor:
        """The depths, float32 (B, H, W), negative ones as 0."""
        return output[:, 0].float().clamp(min=0)

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """Depths over the zoom; where a greater value is nearer, times the zoom.

        What is zoomed by s is what a camera of s times the focal length, looking at the scene made smaller by s, sees:
        depth over s, and the same normals. (A camera of the same focal length, which sees depths that are divided by s,
        would see normals (x, y, s z), normalised. Here, as by Xu et al., arXiv 1805.04409, they stay as they are.)
        """
        return target * zoom if self.near_is_greater else target / zoom

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The depths as colours, near ones bright, between the nearest and the farthest of the sample; 0 is black.

        Args:
            value: Depths, float (H, W).
            image: Not drawn.

        Returns:
            uint8 (3, H, W).
        """
        valid = self.valid(value)
        if not valid.any():
            return torch.zeros_like(value, dtype=torch.uint8).expand(3, -1, -1)
        return to_uint8(heat(self._nearness(value, *value[valid].aminmax())).where(valid, 0))

    def legend(self, value: Tensor) -> ColorBar | None:
        """Colours from the least to the greatest depth of the sample; None: there is none."""
        valid = value[self.valid(value)]
        if not len(valid):
            return None
        least, greatest = valid.aminmax()
        shown = torch.linspace(0, 1, 256)[None] * (greatest - least) + least
        colors = heat(self._nearness(shown, least, greatest))[:, 0].T
        return ColorBar(f"{self.measures} in {self.unit}", least.item(), greatest.item(), colors)

    def _nearness(self, value: Tensor, least: Tensor, greatest: Tensor) -> Tensor:
        """How near values between the least and the greatest are, from 0 to 1; 1 where these are equal."""
        if least == greatest:
            return torch.ones_like(value)
        return (value - least if self.near_is_greater else greatest - value) / (greatest - least)

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The least, the median and the greatest depth, in the unit of the targets."""
        return {
            "min": prediction.min().item(),
            "median": prediction.median().item(),
            "max": prediction.max().item(),
        }
