"""All that the gates and gradients of a run say of its tasks, as pictures and tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from ..data.sample import Batch
from ..models import from_pretrained, surface_of
from ..tasks import Kind
from ..training.loaders import Loaders
from ..training.recipe.building import build_data, build_kinds, build_tasks, check_same_targets, split_for_validation
from ..training.recipe.config import TrainingConfig
from ..training.recipe.own_code import recipe_of_run
from ..training.recipe.target_options import with_options_of
from ..training.state.gates import QUANTILES, GatesLine, read_gates
from .gates.importance import importance_matrix
from .gates.movement_picture import draw_movement
from .similarity.cosines import TaskCosines
from .similarity.gates import gate_similarity
from .similarity.gradients import gradient_cosines
from .similarity.picture import draw_cosines
from .tables import write_table

SIMILARITY, MOVEMENT, GRADIENTS = "similarity", "gate_movement", "gradients"
"""The names of the pictures, and of the tables beside them, without their suffixes."""


def analyze_run(folder: str | Path, output: str | Path, *, trust: bool = False) -> Iterator[str]:
    """Draw how alike the tasks of a run are by their gates, how the gates have moved, and whether gradients conflict.

    Each picture, NAME.png, has its numbers beside it, NAME.csv. What a run cannot say is left out, and told.

    Args:
        folder: Of a run that has ended an epoch.
        output: The folder to write, which is made.
        trust: Import the files and modules that the run names, whoever has written them. Those of your own runs are
            imported anyway.

    Yields:
        A line for each picture, once it is there: its file, and what it shows; or why it is left out.

    Raises:
        FileNotFoundError: if the folder holds no run, or one without a model yet.
        ImportError: if matplotlib or scipy is not installed.
        ValueError: if the data have other tasks than the model, or it needs code that was not imported.
    """
    folder, output = Path(folder), Path(output)
    with recipe_of_run(folder, trust) as config:
        model = from_pretrained(folder, trust=trust)
        output.mkdir(parents=True, exist_ok=True)
        try:
            similarity = gate_similarity(importance_matrix(model))
        except ValueError as error:  # no gates, or too few tasks
            yield f"no {SIMILARITY}.png: {error}"
        else:
            _write(
                similarity,
                output / SIMILARITY,
                "Which tasks use the same filters: cosines of centred gates",
            )
            yield f"{SIMILARITY}.png: which tasks use the same filters, by their gates"
        if lines := read_gates(folder):
            draw_movement(lines, output / f"{MOVEMENT}.png")
            write_table(output / f"{MOVEMENT}.csv", _rows_of_movement(lines))
            yield f"{MOVEMENT}.png: how the gates opened and closed, epoch by epoch"
        else:
            yield f"no {MOVEMENT}.png: the run has kept no gates"
        try:
            gradients = _gradients(model, config)
        except ValueError as error:  # a single task, or labels that are missing
            yield f"no {GRADIENTS}.png: {error}"
        else:
            _write(gradients, output / GRADIENTS, "Where tasks conflict: cosines of gradients in what they share")
            yield f"{GRADIENTS}.png: where the tasks' gradients conflict, in what they share"


def _gradients(model: nn.Module, config: TrainingConfig) -> TaskCosines:
    """The cosines of gradients in a step of the run's training data, in which each task has a target."""
    data = build_data(config, "train")
    surface, accelerator = surface_of(model), Accelerator()
    kinds = build_kinds(with_options_of(surface, build_tasks(config, data)))
    check_same_targets([surface.described(name) for name in kinds], data)
    loaders = Loaders(config, kinds, surface.normalization(), accelerator, surface.image_shape[0])
    training_data, _ = split_for_validation(data, config)
    steps = loaders.training_steps(training_data).of_epoch(1)
    batches = _labelled_batches((batch for step in steps for batch in step), kinds)
    model = model.to(accelerator.device)
    return gradient_cosines(model, [send_to_device(batch, accelerator.device) for batch in batches], kinds)


def _labelled_batches(batches: Iterable[Batch], kinds: Mapping[str, Kind]) -> list[Batch]:
    """The first batches that have a target of a task which those before them have not, until all tasks have one."""
    missing, chosen = set(kinds), []
    for batch in batches:
        found = {name for name in missing if name in batch["targets"] and kinds[name].count(batch["targets"][name])}
        if found:
            chosen.append(batch)
            missing -= found
        if not missing:
            break
    return chosen


def _write(cosines: TaskCosines, path: Path, title: str) -> None:
    draw_cosines(cosines, path.with_suffix(".png"), title)
    rows: list[Sequence[object]] = [("layer", "task", "other", "cosine")]
    for layer, matrix in {"all layers": cosines.matrix, **cosines.layers}.items():
        for pair in cosines.pairs():
            first, second = (cosines.tasks[at] for at in pair)
            rows.append((layer, first, second, f"{matrix[pair].item():.4f}"))
    write_table(path.with_suffix(".csv"), rows)


def _rows_of_movement(lines: Sequence[GatesLine]) -> list[Sequence[object]]:
    quantiles = [f"quantile {quantile}" for quantile in QUANTILES]
    rows: list[Sequence[object]] = [("epoch", "task", "mean", "std", *quantiles, "near 0", "near 1")]
    for line in lines:
        columns = (line["tasks"], line["mean"], line["std"], line["quantiles"], line["near_0"], line["near_1"])
        for task, mean, std, values, near_0, near_1 in zip(*columns, strict=True):
            rows.append((line["epoch"], task, mean, std, *values, near_0, near_1))
    return rows
