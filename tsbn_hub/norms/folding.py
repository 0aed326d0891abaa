"""From a network with task norms back to the plain network of one task, and blocks on ways there that lose gates."""

import copy
import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.nn.utils import fusion
from torch.utils import _pytree as pytree

from .batch_norm import SharedBatchNorm
from .task_parameters import TaskParameters


def folded(module: nn.Module, row: int) -> nn.Module:
    """A copy of a network, with the plain norms and classifiers of a task's row in the places of ours."""
    plain = merged_copy(module)
    new: dict[int, nn.Module] = {}
    for name, part in list(plain.named_modules(remove_duplicate=False)):
        if isinstance(part, TaskParameters | SharedBatchNorm):
            if id(part) not in new:
                new[id(part)] = part.fold(row)
            parent, _, child = name.rpartition(".")
            plain.get_submodule(parent)._modules[child] = new[id(part)]
    for part in plain.modules():
        _unblock(part)
    return plain


def merged_copy(module: nn.Module) -> nn.Module:
    """A copy of a network in which the layers of PEFT (LoRA, …) are merged into the plain ones, as they are active.

    Raises:
        RuntimeError: if one of them cannot be merged.
    """
    plain = copy.deepcopy(module, _detached_caches(module))
    for place, parent in list(plain.named_modules(remove_duplicate=False)):
        for name, child in parent._modules.items():
            if child is not None and _is_of_peft(child):
                parent._modules[name] = _merged(child, f"{place}.{name}".lstrip("."))
    if _is_of_peft(plain):
        return _merged(plain, "")
    for leftover in ("peft_config", "_hf_peft_config_loaded"):
        vars(plain).pop(leftover, None)
    return plain


def refuse_unmerged(module: nn.Module, what: str) -> None:
    """Refuse a network in which PEFT's layers stand in the places of plain ones: their parts have other names.

    Raises:
        RuntimeError: if there is one; it says what is refused.
    """
    for name, part in module.named_modules():
        if _is_of_peft(part):
            raise RuntimeError(
                f"{name or 'The model'} is a {type(part).__name__} of PEFT, and {what} would lose what it has learned: "
                "merge first, model = peft_model.merge_and_unload(), or let PEFT save its adapter, "
                "peft_model.save_pretrained(…)."
            )


def _is_of_peft(module: nn.Module) -> bool:
    """Whether this stands in the place of a plain layer, and holds it."""
    return hasattr(type(module), "unload_and_optionally_merge_module") or (
        hasattr(type(module), "get_base_layer") and hasattr(type(module), "merge")
    )


def _merged(layer: Any, name: str) -> nn.Module:
    """The plain layer that computes what a layer of PEFT does."""
    wraps = hasattr(layer, "unload_and_optionally_merge_module")
    if layer.disable_adapters:
        if getattr(layer, "merged", False):
            layer.unmerge()
        plain = layer.original_module if hasattr(layer, "original_module") else layer.get_base_layer()
    elif "forward" in vars(layer):
        raise RuntimeError(_unmergeable(layer, name, "its forward was replaced"))
    else:
        try:
            if wraps:
                plain = layer.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
            else:
                if not layer.merged:  # else it computes what its base layer does, whatever is active
                    layer.merge(safe_merge=True)
                plain = layer.get_base_layer()
        except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
            raise RuntimeError(_unmergeable(layer, name, error)) from error
    return merged_copy(plain)


def _unmergeable(layer: nn.Module, name: str, reason: object) -> str:
    return (
        f"{name} is a {type(layer).__name__} of PEFT that cannot be merged into a plain layer ({reason}). Take it out, "
        "model = peft_model.unload(), and fold what is left."
    )


def block_what_loses_gates(module: nn.Module) -> None:
    """Let the parts of a network that would fuse norms without regard to gates raise, and script as one task's."""
    for parent in module.modules():
        ours = _first_of_ours(parent)
        if ours is None or ours is parent:
            continue
        for method in ("fuse", "reparameterize", "switch_to_deploy"):
            if hasattr(parent, method):
                vars(parent)[method] = _fold_first
        if not hasattr(parent, "task_selector"):  # a whole model scripts as the task that is set
            vars(parent)["__prepare_scriptable__"] = _FoldedPart(parent)


def _first_of_ours(module: nn.Module) -> TaskParameters | SharedBatchNorm | None:
    return next((part for part in module.modules() if isinstance(part, TaskParameters | SharedBatchNorm)), None)


def _unblock(module: nn.Module) -> None:
    for name, value in list(vars(module).items()):
        if value is _fold_first or isinstance(value, _FoldedPart):
            del vars(module)[name]


Fusion = Callable[..., tuple[nn.Parameter, nn.Parameter]]
"""A function like `torch.nn.utils.fuse_conv_bn_weights`, which gets the running mean as `bn_rm`."""


def _without_rows(fuse: Fusion) -> Fusion:
    @functools.wraps(fuse)
    def fuse_plain(*args: Any, **kwargs: Any) -> tuple[nn.Parameter, nn.Parameter]:
        if inspect.signature(fuse).bind(*args, **kwargs).arguments["bn_rm"].ndim > 1:
            _fold_first()
        return fuse(*args, **kwargs)

    return fuse_plain


# `fuse_conv_bn_eval` and `fuse_linear_bn_eval` find these as globals of their module, wherever they are imported from.
for _name in ("fuse_conv_bn_weights", "fuse_linear_bn_weights"):
    setattr(fusion, _name, _without_rows(getattr(fusion, _name)))


def _fold_first(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "This module has task norms, whose gates and statistics a fusion would lose. Fold a task first, and fuse the "
        "plain model: timm.utils.reparameterize_model(model.fold(task))."
    )


class _FoldedPart:
    """What TorchScript takes in the place of a part of a model: its copy for the task that is selected.

    TorchScript would replace the task norms in the part itself, which is still the model's: a feature graph shares with
    its model the parts that it does not trace.
    """

    def __init__(self, part: nn.Module) -> None:
        self.part = weakref.ref(part)  # which holds this: a circle would keep the memory of a model that nobody needs

    def __reduce__(self) -> tuple[Any, ...]:
        return _FoldedPart, (self.part(),)

    def __call__(self) -> nn.Module:
        part = self.part()
        assert part is not None
        ours = _first_of_ours(part)
        assert ours is not None
        if not ours.selector.is_selected():
            raise RuntimeError(
                "TorchScript would replace the task norms of this part, in place, by those of one task. Script the "
                "whole model after model.set_task(…), or a part of model.fold(task)."
            )
        return folded(part, int(ours.selector.current().index))  # type: ignore[arg-type]


def _detached_caches(module: nn.Module) -> dict[int, Any]:
    """A memo for deepcopy, which refuses tensors of a graph: some architectures cache these from forward to forward."""
    values = [value for each in module.modules() for key, value in vars(each).items() if not key.startswith("_")]
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_leaf]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}
