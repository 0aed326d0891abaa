"""Surface normals: which way each pixel faces."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_map
from ..kind import Json, register_kind
from ..losses import KindWithLosses
from ..pictures import Swatches, to_uint8
from ..vectors import unit_vectors


@register_kind("normals")
class Normals(KindWithLosses):
    """Which way the surface at each pixel faces.

    Target: float32 (B, 3, H, W), unit vectors; the zero vector for a pixel without a target, which counts nowhere.

    Output: vectors of any length (B, 3, H, W). Loss: 1 - cos of the angle between them, or another by name. Prediction:
    unit vectors, float32 (B, 3, H, W); an output of exactly 0 stays 0, and is 90 degrees away from every target.

    Metrics, over the angles at all valid pixels of the data set: "mean_angle" and "median_angle" in degrees, lower is
    better, the median to 0.005 degrees; "within_11_25", "within_22_5" and "within_30", the shares below 11.25, 22.5
    and 30 degrees, in [0, 1], higher is better.

    Args:
        loss: "cosine", the default, "l1" or "mse" of the unit vectors, or another of `tsbn_hub.tasks.losses`; or a
            mapping of its name and keywords.

    Raises:
        ValueError: if there is no such loss, or it does not take the keywords.

    Source: Fouhey, Gupta, Hebert, "Data-Driven 3D Primitives for Single Image Understanding", ICCV 2013 (metrics); Liu,
    Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv 1803.10704 (loss).

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("normals", kind="normals"))
        >>> output, target = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.6, 0.8]]).view(2, 1, 3, 1, 1)
        >>> round(kind.loss(output, target).item(), 3)
        0.2
        >>> metrics = kind.new_metrics()
        >>> metrics.update(kind.predict(output), target)
        >>> round(metrics["mean_angle"].compute().item(), 2)
        36.87
    """

    dense = True
    head = "small"
    default_loss = "cosine"
    missing = 0
    metrics: ClassVar[dict[str, bool]] = {
        "mean_angle": False,
        "median_angle": False,
        "within_11_25": True,
        "within_22_5": True,
        "within_30": True,
    }
    chosen_by = "within_30"
    gives = "the unit vector of each pixel: x, y, z"

    def __init__(self, loss: str | Mapping[str, Any] | None = None) -> None:
        self.choose_loss(loss)

    @property
    def outputs(self) -> int:
        """3."""
        return 3

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless the target is float32 (B, 3, H, W), of lengths 0 or, to 1%, 1."""
        check_map(target, self.name, torch.float32, (3,), image_size)
        length = target.square().sum(dim=1).sqrt()
        wrong = length[~((length == 0) | ((length - 1).abs() <= 0.01))]
        if len(wrong):
            raise ValueError(
                f"A target of normals has {len(wrong)} vectors that are not of unit length, the first of length "
                f"{wrong[0]:.4g}; expected are unit vectors, and zero vectors where there is no target: normalise them "
                "when reading the data."
            )

    def compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors, and the target's."""
        known = output.float().where(self.valid(target)[:, None], 0)
        # The gradient grows as an output gets shorter; from 0.001 on it does not any more, so that 0 has a finite one.
        return unit_vectors(known, shortest=1e-3), unit_vectors(target)

    def valid(self, target: Tensor) -> Tensor:
        """Where the vector is not zero, bool (B, H, W)."""
        return target.any(dim=1)

    def predict(self, output: Tensor) -> Tensor:
        """Unit vectors, float32 (B, 3, H, W)."""
        return unit_vectors(output.float())

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """The normals, mirrored with x negated. A zoom leaves them: see `Depth.follow`."""
        return target * target.new_tensor([-1.0, 1.0, 1.0])[:, None, None] if mirrored else target

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The vectors' x, y, z from -1 to 1 as red, green, blue from dark to bright; zero vectors are black.

        Args:
            value: Unit vectors, float (3, H, W).
            image: Not drawn.

        Returns:
            uint8 (3, H, W).
        """
        return to_uint8(((value + 1) / 2).where(value.any(dim=0), 0))

    def legend(self, value: Tensor) -> Swatches:
        """The colours of the vectors along the axes."""
        axes = torch.cat([torch.eye(3), -torch.eye(3)])
        return Swatches(["+x", "+y", "+z", "−x", "−y", "−z"], (axes + 1) / 2)

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The mean of the unit vectors: x, y, z."""
        return {"mean_normal": prediction.mean(dim=(1, 2)).tolist()}
