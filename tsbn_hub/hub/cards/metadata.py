"""What the head of a card tells the Hub, in the Hub's words."""

import re
from collections.abc import Iterable, Mapping

import timm
from huggingface_hub import EvalResult, ModelCardData

from ...models.surface import Surface
from ...models.timm.names import SUFFIX
from ...results.results import DataMeasured, Results, TaskMeasured
from ...tasks import Classification
from ...tasks.kind import kind_classes
from ...training import TrainingConfig

# What the Hub gets for tasks of kinds that it has no name for, and of kinds that are not registered here.
_OTHER_TASK = "image-feature-extraction"
_DATASET = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?")
_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def card_metadata(
    surface: Surface,
    name: str,
    kinds: Mapping[str, str],
    results: Results | None,
    recipe: TrainingConfig | None,
    license: str | None,
) -> ModelCardData:
    """The metadata of a model, with an entry in its model-index for each task that has a score.

    Args:
        surface: Of the model.
        name: Of the model.
        kinds: By task, the name of its kind.
        results: What was measured; None: nothing.
        recipe: How it was trained; None: that is not known.
        license: Of the weights, by the Hub's name; None: it is not stated.
    """
    evaluations = list(evaluations_of(results)) if results else []
    datasets = [repo for data in (results.data if results else []) if (repo := _dataset_repo(data))]
    return ModelCardData(
        library_name=surface.library,
        pipeline_tag=_classifies(surface) or pipeline_tag(kinds.values()),
        license=license,
        base_model=base_model(recipe) if recipe else None,
        datasets=datasets or None,
        metrics=known_metrics(results) if results else None,
        tags=_tags(surface.tasks) if surface.tasks else None,
        model_name=name.rpartition("/")[2] if evaluations else None,
        eval_results=evaluations or None,
    )


def _tags(tasks: list[str]) -> list[str]:
    return ["tsbn", *(["multi-task"] if len(tasks) > 1 else []), *tasks]


def base_model(recipe: TrainingConfig) -> str | None:
    """The repo of the weights that a training began with; None: it began with none, or those of a folder.

    Example:
        >>> from tsbn_hub.hub.cards.metadata import base_model
        >>> from tsbn_hub.training import TrainingConfig
        >>> base_model(TrainingConfig(model="resnet50_tsbn", data="MultiDigits", output="runs/x", pretrained=True))
        'timm/resnet50.a1_in1k'
    """
    if recipe.checkpoint is not None:
        return _repo(recipe.checkpoint)
    if recipe.model is None or not recipe.pretrained:
        return None
    source, colon, name = recipe.model.rpartition(":")
    if source == "hf-hub" or (not colon and "/" in name and not name.startswith("timm/")):
        return _repo(name)
    architecture, dot, tag = name.removeprefix("timm/").partition(".")
    config = None if colon else timm.get_pretrained_cfg(architecture.removesuffix(SUFFIX) + dot + tag)
    return config.hf_hub_id if config else None


def _repo(name: str) -> str | None:
    """The repo without its revision; None for a folder."""
    name = name.partition("@")[0]
    return name if _REPO.fullmatch(name) else None


def evaluations_of(results: Results) -> Iterable[EvalResult]:
    """For each task that has a score, its entry in the model-index."""
    configs = _unique_slugs([task.name for task in results.tasks])
    for task in results.tasks:
        primary = task.metrics[0]
        if primary.value is None:
            continue
        data_sets = [data for data in results.data if task.name in data.tasks]
        yield EvalResult(
            task_type=_hub_task(task.kind) or _OTHER_TASK,
            task_name=task.name,
            dataset_type="-".join(_dataset_repo(data) or _slug(data.name).lower() for data in data_sets),
            dataset_name=", ".join(data.name for data in data_sets),
            # Results on one data set are merged into one, unless their configs differ.
            dataset_config=configs[task.name],
            dataset_split=results.split,
            metric_type=_hub_metric(task) or primary.name,
            metric_name=f"{task.name}: {primary.name}",
            metric_value=round(primary.value, 5),
        )


def known_metrics(results: Results) -> list[str] | None:
    """The Hub's names of the tasks' first metrics."""
    names = dict.fromkeys(_hub_metric(task) for task in results.tasks)
    return [name for name in names if name] or None


def pipeline_tag(kinds: Iterable[str]) -> str:
    """The Hub shows one task for each model: the first, by the names of their kinds, that it has a name for."""
    return next((task for kind in kinds if (task := _hub_task(kind))), _OTHER_TASK)


def _hub_task(kind: str) -> str | None:
    return kind_classes[kind].hub_task if kind in kind_classes else None


def _hub_metric(task: TaskMeasured) -> str | None:
    """The Hub's name of a task's first metric."""
    return kind_classes[task.kind].hub_metrics.get(task.metrics[0].name) if task.kind in kind_classes else None


def _classifies(surface: Surface) -> str | None:
    is_folded = not surface.tasks and type(surface.model).__name__.endswith("ForImageClassification")
    return Classification.hub_task if is_folded else None


def _dataset_repo(data: DataMeasured) -> str | None:
    match = _DATASET.fullmatch(data.url or "")
    return match[1] if match else None


def _slug(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-") or "task"


def _unique_slugs(names: list[str]) -> dict[str, str]:
    """Names as the Hub allows them for a data set's configs, no two alike even where case does not count."""
    slugs: dict[str, str] = {}
    for name in names:
        slug, number = _slug(name), 1
        while slug.lower() in {used.lower() for used in slugs.values()}:
            number += 1
            slug = f"{_slug(name)}-{number}"
        slugs[name] = slug
    return slugs
