"""Edges: where one thing ends and another begins."""

from collections.abc import Mapping
from typing import Any, ClassVar

from ..binary_map import BinaryMap
from ..kind import register_kind


@register_kind("edges")
class Edges(BinaryMap):
    r"""Whether each pixel is on an edge between objects or parts.

    Target: int64 (B, H, W), 1 on an edge, 0 elsewhere, -100 for a pixel without a target, which counts nowhere. Output:
    logits (B, 1, H, W). Prediction: probabilities, float32 (B, H, W).

    Loss, unless another is named: as edges are few, binary cross-entropy in which a pixel on an edge weighs w and
    another 1 - w, over N valid pixels with probabilities p and targets y:

    .. math:: -\frac{1}{N} \sum_i \left( w y_i \log p_i + (1 - w) (1 - y_i) \log(1 - p_i) \right)

    Metric: "ods_f", in [0, 1], higher is better: 2 P R / (P + R) of precision P and recall R over all valid pixels of
    the data set, at the best of the thresholds 0.01, ..., 0.99 (one for the data set: "optimal data set scale"). A
    pixel that is predicted is right if an edge is within the tolerance, and an edge is found if a pixel within the
    tolerance is predicted. This is not the odsF of the BSDS benchmark, which thins the prediction first, matches its
    pixels to the edges one to one, and tolerates 0.75% of the image's diagonal: do not compare the two.

    Args:
        positive_weight: w of the default loss, in (0, 1); None: 0.95.
        tolerance: In pixels, along rows and columns; at least 0.
        loss: "weighted_cross_entropy", the default, "class_balanced_cross_entropy" (w of each image), "focal", "dice",
            "cross_entropy_dice", "binary_cross_entropy" or another of `tsbn_hub.tasks.losses`; or a mapping of its name
            and keywords.

    Raises:
        ValueError: if a number is outside its range, there is no such loss, or a loss is given and a `positive_weight`
            beside it.

    Source: Xie, Tu, "Holistically-Nested Edge Detection", arXiv 1504.06375, equation 2, with a weight that is fixed,
    0.95, as by Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", arXiv 1904.08918.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("edges", kind="edges", kind_args={"tolerance": 0}))
        >>> probabilities, target = torch.tensor([[[0.9, 0.2, 0.8, 0.1]]]), torch.tensor([[[1, 0, 0, 0]]])
        >>> metrics = kind.new_metrics()
        >>> metrics.update(probabilities, target)
        >>> metrics["ods_f"].compute().item()  # with a threshold from 0.81 to 0.9
        1.0
    """

    gives = "the probability of an edge at each pixel"
    yes = "edge"
    default_loss = "weighted_cross_entropy"
    only_for_training = ("loss", "positive_weight")
    metrics: ClassVar[dict[str, bool]] = {"ods_f": True}
    chosen_by = "ods_f"

    def __init__(
        self,
        positive_weight: float | None = None,
        tolerance: int = 1,
        loss: str | Mapping[str, Any] | None = None,
    ) -> None:
        if positive_weight is not None and loss is not None:
            raise ValueError(
                f"positive_weight={positive_weight} is of the default loss, and loss={loss!r} is given: write it there."
            )
        super().__init__(loss if positive_weight is None else {"positive_weight": positive_weight})
        if tolerance < 0 or not float(tolerance).is_integer():
            raise ValueError(f"tolerance={tolerance} must be a number of pixels: 0, 1, 2, ….")
        self.tolerance = int(tolerance)
