"""Thresholds of attributes, found on the validation data while a model is scored on it."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..data.sample import Batch
from ..models.surface import Surface
from ..tasks import Attributes, Kind
from .recipe.target_options import TargetOptions


class ThresholdTuning:
    """Gathers the predictions of all processes, for the tasks whose thresholds are to be tuned.

    Args:
        kinds: The kind of each task.
        device: Of the batches.
    """

    def __init__(self, kinds: Mapping[str, Kind], device: torch.device) -> None:
        self._kinds = {
            name: kind for name, kind in kinds.items() if isinstance(kind, Attributes) and kind.tune_thresholds
        }
        # Imported only here: a program that scores nothing does not wait for torchmetrics.
        from ..tasks.metrics import BestThresholds

        self._found = {
            name: BestThresholds(kind.thresholds, kind.missing).to(device) for name, kind in self._kinds.items()
        }

    def add(self, batch: Batch, outputs: Mapping[str, Tensor]) -> None:
        """Add a batch, and what the model gives for it: what `evaluate` tells its `watch`."""
        for name in self._found.keys() & outputs.keys():
            self._found[name].update(self._kinds[name].predict(outputs[name]), batch["targets"][name])

    def options(self) -> TargetOptions:
        """The best thresholds, as keywords of the tasks' kinds. All processes call it together, and get the same."""
        # Every process joins them in the same order.
        return {name: {"thresholds": metric.compute().tolist()} for name, metric in sorted(self._found.items())}


def keep_options(surface: Surface, options: TargetOptions) -> None:
    """Write keywords of the tasks' kinds into a model, which is saved with them."""
    for name, own in options.items():
        task = surface.described(name)
        surface.describe_anew(replace(task, kind_args={**task.kind_args, **own}))
