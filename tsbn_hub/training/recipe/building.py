"""What a run is made of: its tasks, data and model, from the config."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from ...baselines import SINGLE_TASK, methods
from ...data import Draw, Mixture, SeededSamples, tasks_of
from ...data.augmentation import Augmentation
from ...data.sample import check_sample
from ...files.registry import UnknownNameError, did_you_mean
from ...models.libraries import build_model as build_new_model
from ...models.libraries import trunk_names
from ...models.surface import ImageShape, NewModel
from ...norms import TaskModule
from ...tasks import Kind, Task, make_kind
from ..balancing import Balancing, make_balancing
from ..optimization.freezing import freeze_trunk
from ..optimization.gate_start import scatter_gates
from .config import TrainingConfig
from .continuing import model_of_checkpoint
from .target_options import with_options


def build_data(config: TrainingConfig, split: Literal["train", "test"]) -> Mixture:
    """The data of a split, without data sets that have none of the tasks.

    Raises:
        ValueError: if no data set has a task that is asked for, or one is empty.
    """
    sources = config.sources()
    datasets = [source.dataset(split) for source in sources]
    names = [[task.name for task in tasks_of(data)] for data in datasets]
    known = list(dict.fromkeys(name for each in names for name in each))
    named = {"tasks": config.tasks or [], "heads": list(config.heads), "kind_args": list(config.kind_args)}
    named["weights"] = list(_weights(config))
    for key, given in named.items():
        unknown = [name for name in given if name not in known]
        if unknown:
            origin = ", ".join(source.name for source in sources)
            raise ValueError(f"{key}={given}: {origin} has no {unknown}. It has {known}.")
    chosen = [
        (data, source.rate)
        for data, own, source in zip(datasets, names, sources, strict=True)
        if config.tasks is None or not set(config.tasks).isdisjoint(own)
    ]
    rates = [rate for _, rate in chosen if rate is not None]
    mixture = Mixture([data for data, _ in chosen], rates or None)
    for part, size in zip(mixture.datasets, mixture.sizes, strict=True):
        if not size:
            raise ValueError(f"{type(part).__name__} is empty: its split {split!r} has no sample.")
    return mixture


def split_for_validation(data: Mixture, config: TrainingConfig) -> tuple[Mixture, Mixture]:
    """The training data without what is held out, and what is held out to choose the best epoch.

    Raises:
        ValueError: if nothing of a data set would be held out.
    """
    kept, held_out = data.split_off(config.validation, config.seed)
    for part, size, rest in zip(data.datasets, held_out.sizes, kept.sizes, strict=True):
        if not size:
            raise ValueError(
                f"Of the {rest} training samples of {type(part).__name__}, validation={config.validation} holds out "
                "none: there would be nothing to choose the best epoch by. Give more samples, or a greater part."
            )
    return kept, held_out


def check_same_targets(trained: Sequence[Task], data: Mixture) -> None:
    """Refuse data whose targets stand for something else than those that were, or are to be, trained on.

    Args:
        trained: The tasks as the model has them.
        data: Of another split, or another day. It may lack tasks.

    Raises:
        ValueError: if a task is of another kind there, or has other labels, in another order or in another number.
    """
    given = {task.name: task for task in data.tasks}
    for task in trained:
        other = given.get(task.name, task)
        differ = [
            name
            for name in ("kind", "num_classes", "labels")
            # A model of timm does not say how its classes are called.
            if None not in (getattr(task, name), getattr(other, name)) and getattr(task, name) != getattr(other, name)
        ]
        if differ:
            one, another = ({name: getattr(each, name) for name in differ} for each in (task, other))
            raise ValueError(
                f"Task {task.name!r} is trained with {one}, and the data to score it on have {another}: a target would "
                "stand for something else. Let every split say the same, its classes in the same order."
            )


def build_tasks(config: TrainingConfig, data: Mixture) -> list[Task]:
    """The tasks to train, in order, each with the head and the keywords of its kind that the config gives it.

    Raises:
        ValueError: if a step is to have more tasks than there are, or single-task learning several.
    """
    by_name = {task.name: task for task in data.tasks}
    names = config.tasks or list(by_name)
    if config.method == SINGLE_TASK and len(names) > 1:
        raise ValueError(
            f"method='stl' is a network for one task, and there are {names}: name one, as tasks=[{names[0]!r}], or let "
            "`tsbn compare --methods stl` train one network after another."
        )
    if config.tasks_per_step is not None and config.tasks_per_step > len(names):
        raise ValueError(f"tasks_per_step={config.tasks_per_step}: there are {len(names)} tasks, {names}.")
    tasks = [_with_head(by_name[name], config.heads.get(name)) for name in names]
    return with_options(tasks, config.kind_args)


def build_kinds(tasks: list[Task]) -> dict[str, Kind]:
    """What the targets of each task are, in order.

    Raises:
        ValueError: if there is no such kind, or it does not take what the task says, or lacks a number of classes.
    """
    kinds = {task.name: make_kind(task) for task in tasks}
    for name, kind in kinds.items():
        try:
            _ = kind.outputs
        except ValueError as error:
            raise ValueError(f"Task {name!r} of kind {kind.name!r}: {error}") from error
    return kinds


def build_augmentation(config: TrainingConfig, kinds: Mapping[str, Kind], data: Mixture) -> Augmentation:
    """The random changes of training samples, which are tried on the first one.

    Raises:
        ValueError: if there is no such step, it does not take its options, or targets, or the first image, cannot
            follow it.
    """
    augmentation = Augmentation(config.augmentation, kinds)
    if augmentation.steps:
        _ = SeededSamples(data, check_sample, augmentation)[Draw(0, 0)]
    return augmentation


def build_balancing(config: TrainingConfig, tasks: Sequence[Task]) -> Balancing:
    """How the tasks become one step. Given weights of tasks that are not trained do not matter.

    Raises:
        ValueError: if there is no such balancing, it does not take its options, or it cannot be part of such a run.
        ImportError: if it needs a library that is not installed.
    """
    names = [task.name for task in tasks]
    options = config.balancing_args
    if weights := _weights(config):
        options = {**options, "weights": {name: weight for name, weight in weights.items() if name in names}}
    balancing = make_balancing(config.balancing, names, seed=config.seed, **options)
    conflict = balancing.conflict(
        backward=config.backward,
        micro_batches=config.gradient_accumulation_steps,
        trunk_learns=not config.freeze_trunk,
    )
    if conflict:
        raise ValueError(f"balancing={config.balancing!r} {conflict}")
    return balancing


def build_model(
    config: TrainingConfig,
    tasks: list[Task],
    image_shape: ImageShape,
    trust: bool = False,
    image_fit: str | None = None,
) -> nn.Module:
    """The model: a new one, or the checkpoint's with the tasks that it lacks.

    A new one is of timm, where all tasks are classification by timm's own classifiers, else of transformers.

    Raises:
        ValueError: if the name is unknown, or the model does not take `model_args`; or if the checkpoint does not fit
            the tasks or images.
        OSError: if there is no such repo or folder.
    """
    if config.model is None:
        model = model_of_checkpoint(config, tasks, image_shape, trust)
    else:
        model = _new_model(config, tasks, image_shape, image_fit)
        scatter_gates(model, config.gate_noise)
    if config.freeze_trunk:
        freeze_trunk(model)
    if isinstance(model, TaskModule):
        model.execution = config.execution
    return model


def _new_model(config: TrainingConfig, tasks: list[Task], image_shape: ImageShape, image_fit: str | None) -> nn.Module:
    if config.trunk is not None:
        known = list(dict.fromkeys([*methods, *trunk_names()]))
        if config.trunk not in known:
            raise UnknownNameError(
                f"method={config.trunk!r} is unknown.{did_you_mean(config.trunk, known)} Known: {', '.join(known)}."
            )
    new = NewModel(
        name=str(config.model),
        tasks=tasks,
        image_shape=image_shape,
        pretrained=config.pretrained,
        norm=config.norm or "sigmoid",
        model_args=config.model_args,
        trunk=config.trunk,
        trunk_args=config.method_args,
        image_fit=image_fit,
    )
    try:
        return build_new_model(new)
    except TypeError as error:
        raise ValueError(f"model={config.model!r} with model_args={config.model_args}: {error}.") from error


def _weights(config: TrainingConfig) -> Mapping[str, Any]:
    weights = config.balancing_args.get("weights")
    return weights if isinstance(weights, Mapping) else {}


def _with_head(task: Task, head: str | Mapping[str, Any] | None) -> Task:
    if head is None:
        return task
    values = {"name": head} if isinstance(head, str) else dict(head)
    return replace(task, head=values.pop("name"), head_args=values)
