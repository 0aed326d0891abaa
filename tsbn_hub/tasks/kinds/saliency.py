"""Saliency: what one looks at first."""

from typing import ClassVar

from ..binary_map import BinaryMap
from ..kind import register_kind


@register_kind("saliency")
class Saliency(BinaryMap):
    """Whether each pixel belongs to what one looks at first.

    Target: int64 (B, H, W), 1 if salient, 0 if not, -100 for a pixel without a target, which counts nowhere. Output:
    logits (B, 1, H, W). Loss: binary cross-entropy, or another by name. Prediction: probabilities, float32 (B, H, W).

    Metrics, in [0, 1], higher is better:

    - "max_f": 1.3 P R / (0.3 P + R) of precision P and recall R over all valid pixels of the data set, at the best of
      the thresholds 0.01, ..., 0.99.
    - "miou": the mean over images of the intersection over union of what is salient, at the best of the thresholds
      0.2, 0.25, ..., 0.9, one for the data set; 1 for an image in which nothing is salient or predicted.

    Args:
        loss: "binary_cross_entropy", the default, "weighted_cross_entropy", "class_balanced_cross_entropy", "focal",
            "dice", "cross_entropy_dice" or another of `tsbn_hub.tasks.losses`; or a mapping of its name and keywords.

    Raises:
        ValueError: if there is no such loss, or it does not take the keywords.

    Source: Achanta, Hemami, Estrada, Süsstrunk, "Frequency-tuned Salient Region Detection", CVPR 2009 (β² = 0.3);
    Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", arXiv 1904.08918 ("miou").

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> kind = make_kind(Task("saliency", kind="saliency"))
        >>> metrics = kind.new_metrics()
        >>> metrics.update(torch.tensor([[[0.9, 0.7, 0.6, 0.1]]]), torch.tensor([[[1, 1, 0, -100]]]))
        >>> {name: metrics[name].compute().item() for name in kind.metrics}  # with a threshold of 0.7
        {'max_f': 1.0, 'miou': 1.0}
    """

    gives = "the probability that each pixel is salient"
    yes = "salient"
    metrics: ClassVar[dict[str, bool]] = {"max_f": True, "miou": True}
    chosen_by = "max_f"
    hub_task = "image-segmentation"
    hub_metrics: ClassVar = {"miou": "mean_iou"}
