"""How well each attribute is told."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...tasks import Attributes, Kind
from ..figures import write_figure
from ..tables import write_table
from .classes import class_rows, scores_figure
from .section import Section, TaskReport


class AttributesReport(TaskReport):
    """The scores of each attribute: precision, recall and F1 of its presence, and accuracy.

    An attribute counts as present above its threshold.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        assert isinstance(kind, Attributes)
        self.decide, self.thresholds = kind.present, torch.tensor(kind.thresholds, dtype=torch.float64)
        self.labels = [kind.label(index) for index in range(kind.outputs)]
        self.known, self.true, self.predicted, self.found = torch.zeros(4, len(self.labels), dtype=torch.int64)

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities (B, K), and int64 (B, K) of 0, 1, and -100 where it is unknown."""
        known, present = self.kind.valid(target), target == 1
        predicted = self.decide(prediction) & known
        self.known += known.sum(0)
        self.true += present.sum(0)
        self.predicted += predicted.sum(0)
        self.found += (predicted & present).sum(0)

    def scores(self) -> dict[str, Tensor]:
        """By name, a score of each attribute, (K,), float64, NaN where it is undefined; and how often each is there."""
        known, true, predicted, found = (
            counts.double() for counts in (self.known, self.true, self.predicted, self.found)
        )
        return {
            "known": known,
            "support": true,
            "predicted": predicted,
            "precision": found / predicted,
            "recall": found / true,
            "f1": 2 * found / (true + predicted),
            "accuracy": 1 - (true + predicted - 2 * found) / known,
            "threshold": self.thresholds,
        }

    def write(self, folder: Path, stem: str) -> list[Section]:
        """The scores of each attribute."""
        scores, name = self.scores(), f"{stem}.attributes"
        write_table(folder / f"{name}.csv", class_rows(self.labels, scores))
        drawn = {score: scores[score] for score in ("f1", "precision", "recall")}
        write_figure(partial(scores_figure, self.labels, drawn), folder / f"{name}.png")
        return [Section("The scores of each attribute", f"{name}.png", [f"{name}.csv"])]
