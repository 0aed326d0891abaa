"""Cross-entropy of classes, with weights and smoothing."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..task import Json
from .loss import Loss, register_loss
from .weights import BALANCED, Weights, balanced_class_weights, check_weights, weights_like


class ClassLoss(Loss):
    """A loss of classes, each of which may weigh more or less.

    Args:
        num_classes: The number of classes, K.
        class_weights: What a label of each class weighs; "balanced": `balanced_class_weights`, whose mean over the
            training labels is 1. The sum is divided by the number of labels, not, as in `torch.nn.CrossEntropyLoss`, by
            that of their weights: else the loss of a step would not be the mean over its labels.
    """

    by_label = ("class_weights",)

    def __init__(self, num_classes: int | None, class_weights: Weights = None) -> None:
        super().__init__(num_classes)
        check_weights("class_weights", class_weights, num_classes)
        self.class_weights = class_weights
        self.from_targets = ("class_weights",) if class_weights == BALANCED else ()

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The balanced weights."""
        if self.num_classes is None:
            raise ValueError("class_weights='balanced' needs the number of classes: give num_classes or labels.")
        return {"class_weights": balanced_class_weights(targets, self.num_classes)}

    def cross_entropies(self, output: Tensor, target: Tensor, valid: Tensor, smoothing: float = 0.0) -> Tensor:
        """The weighted cross-entropy of each label, in the shape of the targets; 0 where there is none."""
        # What the network says where there is no label may be infinite, and infinity times a gradient of 0 is NaN.
        logits, weights = (
            output.masked_fill(~valid[:, None], 0),
            weights_like("class_weights", self.class_weights, output),
        )
        # Summed by the caller: torch's own sum over pixels is refused on CUDA where only deterministic algorithms are
        # allowed.
        return F.cross_entropy(
            logits, target.where(valid, -100), weights, ignore_index=-100, reduction="none", label_smoothing=smoothing
        )


@register_loss("cross_entropy", "classification", "segmentation")
class CrossEntropy(ClassLoss):
    """Cross-entropy: the default of classification and segmentation.

    Args:
        num_classes: The number of classes, K.
        class_weights: See `ClassLoss`.
        label_smoothing: How much of each label is spread over all classes, in [0, 1), as in
            `torch.nn.CrossEntropyLoss`.

    Raises:
        ValueError: if the weights or the smoothing are out of their range.
    """

    def __init__(self, num_classes: int | None, class_weights: Weights = None, label_smoothing: float = 0.0) -> None:
        super().__init__(num_classes, class_weights)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1).")
        self.label_smoothing = label_smoothing

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the labels' cross-entropies."""
        return self.cross_entropies(output, target, valid, self.label_smoothing).sum()
