"""From a network with task norms back to the plain network of one task, and blocks on ways there that lose gates."""

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from torch import nn
from torch.nn.utils import fusion

from .batch_norm import SharedBatchNorm
from .merging import merged_copy
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


def block_what_loses_gates(module: nn.Module) -> None:
    """Let the parts of a network that would fuse norms without regard to gates raise, and script as one task's."""
    parts: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    ours = [name for name, part in parts.items() if isinstance(part, TaskParameters | SharedBatchNorm)]
    for name in {above for each in ours for above in _above(each)}.difference(ours):
        parent = parts[name]
        for method in ("fuse", "reparameterize", "switch_to_deploy"):
            if hasattr(parent, method):
                vars(parent)[method] = _fold_first
        if not hasattr(parent, "task_selector"):  # a whole model scripts as the task that is set
            vars(parent)["__prepare_scriptable__"] = _FoldedPart(parent)


def _above(name: str) -> Iterator[str]:
    """The names of all modules that hold one, up to the network's, which is empty."""
    while name:
        name = name.rpartition(".")[0]
        yield name


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
        ours = next(each for each in part.modules() if isinstance(each, TaskParameters | SharedBatchNorm))
        if not ours.selector.is_selected():
            raise RuntimeError(
                "TorchScript would replace the task norms of this part, in place, by those of one task. Script the "
                "whole model after model.set_task(…), or a part of model.fold(task)."
            )
        return folded(part, ours.selector.current_row())
