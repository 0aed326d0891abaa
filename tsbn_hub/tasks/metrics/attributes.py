"""Metrics of binary attributes: multi-label classification with unknown labels."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from ..thresholds import DEFAULT_THRESHOLD, above, best_thresholds
from .metric import ScoredKind, register_metric
from .pairs import PairsMetric


class AttributeMetric(PairsMetric):
    """A metric of binary attributes, of which some are unknown. What is not defined is left out of averages.

    torchmetrics' own take an attribute that is never known, or never present, for one that is always wrong.

    Args:
        thresholds: Of each attribute, above which probability it counts as present.
        missing: The target's value where it is unknown.
    """

    higher_is_better: bool | None = True

    def __init__(self, thresholds: Sequence[float], missing: float) -> None:
        super().__init__(len(thresholds))
        self.thresholds, self.missing = list(thresholds), missing

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind with thresholds."""
        return cls(getattr(kind, "thresholds", [DEFAULT_THRESHOLD] * kind.outputs), kind.missing, **options)

    def compute_from(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The metric of all pairs."""
        return self.score(prediction.float(), target == 1, target != self.missing)

    @abstractmethod
    def score(self, probabilities: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """The metric.

        Args:
            probabilities: (N, K), float32.
            present: bool (N, K).
            known: bool (N, K).
        """


@register_metric("accuracy", "attributes")
class AttributeAccuracy(AttributeMetric):
    """The share of right answers of each attribute, averaged over attributes (macro)."""

    def score(self, probabilities: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """In [0, 1]."""
        right = (above(probabilities, self.thresholds) == present) & known
        return (right.sum(dim=0).double() / known.sum(dim=0)).nanmean()


class F1(AttributeMetric):
    """2 TP / (2 TP + FP + FN) of attributes that are present."""

    def score(self, probabilities: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """In [0, 1]."""
        predicted = above(probabilities, self.thresholds) & known
        return self.averaged(predicted & present, predicted ^ present)

    @abstractmethod
    def averaged(self, found: Tensor, wrong: Tensor) -> Tensor:
        """The score, of which entries are present and found, and which are wrong: bool (N, K)."""

    def f1(self, found: Tensor, wrong: Tensor) -> Tensor:
        """The score of counts; NaN where nothing is present or predicted."""
        return 2 * found.double() / (2 * found + wrong)


@register_metric("f1", "attributes")
class AttributeF1(F1):
    """The F1 score of each attribute, averaged over attributes (macro)."""

    def averaged(self, found: Tensor, wrong: Tensor) -> Tensor:
        """In [0, 1]."""
        return self.f1(found.sum(dim=0), wrong.sum(dim=0)).nanmean()


@register_metric("micro_f1", "attributes")
class MicroF1(F1):
    """The F1 score of all known entries together."""

    def averaged(self, found: Tensor, wrong: Tensor) -> Tensor:
        """In [0, 1]."""
        return self.f1(found.sum(), wrong.sum())


@register_metric("sample_f1", "attributes")
class SampleF1(F1):
    """The F1 score of each image's known attributes, averaged over images in which one is present or predicted."""

    def averaged(self, found: Tensor, wrong: Tensor) -> Tensor:
        """In [0, 1]."""
        return self.f1(found.sum(dim=1), wrong.sum(dim=1)).nanmean()


@register_metric("map", "attributes")
class MeanAveragePrecision(AttributeMetric):
    """The average precision of each attribute, averaged over those that are ever present (macro); no threshold counts.

    Average precision is the sum over thresholds of the precision times the gain in recall, as scikit-learn's.
    """

    def score(self, probabilities: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """In [0, 1]."""
        columns = zip(probabilities.T.double(), present.T, known.T, strict=True)
        scores = [
            binary_average_precision(scores[seen], there[seen].long()) for scores, there, seen in columns if there.any()
        ]
        return torch.stack(scores).double().mean() if scores else torch.tensor(torch.nan)


class BestThresholds(AttributeMetric):
    """The threshold of each attribute with the highest F1: see `best_thresholds`."""

    higher_is_better = None

    def score(self, probabilities: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """(K,), in [0, 1]."""
        return torch.tensor(best_thresholds(probabilities, present, known))
