"""From a network with task norms back to the plain network of one task, and blocks on ways there that lose gates."""

import copy
import inspect
import weakref
from types import FunctionType
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .batch_norm import SharedBatchNorm
from .task_parameters import TaskParameters


def folded(module: nn.Module, row: int) -> nn.Module:
    """A copy of a network, with the plain norms and classifiers of a task's row in the places of ours."""
    _refuse_foreign_forwards(module)
    plain = copy.deepcopy(module, _detached_caches(module))
    for part in list(plain.modules()):
        _unwrap(part)
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
        return folded(part, ours.selector.current_row())


def _detached_caches(module: nn.Module) -> dict[int, Any]:
    """A memo for deepcopy, which refuses tensors of a graph: some architectures cache these from forward to forward."""
    values = [value for each in module.modules() for key, value in vars(each).items() if not key.startswith("_")]
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_leaf]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}
