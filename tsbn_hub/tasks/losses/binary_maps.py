"""Losses of yes or no at every pixel: edges and saliency."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..task import Json
from .loss import Loss, register_loss
from .weights import BALANCED, weights_like


@register_loss("binary_cross_entropy", "edges", "saliency")
class MapCrossEntropy(Loss):
    """Binary cross-entropy of each pixel: the default of saliency.

    Args:
        num_classes: None.
        pos_weight: What a yes weighs, above 0, as in `torch.nn.BCEWithLogitsLoss`; "balanced": how many more often the
            training targets say no than yes. The sum is divided by the number of labelled pixels, as there.

    Raises:
        ValueError: if the weight is out of its range.
    """

    def __init__(self, num_classes: int | None, pos_weight: float | str | None = None) -> None:
        super().__init__(num_classes)
        is_number = isinstance(pos_weight, int | float) and not isinstance(pos_weight, bool)
        if not (pos_weight in (None, BALANCED) or (is_number and 0 < float(pos_weight or 0) < math.inf)):
            raise ValueError(f"pos_weight={pos_weight!r} must be a number above 0, or 'balanced'.")
        self.pos_weight = pos_weight
        self.from_targets = ("pos_weight",) if pos_weight == BALANCED else ()

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The balanced weight; a word that the targets never say counts as if they said it once."""
        no, yes = (max(sum(int((target == word).sum()) for target in targets), 1) for word in (0, 1))
        return {"pos_weight": no / yes}

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the labelled pixels' terms."""
        weight = [self.pos_weight] if isinstance(self.pos_weight, int | float) else self.pos_weight
        terms = F.binary_cross_entropy_with_logits(
            output.where(valid, 0),
            (target == 1).float(),
            pos_weight=weights_like("pos_weight", weight, output),
            reduction="none",
        )
        return terms.where(valid, 0).sum()


@register_loss("weighted_cross_entropy", "edges", "saliency")
class WeightedCrossEntropy(Loss):
    """Binary cross-entropy in which a yes weighs w and a no 1 - w: the default of edges.

    Args:
        num_classes: None.
        positive_weight: w, in (0, 1).

    Raises:
        ValueError: if it is outside its range.

    Source: Xie, Tu, "Holistically-Nested Edge Detection", arXiv 1504.06375, equation 2, with a weight that is fixed,
    0.95, as by Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", arXiv 1904.08918.
    """

    def __init__(self, num_classes: int | None, positive_weight: float = 0.95) -> None:
        super().__init__(num_classes)
        if not 0 < positive_weight < 1:
            raise ValueError(f"positive_weight={positive_weight} must lie between 0 and 1: others weigh 1 less it.")
        self.positive_weight = positive_weight

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the labelled pixels' terms."""
        return _weighted(output, target, valid, output.new_tensor(self.positive_weight))


@register_loss("class_balanced_cross_entropy", "edges", "saliency")
class ClassBalancedCrossEntropy(Loss):
    """Binary cross-entropy in which a yes weighs the share of the image's labelled pixels that are no, and vice versa.

    An image without a yes, or without a no, adds nothing.

    Args:
        num_classes: None.

    Source: Xie, Tu, "Holistically-Nested Edge Detection", arXiv 1504.06375, equation 2. Its sum is divided by the
    number of labelled pixels.
    """

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the labelled pixels' terms."""
        no, labelled = (each.flatten(1).sum(dim=1) for each in (target == 0, valid))
        share = (no / labelled.clamp(min=1)).to(output.dtype)
        return _weighted(output, target, valid, share[:, None, None])


@register_loss("dice", "edges", "saliency")
class BinaryDice(Loss):
    """1 - Dice of what is yes, for each image: Dice is (2 sum(p t) + s) / (sum(p) + sum(t) + s).

    It is over the labelled pixels of the image, of the probability p and of t, 1 for yes. A label's term is the loss of
    its image: the loss of a step is the mean over its images, each weighted by how many labelled pixels it has.

    Args:
        num_classes: None.
        smooth: s, above 0: so that an image without a yes has a loss, too.

    Raises:
        ValueError: if it is not above 0.

    Source: Milletari, Navab, Ahmadi, "V-Net", arXiv 1606.04797, section 3; the denominator is without squares, as in
    Sudre et al., arXiv 1707.03237.
    """

    def __init__(self, num_classes: int | None, smooth: float = 1.0) -> None:
        super().__init__(num_classes)
        if not 0 < smooth < math.inf:
            raise ValueError(f"smooth={smooth} must be above 0.")
        self.smooth = smooth

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum over images of the loss times the number of labelled pixels."""
        # What the network says of an invalid pixel may be infinite, and infinity times a gradient of 0 is NaN.
        said = (output.where(valid, 0).sigmoid() * valid).flatten(1)
        true = (target == 1).to(output.dtype).flatten(1)
        overlap, areas = (said * true).sum(dim=1), said.sum(dim=1) + true.sum(dim=1)
        dice = (2 * overlap + self.smooth) / (areas + self.smooth)
        return ((1 - dice) * valid.flatten(1).sum(dim=1)).sum()


@register_loss("cross_entropy_dice", "edges", "saliency")
class MapCrossEntropyDice(MapCrossEntropy):
    """Binary cross-entropy, and `dice_weight` times the Dice loss.

    Args:
        num_classes: None.
        dice_weight: What the Dice loss weighs, above 0.
        pos_weight: Of the cross-entropy: see `MapCrossEntropy`.
        smooth: Of the Dice loss: see `BinaryDice`.

    Raises:
        ValueError: if a number is out of its range.

    Source: as of the sum for classes, Isensee et al., "nnU-Net", arXiv 1809.10486, section 2.2, equation 1.
    """

    def __init__(
        self,
        num_classes: int | None,
        dice_weight: float = 1.0,
        pos_weight: float | str | None = None,
        smooth: float = 1.0,
    ) -> None:
        super().__init__(num_classes, pos_weight)
        if not dice_weight > 0:
            raise ValueError(f"dice_weight={dice_weight} must be above 0.")
        self.dice_weight, self.dice = dice_weight, BinaryDice(num_classes, smooth)

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The weighted sum of both totals."""
        return super().total(output, target, valid) + self.dice_weight * self.dice.total(output, target, valid)


def _weighted(output: Tensor, target: Tensor, valid: Tensor, positive: Tensor) -> Tensor:
    """The summed cross-entropy, in which a yes weighs `positive` and a no 1 less it."""
    terms = F.binary_cross_entropy_with_logits(
        output.where(valid, 0), (target == 1).float(), positive.where(target == 1, 1 - positive), reduction="none"
    )
    return terms.where(valid, 0).sum()
