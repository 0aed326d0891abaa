"""The focal loss: labels that are learned well weigh less."""

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from .cross_entropy import ClassLoss
from .loss import Loss, register_loss
from .weights import Weights, weights_like


@register_loss("focal", "classification", "segmentation")
class FocalLoss(ClassLoss):
    """(1 - p)^gamma times the cross-entropy -log p, of the probability p of the true class.

    Args:
        num_classes: The number of classes, K.
        gamma: At least 0; 0: cross-entropy.
        class_weights: See `ClassLoss`; the paper's alpha.

    Raises:
        ValueError: if gamma or the weights are out of their range.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002, section 3.2, equations 4 and 5.
    """

    def __init__(self, num_classes: int | None, gamma: float = 2.0, class_weights: Weights = None) -> None:
        super().__init__(num_classes, class_weights)
        self.gamma = at_least_0("gamma", gamma)

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the labels' terms."""
        logits, known = output.masked_fill(~valid[:, None], 0), target.where(valid, 0)
        terms = F.cross_entropy(logits, known, reduction="none")
        # Kept above 0 by a hair: the derivative of 0^gamma is infinite for a gamma below 1.
        terms = (-(-terms).expm1()).clamp(min=1e-6) ** self.gamma * terms
        weights = weights_like("class_weights", self.class_weights, output)
        terms = terms if weights is None else terms * weights[known]
        return terms.where(valid, 0).sum()


@register_loss("focal", "attributes", "edges", "saliency")
class BinaryFocalLoss(Loss):
    """The focal loss of each attribute or pixel, yes or no, by torchvision's `sigmoid_focal_loss`.

    Args:
        num_classes: The number of attributes; None of pixels.
        gamma: At least 0; 0: binary cross-entropy.
        alpha: What being present weighs against being absent, which weighs 1 - alpha, in (0, 1); None: both weigh 1.

    Raises:
        ValueError: if gamma or alpha are out of their range.

    Source: as of `FocalLoss`.
    """

    def __init__(self, num_classes: int | None, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__(num_classes)
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha={alpha} must lie in (0, 1).")
        self.gamma, self.alpha = at_least_0("gamma", gamma), alpha

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the known ones' terms."""
        alpha = -1.0 if self.alpha is None else self.alpha
        terms: Tensor = sigmoid_focal_loss(output.where(valid, 0), (target == 1).float(), alpha, self.gamma)
        return terms.where(valid, 0).sum()


def at_least_0(name: str, value: float) -> float:
    """The number; ValueError unless it is at least 0."""
    if not value >= 0:
        raise ValueError(f"{name}={value} must be at least 0.")
    return value
