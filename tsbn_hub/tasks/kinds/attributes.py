"""Attributes: several properties an image, each there or not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kind import Kind, register_kind
from ..labels import class_labels
from ..pictures import write_lines

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@register_kind("attributes")
class Attributes(Kind):
    """K binary attributes of each image, such as the 40 of CelebA (multi-label classification).

    Target: int64 (B, K), 1 (present), 0 (absent) or -100 (unknown, which counts nowhere). Output: logits (B, K). Loss:
    binary cross-entropy, the mean over the known entries.

    Metrics, in [0, 1] and higher is better, are taken of each attribute over the data set, and averaged over attributes
    (macro): the accuracy, and the F1 score of being present. An attribute counts as present above a probability of 0.5.
    What is undefined is left out of the average: an attribute that is never known, and in F1 one that is never present,
    in targets or predictions. Accuracy is the primary one: it is what is compared on CelebA, and it is defined for
    every attribute, while F1 hangs on few images where an attribute is rare.

    Args:
        num_classes: The number of attributes, K.
        labels: Their names; None: "0", "1", …

    Raises:
        ValueError: if the labels are not as many as the attributes.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.kinds.attributes import Attributes
        >>> task, logits = Attributes(2, labels=["smiling", "hat"]), torch.tensor([[3.0, -3.0], [3.0, 3.0]])
        >>> metrics = task.new_metrics()
        >>> metrics.update(task.predict(logits), torch.tensor([[1, 0], [0, -100]]))
        >>> metrics.compute()
        {'accuracy': tensor(0.7500), 'f1': tensor(0.6667)}
        >>> task.describe(task.predict(logits)[0])["present"]
        ['smiling']

    Source: Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", arXiv 1411.7766 (CelebA).
    """

    dense = False
    head = "linear"
    missing = -100
    metrics: ClassVar = {"accuracy": True, "f1": True}
    chosen_by = "accuracy"
    num_classes: int
    labels: list[str]

    def __init__(self, num_classes: int, labels: Sequence[str] | None = None) -> None:
        self.num_classes = num_classes
        self.labels = class_labels(num_classes, labels)

    @property
    def outputs(self) -> int:
        """The number of attributes."""
        return self.num_classes

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless this is int64 (B, K) of 0, 1 and -100."""
        if target.dtype != torch.int64 or target.ndim != 2 or target.shape[1] != self.num_classes:
            raise ValueError(
                f"A target of {self.num_classes} attributes is int64 (B, {self.num_classes}); this one is "
                f"{target.dtype} {tuple(target.shape)}. Convert it with .long(), and single attributes with [:, None]."
            )
        wrong = (target != 0) & (target != 1) & (target != self.missing)
        if wrong.any():
            raise ValueError(
                f"A target of attributes has the values {target[wrong].unique().tolist()}. Known are 0 (absent), "
                f"1 (present; write -1 and 1 as (target + 1) // 2) and {self.missing} (unknown)."
            )

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean binary cross-entropy of the known entries, a scalar; 0 if there is none."""
        known, present = (target != self.missing).float(), (target == 1).float()
        total = F.binary_cross_entropy_with_logits(output.float(), present, weight=known, reduction="sum")
        return total / self.count(target).clamp(min=1)

    def count(self, target: Tensor) -> Tensor:
        """How many terms the mean of the loss has: known entries, a scalar."""
        return (target != self.missing).sum()

    def predict(self, output: Tensor) -> Tensor:
        """The probability of each attribute: (B, K), float32."""
        return output.float().sigmoid()

    def new_metrics(self) -> "MetricCollection":
        """Accuracy and F1, averaged over attributes; NaN if no entry is known."""
        from torchmetrics import MetricCollection

        from ..metrics.attributes import AttributeAccuracy, AttributeF1

        counts = {"num_attributes": self.num_classes, "missing": self.missing}
        return MetricCollection(
            {"accuracy": AttributeAccuracy(**counts), "f1": AttributeF1(**counts)}, compute_groups=[["accuracy", "f1"]]
        )

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image with the attributes that are present (up to eight) written into it; of a prediction with scores."""
        if value.is_floating_point():
            described = self.describe(value)
            lines = [f"{label} {described['scores'][label]:.2f}" for label in described["present"]]
        else:
            lines = [label for label, entry in zip(self.labels, value.tolist(), strict=True) if entry == 1]
        return write_lines(image, lines[:8] + ["…"] * (len(lines) > 8))

    def describe(self, prediction: Tensor) -> dict[str, Any]:
        """The names of the attributes that are present, the surest first, and the probabilities of all."""
        scores = dict(zip(self.labels, prediction.tolist(), strict=True))
        present = [label for label in scores if scores[label] > 0.5]
        return {"present": sorted(present, key=scores.__getitem__, reverse=True), "scores": scores}
