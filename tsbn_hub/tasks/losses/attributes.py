"""Losses of binary attributes."""

from collections.abc import Sequence

import torch.nn.functional as F
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor

from ..task import Json
from .focal import at_least_0
from .loss import Loss, register_loss
from .weights import BALANCED, Weights, balanced_pos_weight, check_weights, weights_like


@register_loss("binary_cross_entropy", "attributes")
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each attribute: the default.

    Args:
        num_classes: The number of attributes.
        pos_weight: Of each attribute, what being present weighs, as in `torch.nn.BCEWithLogitsLoss`; "balanced":
            `balanced_pos_weight`. The sum is divided by the number of known entries, as there.

    Raises:
        ValueError: if the weights are out of their range.
    """

    by_label = ("pos_weight",)

    def __init__(self, num_classes: int | None, pos_weight: Weights = None) -> None:
        super().__init__(num_classes)
        check_weights("pos_weight", pos_weight, num_classes)
        self.pos_weight = pos_weight
        self.from_targets = ("pos_weight",) if pos_weight == BALANCED else ()

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The balanced weights."""
        return {"pos_weight": balanced_pos_weight(targets, int(self.num_classes or 0))}

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the known entries' terms."""
        weights = weights_like("pos_weight", self.pos_weight, output)
        # What the network says of an unknown entry may be infinite, and infinity times a weight of 0 is NaN.
        terms = F.binary_cross_entropy_with_logits(
            output.where(valid, 0), (target == 1).float(), pos_weight=weights, reduction="none"
        )
        return terms.where(valid, 0).sum()


@register_loss("asymmetric", "attributes")
class Asymmetric(Loss):
    """The asymmetric loss, by timm's `AsymmetricLossMultiLabel`: absent attributes that are easy weigh less.

    Args:
        num_classes: The number of attributes.
        gamma_neg: How much less an absent attribute weighs that is known to be: the focal loss's gamma, at least 0.
        gamma_pos: The same of a present one.
        clip: A probability up to which an attribute that is absent counts nothing, in [0, 1).

    Raises:
        ValueError: if an option is out of its range.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", arXiv 2009.14119, equation 7. Its sum is
    divided by the number of known entries.
    """

    def __init__(
        self, num_classes: int | None, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05
    ) -> None:
        super().__init__(num_classes)
        if not 0 <= clip < 1:
            raise ValueError(f"clip={clip} must lie in [0, 1).")
        self._loss = AsymmetricLossMultiLabel(
            at_least_0("gamma_neg", gamma_neg), at_least_0("gamma_pos", gamma_pos), clip
        )

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the known entries' terms."""
        # As one row, whose sum every version of timm gives, whatever it takes the mean over.
        total: Tensor = self._loss(output[valid][None], target[valid][None].float())
        return total
