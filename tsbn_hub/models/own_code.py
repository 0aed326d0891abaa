"""Which files and modules outside this package a model's parts come from."""

from collections.abc import Iterator
from typing import Any

import timm
from torch import nn

from ..files.own_code import origins_of
from ..norms import SharedBatchNorm, TaskNorm
from ..norms.kernels import registration_of
from .heads import Head
from .timm.names import SUFFIX


def own_code_of(model: nn.Module) -> list[str]:
    """What must be imported before a model can be built again, as `origin_of` names it; empty for most.

    Its kinds, heads, norm classes and its architecture are looked at.
    """
    return origins_of([*_kinds_and_heads(model), *_norms(model), *_architecture(model)])


def own_code_of_task(model: Any, task: str) -> list[str]:
    """What must be imported before a task of a model can be built again: the origins of its kind and head."""
    if not hasattr(model, "kinds"):
        return []
    return origins_of([type(model.kinds[task]), type(model.head(task))])


def _kinds_and_heads(model: nn.Module) -> Iterator[type]:
    yield from map(type, getattr(model, "kinds", {}).values())
    yield from (type(module) for module in model.modules() if isinstance(module, Head))


def _norms(model: nn.Module) -> Iterator[object]:
    classes = {module.plain_class for module in model.modules() if isinstance(module, TaskNorm | SharedBatchNorm)}
    for norm_class in sorted(classes, key=lambda norm_class: norm_class.__qualname__):
        yield from registration_of(norm_class)


def _architecture(model: Any) -> Iterator[object]:
    """What builds the architecture of a timm model, also of one in a model of transformers."""
    if hasattr(model, "pretrained_cfg"):
        name = str(model.pretrained_cfg.get("architecture")).removesuffix(SUFFIX)
    else:
        name = str(getattr(getattr(model.config, "backbone_config", None), "architecture", None))
    if timm.is_model(name):
        yield timm.models.model_entrypoint(name)
