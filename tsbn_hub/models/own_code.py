"""Which files and modules outside this package a model's parts come from."""

from collections.abc import Iterable, Iterator

import timm
from torch import nn

from ..files.own_code import origins_of, without_folder
from ..norms import SharedBatchNorm, TaskNorm
from ..norms.kernels import registration_of


def own_code_of(model: nn.Module, architecture: str, parts: Iterable[type] = ()) -> list[str]:
    """What must be imported before a model can be built again, as `origin_of` names it; empty for most.

    Args:
        model: Its norm classes are looked at.
        architecture: The name of its plain backbone, which timm may know.
        parts: The classes of parts that were found by their names: kinds, heads, trunk.
    """
    return origins_of([*parts, *_norms(model), *_architecture(architecture)])


def imports_of_checkpoint(own_code: Iterable[str]) -> list[str]:
    """The same as a checkpoint says it: without the folders of this machine."""
    return [without_folder(name) for name in own_code]


def _norms(model: nn.Module) -> Iterator[object]:
    classes = {module.plain_class for module in model.modules() if isinstance(module, TaskNorm | SharedBatchNorm)}
    for norm_class in sorted(classes, key=lambda norm_class: norm_class.__qualname__):
        yield from registration_of(norm_class)


def _architecture(name: str) -> Iterator[object]:
    """What builds an architecture of timm's."""
    if timm.is_model(name):
        yield timm.models.model_entrypoint(name)
