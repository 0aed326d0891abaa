"""Scoring what a run has left."""

from pathlib import Path
from typing import Literal

from accelerate import Accelerator

from ..models import from_pretrained
from ..tasks import Classification
from .building import build_data, build_kinds
from .config import TrainingConfig
from .evaluation import evaluate
from .loaders import evaluation_batches
from .report import console_of, shown

TRAINING_CONFIG = "training.yaml"


def evaluate_run(
    folder: str | Path, split: Literal["train", "test"] = "test", accelerator: Accelerator | None = None
) -> tuple[dict[str, Classification], dict[str, float]]:
    """Score the best model of a run on a split of its data.

    Args:
        folder: The run's folder.
        split: The part of the data.
        accelerator: Of this process.

    Returns:
        The kind of each task, and its metric.

    Raises:
        FileNotFoundError: if the folder holds no run, or one without a model yet.
    """
    accelerator = accelerator or Accelerator()
    config = TrainingConfig.read(Path(folder, TRAINING_CONFIG))
    data = build_data(config, split)
    kinds = build_kinds(config, data)
    model = from_pretrained(folder).to(accelerator.device)
    batches = shown(evaluation_batches(data, config, kinds, accelerator), console_of(accelerator))
    return kinds, evaluate(model, batches, kinds, accelerator)
