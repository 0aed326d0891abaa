"""Timm's way from an architecture to a model with weights, which goes in one step, taken apart."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.models import _builder
from torch import nn

Load = Callable[[nn.Module], None]
"""Loads the weights into a model that is built."""

_patching = threading.RLock()


@contextmanager
def before_loading(name: str, convert: Callable[[nn.Module], None], load: Load | None = None) -> Iterator[None]:
    """Within the block, convert the model of this name when timm has built it, and before it does more with it.

    `build_model_with_cfg` builds, prunes, loads and wraps a model in one go, with no door in between. But it asks for
    the model's traits at the right moments: just before the state dict goes in, and just before a feature extractor
    takes the model apart.

    Args:
        name: Of the model.
        convert: Converts it in place. It may be called again.
        load: Loads weights first, where timm is not asked to. It may be called again.
    """
    with _patching:
        get_model_traits = _builder.get_model_traits

        def convert_then_get_traits(model: nn.Module) -> dict[str, object]:
            if _is_named(model, name):
                if load is not None:
                    load(model)
                convert(model)
            return get_model_traits(model)

        _builder.get_model_traits = convert_then_get_traits
        try:
            yield
        finally:
            _builder.get_model_traits = get_model_traits


@contextmanager
def without_loading(name: str, instead: Callable[..., None] = lambda model, **kwargs: None) -> Iterator[None]:
    """Within the block, the model of this name is built as timm builds it for its weights, and these are not loaded.

    Args:
        name: Of the model.
        instead: Is called in place of timm's `load_pretrained`.
    """
    with _patching:
        load_pretrained = _builder.load_pretrained

        def load_or_not(model: nn.Module, *args: Any, **kwargs: Any) -> None:
            (instead if _is_named(model, name) else load_pretrained)(model, *args, **kwargs)

        _builder.load_pretrained = load_or_not
        try:
            yield
        finally:
            _builder.load_pretrained = load_pretrained


def loading_of(name: str, build: Callable[[], nn.Module]) -> Load | None:
    """How timm loads the weights of an architecture, with the filter that it has for these.

    Args:
        name: Of the model.
        build: Builds it with weights.

    Returns:
        It loads them once, and does nothing when it is called again, as it is while it loads: timm asks for the
        model's traits then. None, if the architecture does not load them by timm's `build_model_with_cfg`.
    """

    def stop(model: nn.Module, **kwargs: Any) -> None:
        raise _ReachedError(kwargs)

    try:
        with without_loading(name, stop), torch.device("meta"):
            build()
    except _ReachedError as reached:
        keywords = [reached.kwargs]
    else:
        return None

    def load_once(model: nn.Module) -> None:
        if keywords:
            _builder.load_pretrained(model, **keywords.pop())

    return load_once


class _ReachedError(Exception):
    """The model is built, and the weights would be loaded with these keywords."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.kwargs = kwargs


def _is_named(model: nn.Module, name: str) -> bool:
    # Architectures that build another one inside them do the same for that one.
    return getattr(model, "pretrained_cfg", {}).get("architecture") == name


def eps_args(model: nn.Module, build: Callable[..., nn.Module]) -> dict[str, object]:
    """The keywords without which a plain model, built anew, would have another eps: weights do not hold it.

    Args:
        model: A model of timm.
        build: Builds its architecture, with these keywords.

    Raises:
        ValueError: if there are none.
    """
    own = _eps_of(model)
    batch_norms = (norm for norm in model.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm))
    first = next(batch_norms, None)
    with torch.device("meta"):
        if _agree(own, build()):
            return {}
        try:
            if first is not None and _agree(own, build(bn_eps=first.eps)):
                return {"bn_eps": first.eps}
        except TypeError:  # it has no such keyword
            pass
    raise ValueError(
        f"The norms of this {type(model).__name__} have eps={sorted(set(own.values()))}, and timm would build it with "
        "others: once loaded, it would give other outputs."
    )


def _agree(eps: dict[str, float], model: nn.Module) -> bool:
    """Whether the norms of a model that bear the same names have this eps. Features lack some."""
    return all(eps.get(name, value) == value for name, value in _eps_of(model).items())


def _eps_of(model: nn.Module) -> dict[str, float]:
    return {name: norm.eps for name, norm in model.named_modules() if isinstance(getattr(norm, "eps", None), float)}
