"""Scoring what a run has left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from ..data import Mixture
from ..data.sample import Sample
from ..models import from_pretrained, surface_of
from ..tasks import Kind
from .evaluation import Scores, Watch, evaluate
from .loaders import Loaders
from .recipe.building import build_data, build_kinds, build_tasks, check_same_targets
from .recipe.own_code import recipe_of_run
from .recipe.target_options import with_options_of
from .report import console_of

Split = Literal["train", "test"]


@dataclass(frozen=True)
class RunOnSplit:
    """The best model of a run, and a split of its data, as it is scored.

    Args:
        split: The part of the data.
        model: On the device of the accelerator.
        kinds: The kind of each task.
        data: The split.
        batches: Of this process, in order, each with samples of one data set; images as the model takes them.
        accelerator: Of this process, in the precision of the training.
    """

    split: Split
    model: nn.Module
    kinds: dict[str, Kind]
    data: Mixture
    batches: DataLoader[Sample]
    accelerator: Accelerator

    def scores(self, watch: Watch | None = None) -> Scores:
        """Every task's metrics, showing the progress. See `evaluate`."""
        console = console_of(self.accelerator)
        shown = track(self.batches, self.split, total=len(self.batches), console=console, transient=True)
        return evaluate(self.model, shown, self.kinds, self.accelerator, watch)


def open_run(folder: str | Path, split: Split = "test", *, trust: bool = False) -> RunOnSplit:
    """The best model of a run, and a split of its data. Arguments and errors are those of `evaluate_run`."""
    with recipe_of_run(Path(folder), trust) as config:
        accelerator = Accelerator(mixed_precision=config.mixed_precision)
        data = build_data(config, split)
        model = from_pretrained(folder, trust=trust).to(accelerator.device)
    surface = surface_of(model)
    kinds = build_kinds(with_options_of(surface, build_tasks(config, data)))
    check_same_targets([surface.described(name) for name in kinds], data)
    loaders = Loaders(config, kinds, surface.normalization(), accelerator, surface.image_shape[0])
    return RunOnSplit(split, model, kinds, data, loaders.evaluation_batches(data), accelerator)


def evaluate_run(folder: str | Path, split: Split = "test", *, trust: bool = False) -> tuple[dict[str, Kind], Scores]:
    """Score the best model of a run on a split of its data, in the precision that it was trained in.

    Args:
        folder: The run's folder.
        split: The part of the data.
        trust: Import the files and modules that the folder names, whoever has written them. Those of your own runs are
            imported anyway.

    Returns:
        The kind of each task, and its metrics.

    Raises:
        FileNotFoundError: if the folder holds no run, or one without a model yet.
        ValueError: if the data have other tasks, kinds or labels than the model.
        NotImportedError: if it needs code that was not imported; it says which, and what to do. It is a ValueError.
    """
    run = open_run(folder, split, trust=trust)
    return run.kinds, run.scores()
