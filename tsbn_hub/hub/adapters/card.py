"""The card of a task adapter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import ModelCardData

from ...files.atomic import write_atomically
from ...files.names import CARD
from ...files.repositories import is_repo, with_revision
from ...models.libraries import surface_class_of_library
from ...models.task_parts import HEAD
from ...models.usage import quoted, random_images
from ...results.results import Results
from ...tasks import Classification, Task
from ..cards.mark import marked
from ..cards.metadata import evaluations_of, known_metrics, pipeline_tag
from ..cards.text import CITATION, PAPER, escaped, shown_name, shown_value, where_measured
from .files import AdapterConfig, read_adapter

_BODY = """\
# {title}

The task {task} ({kind}) for a multi-task model: its gates and statistics in every norm layer, and its head. The network
that it is for, with the features that all tasks share, is {base}.

## Use

```python
{code}
```

`tsbn_hub.merge` makes one model of several adapters on one base.

## Task

{scores}

| | numbers |
| --- | --- |
| gates and statistics | {norms:,} |
| head | {head:,} |

The weights' licence is {license}. The method is TSσBN, {paper}.

## Citation

{citation}
"""


@dataclass(frozen=True)
class Beside:
    """What a card tells of an adapter that its files do not hold.

    Args:
        results: What was measured of the model that it is from; None: nothing.
        license: Of the weights, by the Hub's name; None: it is not stated.
        image_shape: Of the images that the base takes, (C, H, W), where it does not say how files become such; None: it
            does.
        tasks_of_base: The base's own tasks.
    """

    results: Results | None = None
    license: str | None = None
    image_shape: tuple[int, int, int] | None = None
    tasks_of_base: Sequence[str] = ()


def write_adapter_card(
    folder: str | Path, name: str, *, revision: str | None = None, beside: Beside | None = None
) -> None:
    """Write the README.md of a folder of `save_task`.

    Args:
        folder: The folder.
        name: Of the repo, "org/name", or of the folder.
        revision: The branch of the repo; None: the main one.
        beside: What is known besides.
    """
    folder, beside = Path(folder), beside or Beside()
    config, task, tensors = read_adapter(folder)
    base, results = config.base_model_name_or_path, _of_task(beside.results, task)
    metadata = ModelCardData(
        library_name="tsbn_hub",
        base_model=base if base and is_repo(base) else None,
        license=beside.license,
        pipeline_tag=pipeline_tag([task.kind]),
        tags=["tsbn", "multi-task", "task-adapter", task.name],
        metrics=known_metrics(results) if results else None,
        model_name=name.rpartition("/")[2] if results else None,
        eval_results=list(evaluations_of(results)) or None if results else None,
    )
    sizes = dict.fromkeys((True, False), 0)
    for key, tensor in tensors.items():
        sizes[key.startswith(HEAD)] += tensor.numel()
    body = _BODY.format(
        title=escaped(name),
        task=escaped(task.name),
        kind=", ".join([task.kind, *_classes(task)]),
        base=f"`{config.base}`" if base else f"a `{config.architecture}`; which one was not recorded",
        code="\n".join(_code(config, task, with_revision(name, revision), beside)),
        scores=_scores(results),
        norms=sizes[False],
        head=sizes[True],
        license=escaped(beside.license) if beside.license else "not stated",
        paper=PAPER,
        citation=CITATION,
    )
    text = marked(f"---\n{metadata}\n---\n\n{body}")
    write_atomically({folder / CARD: lambda path: path.write_text(text, encoding="utf-8")})


def _of_task(results: Results | None, task: Task) -> Results | None:
    measured = [each for each in results.tasks if each.name == task.name] if results else []
    if results is None or not measured:
        return None
    data = [replace(each, tasks=[task.name]) for each in results.data if task.name in each.tasks]
    return replace(results.own(), tasks=measured, data=data)


def _classes(task: Task) -> Iterator[str]:
    if task.labels:
        yield f"of {', '.join(map(escaped, task.labels))}"
    elif task.num_classes:
        yield f"{task.num_classes} classes"


def _scores(results: Results | None) -> str:
    if results is None:
        return "**Not measured**: no results are recorded with it."
    rows = [f"| {shown_name(metric)} | {shown_value(metric, metric.value)} |" for metric in results.tasks[0].metrics]
    return "\n".join(["| metric | value |", "| --- | --- |", *rows, "", where_measured(results)])


def _code(config: AdapterConfig, task: Task, source: str, beside: Beside) -> Iterator[str]:
    base, name, of_name = config.base, task.name, ""
    if name in beside.tasks_of_base:
        name = next(other for number in range(2, 1000) if (other := f"{name}_{number}") not in beside.tasks_of_base)
        of_name = f", name={quoted(name)}"
    yield "import tsbn_hub"
    yield from (
        ["import torch"] if beside.image_shape else ["from PIL import Image", "from tsbn_hub.deploy import predict"]
    )
    yield ""
    if base is None:
        yield 'base = "org/name"  # the network that it was trained on'
    yield f"model = tsbn_hub.load_task({quoted(base) if base else 'base'}, {quoted(source)}{of_name}).eval()"
    if beside.image_shape:
        yield random_images("images", beside.image_shape)
        yield "with torch.inference_mode():"
        yield f"    output = {surface_class_of_library(config.library).usage_for_task('images', quoted(name))}"
        return
    said = '["class"]' if task.kind == Classification.name else ""
    yield f'prediction = predict(model, Image.open("photo.jpg"), [{quoted(name)}])[{quoted(name)}]'
    yield f"print(prediction.description{said})"
