"""Model cards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from torch import nn

from ..models import TimmTaskModel
from ..models.saving import write_atomically
from ..norms import TaskModule
from ..tasks import Kind

_STYLES = {"sigmoid": "TSσBN", "affine": "TSBN", "shared": "hard sharing"}
# The Hub's names of tasks. It has none for the others.
_HUB_TASKS = {
    "Classification": "image-classification",
    "Segmentation": "image-segmentation",
    "Depth": "depth-estimation",
}
_OTHER_TASK = "image-feature-extraction"

_BODY = """\
# {name}

{architecture} for the tasks {tasks}, trained on {data}. One network with a shared feature extractor; what belongs to a
task lies in its norm layers ({style}, [arXiv 2512.20420](https://arxiv.org/abs/2512.20420)).

| task | kind | test metric | value |
| --- | --- | --- | --- |
{rows}

The epoch was chosen on held-out training data, not on the test set.

## Use

```python
{usage}
```
"""

_TIMM_USAGE = """\
import timm
import tsbn_hub  # registers the `_tsbn` names

model = timm.create_model("local-dir:{name}", pretrained=True).eval()  # or "hf-hub:org/name"
model(images)                  # a dict with the outputs of {tasks}
model(images, task={first!r})  # one task
plain = model.fold({first!r})  # a plain timm model with the same outputs

# images: (B, {channels}, {height}, {width}), float, with values from 0 to 1"""

_TRANSFORMERS_USAGE = """\
from tsbn_hub import TsbnForMultiTask

model = TsbnForMultiTask.from_pretrained("{name}")  # a folder, or org/name
images = model.image_processor(pictures, return_tensors="pt")
model(**images).logits                  # a dict with the outputs of {tasks}
model(**images, task={first!r}).logits  # one task
plain = model.fold({first!r})           # the plain backbone with the same features"""


def write_card(
    folder: str | Path,
    model: nn.Module,
    data: str,
    kinds: Mapping[str, Kind],
    scores: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the README.md of a saved model.

    Args:
        folder: The folder of `save_pretrained`.
        model: The model.
        data: The name of the data set.
        kinds: The kind of each task.
        scores: By task, its metrics on the test set.

    Raises:
        TypeError: if the model has no tasks.
    """
    if not isinstance(model, TaskModule):
        raise TypeError(f"{type(model).__name__} has no tasks to write a card about.")
    folder = Path(folder)
    hub_tasks = {name: _HUB_TASKS.get(type(kind).__name__, _OTHER_TASK) for name, kind in kinds.items()}
    results = [
        EvalResult(
            task_type=hub_tasks[task],
            dataset_type=data.lower(),
            dataset_name=data,
            # Results on one data set are merged into one, unless their configs differ.
            dataset_config=task,
            metric_type=kinds[task].primary,
            metric_name=f"{task} {kinds[task].primary}",
            metric_value=round(values[kinds[task].primary], 5),
        )
        for task, values in scores.items()
    ]
    front_matter = ModelCardData(
        library_name="timm" if isinstance(model, TimmTaskModel) else "transformers",
        pipeline_tag=next(iter(hub_tasks.values())),
        license="apache-2.0",
        tags=["tsbn", "multi-task", *model.tasks],
        model_name=folder.name,
        eval_results=results,
    )
    body = _BODY.format(
        name=folder.name,
        tasks=" and ".join(f"`{task}`" for task in model.tasks),
        data=data,
        rows="\n".join(_row(task, kinds[task], values) for task, values in scores.items()),
        **_of_model(model, folder.name),
    )
    text = f"---\n{front_matter}\n---\n\n{body}"
    write_atomically({folder / "README.md": lambda path: path.write_text(text)})


def _row(task: str, kind: Kind, values: Mapping[str, float]) -> str:
    value = values[kind.primary]
    shown = f"{value:.2%}" if kind.metrics[kind.primary] else f"{value:.4g}"
    return f"| {task} | {type(kind).__name__.lower()} | {kind.primary} | {shown} |"


def _of_model(model: Any, name: str) -> dict[str, str]:
    """What a card says of a model of timm, or of transformers."""
    common = {"name": name, "tasks": ", ".join(model.tasks), "first": model.tasks[0]}
    if isinstance(model, TimmTaskModel):
        channels, height, width = model.pretrained_cfg["input_size"]
        return {
            "architecture": model.pretrained_cfg["architecture"],
            "style": _STYLES[model.recipe.options.style],
            "usage": _TIMM_USAGE.format(**common, channels=channels, height=height, width=width),
        }
    backbone = model.config.backbone_config
    return {
        "architecture": getattr(backbone, "architecture", backbone.model_type),
        "style": _STYLES[model.config.norm],
        "usage": _TRANSFORMERS_USAGE.format(**common),
    }
