"""The picture of what a run's model predicts for its test data."""

from functools import partial
from pathlib import Path

import torch
from PIL.PngImagePlugin import PngInfo
from torch import nn

from ..data import Collate, Draw, SeededSamples
from ..data.images import as_input
from ..files.atomic import write_atomically
from ..files.checkpoints import weights_digest
from ..files.images import WEIGHTS_OF_PICTURE
from ..files.names import SAMPLES
from ..models import surface_of
from ..models.outputs import outputs_by_task
from ..training.loaders import check_of_tasks
from ..training.recipe.building import build_data, check_same_targets
from ..training.recipe.own_code import recipe_of_run
from .samples_picture import draw_samples

_SAMPLES = 4
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def draw_test_samples(folder: str | Path, model: nn.Module, *, trust: bool = False) -> None:
    """Draw `predictions.png` in a run's folder: four samples, evenly spread over its test data.

    The model predicts in the precision that it was trained in, and is put into evaluation mode. The picture notes the
    SHA-256 of the weights that it is of.

    Args:
        folder: Of a run, with its recipe and weights.
        model: The model in it.
        trust: Import the files and modules that the folder names, whoever has written them. Those of your own runs are
            imported anyway.

    Raises:
        FileNotFoundError: if the folder has no recipe.
        ValueError: if the data have other tasks than the model, or no target, or it needs code that was not imported.
        OSError: if the data cannot be read, or the picture not be written.
        ImportError: if the data need a package that is not installed.
    """
    folder, surface = Path(folder), surface_of(model)
    with recipe_of_run(folder, trust) as config:
        data = build_data(config, "test")
    known = [task.name for task in data.tasks]
    kinds = {task: kind for task, kind in surface.kinds().items() if task in known}
    check_same_targets([surface.described(task) for task in kinds], data)
    checked = SeededSamples(data, partial(check_of_tasks, kinds, channels=surface.image_shape[0]))
    places = dict.fromkeys(round(at * (len(data) - 1) / (_SAMPLES - 1)) for at in range(_SAMPLES))
    samples = [checked[Draw(index, 0)] for index in places]
    samples = [sample for sample in samples if sample["image"].shape == samples[0]["image"].shape]
    batch = Collate({task: kind.missing for task, kind in kinds.items()})(samples)
    kinds = {task: kind for task, kind in kinds.items() if task in batch["targets"]}
    if not kinds:
        raise ValueError(f"{len(samples)} samples of the test data have no target of any task of the model.")
    model = surface.model.eval()
    device, precision = next(model.parameters()).device, _PRECISIONS.get(str(config.mixed_precision))
    with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision is not None):
        images = as_input(surface.normalization()(batch["image"]), model).to(device)
        outputs = outputs_by_task(model, images, list(kinds))
        predictions = {task: kind.predict(outputs[task]).cpu() for task, kind in kinds.items()}
    picture = draw_samples(batch["image"], batch["targets"], predictions, kinds)
    notes = PngInfo()
    notes.add_text(WEIGHTS_OF_PICTURE, weights_digest(folder))
    write_atomically({folder / SAMPLES: lambda path: picture.save(path, "PNG", optimize=True, pnginfo=notes)})
