"""What a run is made of: its tasks, data and model, from the config."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import timm
from torch import nn

from ..data import Mixture
from ..models.timm_names import SUFFIX
from ..tasks import Classification
from .config import TrainingConfig


def build_data(config: TrainingConfig, split: Literal["train", "test"]) -> Mixture:
    """The data of a split, without data sets that have none of the tasks.

    Raises:
        ValueError: if no data set has a task that is asked for.
    """
    sources = config.sources()
    datasets = [source.dataset(split) for source in sources]
    known = list(dict.fromkeys(name for data in datasets for name in data.num_classes))  # type: ignore[attr-defined]
    unknown = [name for name in config.tasks or [] if name not in known]
    if unknown:
        names = ", ".join(source.name for source in sources)
        raise ValueError(f"tasks={config.tasks}: {names} has no {unknown}. It has {known}.")
    chosen = [
        (data, source.rate)
        for data, source in zip(datasets, sources, strict=True)
        if config.tasks is None or not set(config.tasks).isdisjoint(data.num_classes)  # type: ignore[attr-defined]
    ]
    rates = [rate for _, rate in chosen if rate is not None]
    return Mixture([data for data, _ in chosen], rates or None)


def build_kinds(config: TrainingConfig, data: Mixture) -> dict[str, Classification]:
    """The kind of each task, in order.

    Raises:
        ValueError: if a step is to have more tasks than there are.
    """
    names = config.tasks or list(data.num_classes)
    if config.tasks_per_step is not None and config.tasks_per_step > len(names):
        raise ValueError(f"tasks_per_step={config.tasks_per_step}: there are {len(names)} tasks, {names}.")
    return {name: Classification() for name in names}


def build_model(
    config: TrainingConfig, kinds: Mapping[str, Any], data: Mixture, image_shape: tuple[int, ...]
) -> nn.Module:
    """The timm model with a head for each task.

    Raises:
        ValueError: if timm does not know it, or it does not take `model_args`.
    """
    name = config.model.partition(".")[0]  # without the tag of the pretrained weights
    if ":" not in name and not (name.endswith(SUFFIX) and timm.is_model(name)):
        near = get_close_matches(name.removesuffix(SUFFIX) + SUFFIX, timm.list_models(f"*{SUFFIX}"))
        raise ValueError(
            f"model={config.model!r} is none of timm's names with {SUFFIX}.{f' Near: {near}.' if near else ''}"
        )
    try:
        return timm.create_model(
            config.model,
            pretrained=config.pretrained,
            num_classes={name: data.num_classes[name] for name in kinds},
            norm=config.norm,
            **{"in_chans": image_shape[0], **config.model_args},
        )
    except TypeError as error:
        raise ValueError(f"model={config.model!r} with model_args={config.model_args}: {error}.") from error


def image_preprocessing(image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The preprocessing for the saved config: the images as the data set gives them."""
    channels = image_shape[0]
    return {"input_size": image_shape, "mean": (0.0,) * channels, "std": (1.0,) * channels, "crop_pct": 1.0}
