"""Copies of a network without what others have put around or into its layers: hooks, adapters of PEFT."""

import copy
import inspect
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree


def merged_copy(module: nn.Module) -> nn.Module:
    """A copy of a network in which the layers of PEFT (LoRA, …) are merged into the plain ones, as they are active.

    Raises:
        RuntimeError: if one of them cannot be merged, or a forward was replaced.
    """
    _refuse_foreign_forwards(module)
    plain = copy.deepcopy(module, _detached_caches(module))
    for part in list(plain.modules()):
        _unwrap(part)
    for place, parent in list(plain.named_modules(remove_duplicate=False)):
        for name, child in parent._modules.items():
            if child is not None and _is_of_peft(child):
                parent._modules[name] = _merged(child, f"{place}.{name}".lstrip("."))
    if _is_of_peft(plain):
        return _merged(plain, "")
    for leftover in ("peft_config", "_hf_peft_config_loaded"):
        vars(plain).pop(leftover, None)
    return plain


def refuse_to_save(module: nn.Module, what: str) -> None:
    """Refuse a network in which other layers stand in the places of plain ones: PEFT's, or quantized ones.

    The parts of PEFT's have other names; those of quantized layers of torch are no tensors, which no file holds.

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
    packed = [key for key, value in module.state_dict().items() if not isinstance(value, Tensor)]
    if packed:
        raise RuntimeError(
            f"{packed[0]} is no tensor, as in layers that were quantized, and {what} keeps tensors alone: save the "
            "model before it is quantized, and quantize what is loaded."
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


def _unwrap(part: nn.Module) -> None:
    """Take away, in place, what others have wrapped around a forward: it would call a forward of this package."""
    hook = vars(part).pop("_hf_hook", None)  # of accelerate, which may keep the weights elsewhere
    if hook is not None:
        hook.detach_hook(part)
    own = inspect.unwrap(type(part).forward)
    for name in ("forward", "_old_forward", "_original_forward"):
        wrapper = vars(part).get(name)
        if wrapper is not None and getattr(inspect.unwrap(wrapper), "__func__", inspect.unwrap(wrapper)) is own:
            del vars(part)[name]


def _refuse_foreign_forwards(module: nn.Module) -> None:
    for name, part in module.named_modules():
        forward = vars(part).get("forward")
        cells = forward.__closure__ or () if isinstance(forward, FunctionType) else ()
        held = [getattr(cell.cell_contents, "__self__", cell.cell_contents) for cell in cells]
        if any(isinstance(each, nn.Module) for each in held):
            raise RuntimeError(
                f"The forward of {name or 'this model'} was replaced by the function {forward.__qualname__}, which "
                "would run this model's modules in the place of the copy's. Fold before the forward is replaced."
            )


def _detached_caches(module: nn.Module) -> dict[int, object]:
    """A memo for deepcopy, which refuses tensors of a graph: some architectures cache these from forward to forward."""
    values = [value for each in module.modules() for key, value in vars(each).items() if not key.startswith("_")]
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_leaf]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}
