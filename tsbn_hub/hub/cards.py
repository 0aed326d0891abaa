"""Model cards."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from torch import nn

from ..models import TimmTaskModel
from ..models.saving import write_atomically

_STYLES = {"sigmoid": "TSσBN", "affine": "TSBN", "shared": "hard sharing"}

_BODY = """\
# {name}

{architecture} for the tasks {tasks}, trained on {data}. One network with a shared feature extractor; what belongs to a
task lies in its norm layers ({style}, [arXiv 2512.20420](https://arxiv.org/abs/2512.20420)).

| task | classes | test {metric} |
| --- | --- | --- |
{rows}

The epoch was chosen on held-out training data, not on the test set.

## Use

```python
import timm
import tsbn_hub  # registers the `_tsbn` names

model = timm.create_model("local-dir:{name}", pretrained=True).eval()  # or "hf-hub:org/name"
model(images)                  # {{{outputs}}}
model(images, task={first!r})  # one task
plain = model.fold({first!r})  # a plain timm model with the same outputs
```

Images are {channels} x {height} x {width}, float, with values from 0 to 1.
"""


def write_card(
    folder: str | Path, model: nn.Module, data: str, scores: Mapping[str, float], metric: str = "accuracy"
) -> None:
    """Write the README.md of a saved model.

    Args:
        folder: The folder of `save_pretrained`.
        model: The model.
        data: The name of the data set.
        scores: Each task's metric on the test set.
        metric: Its name.

    Raises:
        TypeError: if the model has no tasks.
    """
    if not isinstance(model, TimmTaskModel):
        raise TypeError(f"{type(model).__name__} has no tasks to write a card about.")
    folder = Path(folder)
    name = folder.name
    size = model.pretrained_cfg["input_size"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=data.lower(),
            dataset_name=data,
            # Results on one data set are merged into one, unless their configs differ.
            dataset_config=task,
            metric_type=metric,
            metric_name=f"{task} {metric}",
            metric_value=round(score, 5),
        )
        for task, score in scores.items()
    ]
    front_matter = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=["tsbn", "multi-task", *model.tasks],
        model_name=name,
        eval_results=results,
    )
    body = _BODY.format(
        name=name,
        architecture=model.pretrained_cfg["architecture"],
        tasks=" and ".join(f"`{task}`" for task in model.tasks),
        data=data,
        style=_STYLES[model.recipe.options.style],
        metric=metric,
        rows="\n".join(
            f"| {task} | {classes} | {scores[task]:.2%} |"
            for task, classes in zip(model.tasks, model.task_classes, strict=True)
        ),
        outputs=", ".join(
            f'"{task}": (B, {classes})' for task, classes in zip(model.tasks, model.task_classes, strict=True)
        ),
        first=model.tasks[0],
        channels=size[0],
        height=size[1],
        width=size[2],
    )
    text = f"---\n{front_matter}\n---\n\n{body}"
    write_atomically({folder / "README.md": lambda path: path.write_text(text)})
