"""What a run is made of: its tasks, data and model, from the config."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import timm
from timm.data.model_config import resolve_input_data_config
from torch import nn

from ...data import Mixture, tasks_of
from ...models.timm.names import SUFFIX
from ...tasks import Kind, Task, make_kind
from ..balancing import LossWeighting, loss_weighting
from ..optimization.freezing import freeze_trunk
from .config import TrainingConfig
from .continuing import model_of_checkpoint

# What timm's pretrained configs say of the weights that timm has of an architecture.
_OF_PUBLISHED_WEIGHTS = ("url", "hf_hub_id", "tag", "license", "origin_url", "paper_name", "paper_ids", "notes")


def build_data(config: TrainingConfig, split: Literal["train", "test"]) -> Mixture:
    """The data of a split, without data sets that have none of the tasks.

    Raises:
        ValueError: if no data set has a task that is asked for.
    """
    sources = config.sources()
    datasets = [source.dataset(split) for source in sources]
    names = [[task.name for task in tasks_of(data)] for data in datasets]
    known = list(dict.fromkeys(name for each in names for name in each))
    named = {"tasks": config.tasks or [], "heads": list(config.heads), "weights": list(_weights(config))}
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
    return Mixture([data for data, _ in chosen], rates or None)


def build_tasks(config: TrainingConfig, data: Mixture) -> list[Task]:
    """The tasks to train, in order, each with the head that the config gives it.

    Raises:
        ValueError: if a step is to have more tasks than there are.
    """
    by_name = {task.name: task for task in data.tasks}
    names = config.tasks or list(by_name)
    if config.tasks_per_step is not None and config.tasks_per_step > len(names):
        raise ValueError(f"tasks_per_step={config.tasks_per_step}: there are {len(names)} tasks, {names}.")
    return [_with_head(by_name[name], config.heads.get(name)) for name in names]


def build_kinds(tasks: list[Task]) -> dict[str, Kind]:
    """What the targets of each task are, in order."""
    return {task.name: make_kind(task) for task in tasks}


def build_weighting(config: TrainingConfig, tasks: Sequence[Task]) -> LossWeighting:
    """How the losses of the tasks are weighted. Fixed weights of tasks that are not trained do not matter.

    Raises:
        ValueError: if there is no such weighting, or it does not take its options.
    """
    names = [task.name for task in tasks]
    options = config.balancing_args
    if weights := _weights(config):
        options = {**options, "weights": {name: weight for name, weight in weights.items() if name in names}}
    return loss_weighting(config.balancing, names, seed=config.seed, **options)


def build_model(config: TrainingConfig, tasks: list[Task], image_shape: tuple[int, ...]) -> nn.Module:
    """The model: a new one, or the checkpoint's with the tasks that it lacks.

    A new one is of timm, where all tasks are classification by timm's own classifiers, else of transformers.

    Raises:
        ValueError: if the name is unknown, or the model does not take `model_args`; or if the checkpoint does not fit
            the tasks or images.
        OSError: if there is no such repo or folder.
    """
    if config.model is None:
        model = model_of_checkpoint(config, tasks, image_shape)
    else:
        model = _new_model(config.model, config, tasks, image_shape)
    if config.freeze_trunk:
        freeze_trunk(model)
    return model


def _new_model(name: str, config: TrainingConfig, tasks: list[Task], image_shape: tuple[int, ...]) -> nn.Module:
    try:
        if name.partition(".")[0].endswith(SUFFIX) or ":" in name:
            _check_timm_name(name)
            if all(task.kind == "classification" and task.head is None for task in tasks):
                return _timm_model(name, config, tasks, image_shape)
        else:
            _check_transformers_name(name)
        return _transformers_model(name, config, tasks, image_shape)
    except TypeError as error:
        raise ValueError(f"model={name!r} with model_args={config.model_args}: {error}.") from error


def _weights(config: TrainingConfig) -> Mapping[str, Any]:
    weights = config.balancing_args.get("weights")
    return weights if isinstance(weights, Mapping) else {}


def _with_head(task: Task, head: str | Mapping[str, Any] | None) -> Task:
    if head is None:
        return task
    values = {"name": head} if isinstance(head, str) else dict(head)
    return replace(task, head=values.pop("name"), head_args=values)


def _check_timm_name(model: str) -> None:
    name = model.partition(".")[0]  # without the tag of the pretrained weights
    if ":" not in name and not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(f"*{SUFFIX}"))
        raise ValueError(f"model={model!r} is none of timm's names with {SUFFIX}.{f' Near: {near}.' if near else ''}")


def _check_transformers_name(model: str) -> None:
    from transformers import CONFIG_MAPPING

    if "/" not in model and model not in CONFIG_MAPPING and not Path(model).is_dir():
        near = get_close_matches(model + SUFFIX, timm.list_models(f"*{SUFFIX}"))
        raise ValueError(
            f"model={model!r} is none of timm's names with {SUFFIX}, no model type of transformers, no repo (org/name) "
            f"and no folder.{f' Near: {near}.' if near else ''}"
        )


def _timm_model(name: str, config: TrainingConfig, tasks: list[Task], image_shape: tuple[int, ...]) -> nn.Module:
    model: Any = timm.create_model(
        name,
        pretrained=config.pretrained,
        num_classes={task.name: task.num_classes for task in tasks},
        norm=config.norm,
        **{"in_chans": image_shape[0], **config.model_args},
    )
    # The images of the data set are what the checkpoint is for: as large as they are, normalised as it begins.
    own = resolve_input_data_config(model)
    unchanged = {"mean": (0.0,) * image_shape[0], "std": (1.0,) * image_shape[0]}
    statistics = {key: own[key] for key in unchanged} if config.pretrained else unchanged
    of_others = () if config.pretrained else _OF_PUBLISHED_WEIGHTS
    others = {
        key: value
        for key, value in model.pretrained_cfg.items()
        if not key.startswith("test_") and key not in of_others
    }
    model.pretrained_cfg = {**others, "input_size": image_shape, "crop_pct": 1.0, **statistics}
    return model


def _transformers_model(
    name: str, config: TrainingConfig, tasks: list[Task], image_shape: tuple[int, ...]
) -> nn.Module:
    from transformers import BitImageProcessor

    from ...models.hf import TsbnForMultiTask

    model_args = dict(config.model_args)
    architecture, dot, tag = name.partition(".")
    if architecture.endswith(SUFFIX):
        name = f"timm/{architecture.removesuffix(SUFFIX)}{dot}{tag}"
    if not config.pretrained and name.startswith("timm/"):
        model_args.setdefault("in_chans", image_shape[0])
    elif not config.pretrained:
        model_args.setdefault("num_channels", image_shape[0])
    model: Any = TsbnForMultiTask.from_backbone(
        name, tasks, pretrained=config.pretrained, norm=config.norm, **model_args
    )
    height, width = image_shape[-2:]
    own: Any = model.image_processor
    if config.pretrained and own is not None and own.do_normalize:
        normalization = {"do_normalize": True, "image_mean": own.image_mean, "image_std": own.image_std}
    else:
        normalization = {"do_normalize": False}
    model.image_processor = BitImageProcessor(
        size={"height": height, "width": width}, do_center_crop=False, **normalization
    )
    return model
