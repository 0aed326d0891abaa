"""Above which probability an attribute counts as present, and which threshold tells best."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

DEFAULT_THRESHOLD = 0.5


def check_thresholds(thresholds: Sequence[float] | None, num_attributes: int) -> list[float]:
    """The threshold of each attribute; None: 0.5 for all.

    Raises:
        ValueError: if they are no numbers in [0, 1], or not as many as the attributes.
    """
    if thresholds is None:
        return [DEFAULT_THRESHOLD] * num_attributes
    if (
        not isinstance(thresholds, list | tuple)
        or len(thresholds) != num_attributes
        or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in thresholds)
        or not all(0 <= each <= 1 for each in thresholds)
    ):
        raise ValueError(f"thresholds={thresholds!r} must be a probability for each of {num_attributes}, in [0, 1].")
    return [float(each) for each in thresholds]


def above(probabilities: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Which attributes are present: those whose probability is above their threshold.

    Args:
        probabilities: (…, K), float32.
        thresholds: K.

    Returns:
        bool (…, K).
    """
    return probabilities > probabilities.new_tensor(thresholds)


def best_thresholds(probabilities: Tensor, present: Tensor, known: Tensor) -> list[float]:
    """Of each attribute, the threshold with the highest F1 score of being present.

    All thresholds in [0, 1] are compared, exactly: between two neighbouring probabilities of the data all tell the
    same, and the middle stands for them. If 0.5 is as good as any, it is that; else, of several that are equally good,
    the one nearest to 0.5, and of two as near the higher one. An attribute that is never present, or never absent, or
    for which every threshold has an F1 of 0, keeps 0.5.

    Args:
        probabilities: (N, K), float32, in [0, 1].
        present: bool (N, K).
        known: bool (N, K).

    Returns:
        K numbers in [0, 1], each exactly a float32.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.thresholds import best_thresholds
        >>> probabilities = torch.tensor([[0.125], [0.25], [0.375], [0.875]])
        >>> present = torch.tensor([[False], [False], [True], [True]])
        >>> best_thresholds(probabilities, present, torch.ones(4, 1, dtype=torch.bool))  # above 0.25, below 0.375
        [0.3125]
    """
    columns = zip(probabilities.T, present.T, known.T, strict=True)
    return [_best(scores[seen], there[seen]) for scores, there, seen in columns]


def _best(probabilities: Tensor, present: Tensor) -> float:
    positives = int(present.sum())
    if positives in (0, len(present)):
        return DEFAULT_THRESHOLD
    scores, order = probabilities.sort(descending=True)
    # A threshold at or above `below`, and below the score, says yes to this score and to all before it. Nothing is
    # below 0, so that a probability of 0 is never a yes.
    below = torch.cat([scores[1:], scores.new_zeros(1)])
    differ = scores > below
    upper, lower, said = scores[differ], below[differ], differ.nonzero().flatten() + 1
    found = present[order].cumsum(0)[differ]
    # Quotients of whole numbers, which are equal in float64 if they are equal at all.
    f1 = 2 * found.double() / (said + positives)
    best = f1 == f1.max() if len(f1) and f1.max() > 0 else torch.zeros_like(f1, dtype=torch.bool)
    if not best.any() or (best & (lower <= DEFAULT_THRESHOLD) & (upper > DEFAULT_THRESHOLD)).any():
        return DEFAULT_THRESHOLD
    middle = lower + (upper - lower) / 2
    middle = middle.where(middle < upper, lower)  # of neighbours in float32 there is none between
    distance = (middle - DEFAULT_THRESHOLD).abs().where(best, math.inf)
    return float(middle[distance.argmin()])  # the first of equals, which is the higher
