"""Which architectures of transformers can be a backbone, and what is said of those that cannot."""

import inspect
from collections.abc import Iterator
from copy import deepcopy

from transformers import (
    MODEL_FOR_BACKBONE_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    TimmBackboneConfig,
)

from ...files.checkpoints import CheckpointError
from ..sketching import sketched

_IMAGES = "pixel_values"


def backbone_class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class of an architecture's plain backbone: AutoModel's, or, where AutoModel has none, AutoBackbone's.

    Raises:
        ValueError: if it does not take images alone; the error says what to give instead.
    """
    if isinstance(config, TimmBackboneConfig):
        raise ValueError(refusal(config, "it is one of timm's", f' Give "timm/{config.backbone or "NAME"}".'))
    if instead := _part_that_can(config):
        raise ValueError(refusal(config, "it is a model around one", instead))
    backbone_class = _first(MODEL_MAPPING, config) or _first(MODEL_FOR_BACKBONE_MAPPING, config)
    if backbone_class is None:
        raise ValueError(refusal(config, "transformers has no model of it without a head"))
    parameters = inspect.signature(backbone_class.forward).parameters
    further = [name for name, each in parameters.items() if _must_be_given(each) and name not in ("self", _IMAGES)]
    if _IMAGES not in parameters:
        raise ValueError(refusal(config, f"{backbone_class.__name__} takes no images ({_IMAGES})"))
    if "input_ids" in parameters or further:
        asked = ", ".join(further or ["input_ids"])
        raise ValueError(refusal(config, f"{backbone_class.__name__} takes more than images: {asked}"))
    return backbone_class


def classification_class_of(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The `…ForImageClassification` of an architecture, if it has one."""
    return _first(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config)


def refusal(config: PreTrainedConfig, reason: str, instead: str = "") -> str:
    """One line that says why a model cannot be a backbone, and what can."""
    reason = " ".join(reason.split()).removesuffix(".")
    return f"{type(config).__name__} ({config.model_type}) cannot be a backbone: {reason}.{instead}"


def _part_that_can(config: PreTrainedConfig) -> str:
    """What to give in the place of a model around a backbone, as those of images and text are; "" of a backbone."""
    for name, part in _parts(config):
        if isinstance(part, TimmBackboneConfig):
            return f' Give "timm/{part.backbone}".'
        try:
            part_class = backbone_class_of(part)
        except ValueError:
            continue
        whole_class = _first(MODEL_MAPPING, config)
        at = None if whole_class is None else _name_in(whole_class, config, part_class)
        if whole_class is None or at is None:
            return f" Give its {name}, for a {part_class.__name__} with random weights."
        return f" Give its {part_class.__name__}: {whole_class.__name__}.from_pretrained(…).{at}, or its {name}."
    return ""


def _parts(config: PreTrainedConfig) -> Iterator[tuple[str, PreTrainedConfig]]:
    """The configurations within one, by their names, the innermost first."""
    for name in getattr(config, "sub_configs", {}):
        part = getattr(config, name, None)
        if isinstance(part, PreTrainedConfig):
            yield from ((f"{name}.{inner}", each) for inner, each in _parts(part))
            yield name, part


def _name_in(whole_class: type[PreTrainedModel], config: PreTrainedConfig, part_class: type) -> str | None:
    """The name of the part of a model that is of a class, where there is one."""
    try:
        whole = sketched(config.model_type, lambda: whole_class(deepcopy(config)), tensors=0)
    except CheckpointError:  # it cannot be built
        return None
    return next((name for name, module in whole.named_modules() if isinstance(module, part_class)), None)


def _first(mapping: object, config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class that one of transformers' mappings has for an architecture; of several the first."""
    found = mapping.get(type(config), None)  # type: ignore[attr-defined]
    return found[0] if isinstance(found, tuple) else found


def _must_be_given(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
