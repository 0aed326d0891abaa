"""Scoring what a run has left."""

from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from rich.progress import track

from ..models import from_pretrained, surface_of
from ..tasks import Kind
from .evaluation import Scores, evaluate
from .loaders import Loaders
from .recipe.building import build_data, build_kinds, build_tasks, check_same_targets
from .recipe.own_code import recipe_of_run
from .recipe.target_options import with_options_of
from .report import console_of


def evaluate_run(
    folder: str | Path, split: Literal["train", "test"] = "test", *, trust: bool = False
) -> tuple[dict[str, Kind], Scores]:
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
    with recipe_of_run(Path(folder), trust) as config:
        accelerator = Accelerator(mixed_precision=config.mixed_precision)
        data = build_data(config, split)
        model = from_pretrained(folder, trust=trust).to(accelerator.device)
    surface = surface_of(model)
    kinds = build_kinds(with_options_of(surface, build_tasks(config, data)))
    check_same_targets([surface.described(name) for name in kinds], data)
    loaders = Loaders(config, kinds, surface.normalization(), accelerator, surface.image_shape[0])
    batches = loaders.evaluation_batches(data)
    shown = track(batches, split, total=len(batches), console=console_of(accelerator), transient=True)
    return kinds, evaluate(model, shown, kinds, accelerator)
