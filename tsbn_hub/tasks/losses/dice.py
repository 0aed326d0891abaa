"""The Dice loss: how little the predicted and the true areas of the classes overlap."""

import torch.nn.functional as F
from torch import Tensor

from .cross_entropy import CrossEntropy
from .loss import Loss, register_loss
from .weights import Weights


@register_loss("dice", "segmentation")
class Dice(Loss):
    """1 - Dice for each image: the mean over the classes that are in its target.

    The Dice of a class is 2 sum(p t) / (sum(p) + sum(t)), over the labelled pixels of the image, of its probability p
    and of t, 1 where it is the true class. A label's term is the loss of its image. So the loss of a step is the mean
    over its images, each weighted by how many labelled pixels it has, and over accumulated batches the same as over the
    whole one.

    Args:
        num_classes: The number of classes.

    Source: Milletari, Navab, Ahmadi, "V-Net", arXiv 1606.04797, section 3. The denominator is without squares, as in
    Sudre et al., arXiv 1707.03237; as no class of the target is empty, nothing is added to it.
    """

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum over images of the loss times the number of labelled pixels."""
        # What the network says of an invalid pixel may be infinite, and infinity times a gradient of 0 is NaN.
        logits = output.masked_fill(~valid[:, None], 0)
        probabilities = (logits.softmax(dim=1) * valid[:, None]).flatten(2)
        true = F.one_hot(target.where(valid, 0), output.shape[1]).movedim(-1, 1)
        true = (true * valid[:, None]).flatten(2).to(output.dtype)
        areas = true.sum(dim=2)
        dice = 2 * (probabilities * true).sum(dim=2) / (probabilities.sum(dim=2) + areas).clamp(min=1e-6)
        there = areas > 0
        losses = 1 - (dice * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return (losses * areas.sum(dim=1)).sum()


@register_loss("cross_entropy_dice", "segmentation")
class CrossEntropyDice(CrossEntropy):
    """Cross-entropy, and `dice_weight` times the Dice loss.

    Args:
        num_classes: The number of classes.
        dice_weight: What the Dice loss weighs, above 0.
        class_weights: Of the cross-entropy: see `CrossEntropy`.
        label_smoothing: Of the cross-entropy.

    Raises:
        ValueError: if a weight or the smoothing is out of its range.

    Source: the sum of Isensee et al., "nnU-Net", arXiv 1809.10486, section 2.2, equation 1, with the Dice loss of
    `Dice`.
    """

    def __init__(
        self,
        num_classes: int | None,
        dice_weight: float = 1.0,
        class_weights: Weights = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(num_classes, class_weights, label_smoothing)
        if not dice_weight > 0:
            raise ValueError(f"dice_weight={dice_weight} must be above 0.")
        self.dice_weight, self.dice = dice_weight, Dice(num_classes)

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The weighted sum of both totals."""
        return super().total(output, target, valid) + self.dice_weight * self.dice.total(output, target, valid)
