"""Weights of classes and attributes, given as numbers or taken from the training targets."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BALANCED = "balanced"

Weights = Sequence[float] | str | None
"""A number for each class or attribute, "balanced", or none."""


def check_weights(name: str, weights: Weights, num_classes: int | None) -> None:
    """Refuse weights that are not "balanced", and no finite number above 0 for each class.

    Raises:
        ValueError: if it is so.
    """
    if weights is None or weights == BALANCED:
        return
    numbers = not isinstance(weights, str) and all(
        isinstance(weight, int | float) and not isinstance(weight, bool) for weight in weights
    )
    if not numbers or num_classes not in (None, len(weights)) or not all(0 < float(w) < math.inf for w in weights):
        many = "each class" if num_classes is None else f"each of {num_classes}"
        raise ValueError(f"{name}={weights!r} must be a number above 0 for {many}, or 'balanced'.")


def weights_like(name: str, weights: Weights, output: Tensor) -> Tensor | None:
    """The weights as a tensor of an output's dtype and device.

    Raises:
        ValueError: if they are still to be taken from the training targets.
    """
    if weights == BALANCED:
        raise ValueError(
            f"{name}='balanced' is taken from the training data by `tsbn train`. In a loop of your own give numbers, "
            "or what the kind's options_from(targets) gives."
        )
    return None if weights is None else output.new_tensor([float(weight) for weight in weights])


def balanced_class_weights(targets: Sequence[Tensor], num_classes: int) -> list[float]:
    """Weights by which all classes are as heavy: labels / (classes * labels of the class).

    Args:
        targets: Classes, int64, of single samples. Negative ones are no labels.
        num_classes: How many classes there are. One without a label counts as if it had one.

    Source: `sklearn.utils.class_weight.compute_class_weight`; King, Zeng, "Logistic Regression in Rare Events Data",
    Political Analysis 9(2), 2001.
    """
    counts = torch.zeros(num_classes, dtype=torch.int64)
    for target in targets:
        counts += torch.bincount(target[target >= 0].flatten(), minlength=num_classes)
    weights: list[float] = (counts.sum() / (num_classes * counts.clamp(min=1).double())).clamp(min=1e-6).tolist()
    return weights


def balanced_pos_weight(targets: Sequence[Tensor], num_attributes: int) -> list[float]:
    """Of each attribute, how many more often it is absent than present: what `BCEWithLogitsLoss` suggests.

    Args:
        targets: int64 (num_attributes,), of single samples: 1, 0, or negative where it is not known.
        num_attributes: How many attributes there are. One that is never present, or never absent, counts as if it were
            once.
    """
    joined = torch.stack(list(targets)) if targets else torch.zeros(0, num_attributes)
    present, absent = (joined == 1).sum(dim=0), (joined == 0).sum(dim=0)
    weights: list[float] = (absent.clamp(min=1) / present.clamp(min=1).double()).tolist()
    return weights
