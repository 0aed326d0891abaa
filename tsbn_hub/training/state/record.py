"""How far a run is, and what it has seen."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from ...tasks.task import Json


class EpochLine(TypedDict):
    """The line of an epoch in the log: its last learning rate, losses, scores, and steps of each task so far.

    And of an epoch that was the best so far, by task, the keywords of kinds that were tuned on the validation data.
    """

    epoch: int
    lr: float
    loss: dict[str, float]
    validation: dict[str, dict[str, float]]
    steps: dict[str, int]
    tuned: NotRequired[dict[str, dict[str, Json]]]


@dataclass
class Record:
    """All of a run's state but tensors.

    Attributes:
        epoch: The epoch it is in, from 1.
        steps: The steps of this epoch that are done.
        losses: Each task's loss, summed over this epoch.
        counts: How many terms each of these sums has.
        labelled: The tasks that a sample of this epoch had a target for.
        task_steps: How many steps of the run were for each task.
        best: The best mean score on the validation data so far.
        best_epoch: The epoch that had it; 0: none yet.
        weights: The SHA-256 of the best model's weights, as they lie in the run's folder.
        log: The lines of the log.
        scores: Every task's metrics on the test data, at the end.
    """

    epoch: int = 1
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    labelled: list[str] = field(default_factory=list)
    task_steps: dict[str, int] = field(default_factory=dict)
    best: float = -math.inf
    best_epoch: int = 0
    weights: str | None = None
    log: list[Mapping[str, object]] = field(default_factory=list)
    scores: dict[str, dict[str, float]] | None = None

    @property
    def place(self) -> str:
        """Where the run is, in words."""
        return f"epoch {self.epoch}, after its step {self.steps}"

    def add_step(self, losses: Mapping[str, float], labelled: Iterable[str]) -> None:
        """Note a step: the losses of its tasks, and the tasks that a sample had a target for."""
        self.steps += 1
        self.labelled += [name for name in labelled if name not in self.labelled]
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss
            self.counts[name] = self.counts.get(name, 0) + 1
            self.task_steps[name] = self.task_steps.get(name, 0) + 1

    def mean_losses(self) -> dict[str, float]:
        """Each task's mean loss over this epoch."""
        return {name: total / self.counts[name] for name, total in self.losses.items()}

    def check_labelled(self, tasks: Iterable[str]) -> None:
        """Raise ValueError unless each of these tasks had a target in this epoch."""
        unlabelled = [name for name in tasks if name not in self.labelled]
        if unlabelled:
            left = f", or leave them out: tasks={self.labelled}" if self.labelled else ""
            raise ValueError(
                f"No sample of epoch {self.epoch} had a target for {unlabelled}: they cannot be learned. See "
                f"what `--dry-run` shows, and mend the data{left}."
            )

    def patience_left(self, patience: int | None) -> int | None:
        """How many further epochs may be no better than the best one.

        Args:
            patience: How many in a row may be; None: any number.
        """
        return None if patience is None else max(0, self.best_epoch + patience - (self.epoch - 1))

    def next_epoch(self) -> None:
        """Begin another epoch."""
        self.epoch, self.steps, self.losses, self.counts, self.labelled = self.epoch + 1, 0, {}, {}, []
