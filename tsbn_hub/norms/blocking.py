"""What would lose gates without a word: fusing norms by reading their weights, scripting a part of a network."""

from typing import Any, NoReturn

from torch import nn

from .batch_norm import SharedBatchNorm
from .task_parameters import TaskParameters


def block_what_loses_gates(module: nn.Module) -> None:
    """Let the parts of a network that would fuse, or script, norms without regard to gates raise instead."""
    ours = TaskParameters | SharedBatchNorm
    for parent in module.modules():
        if isinstance(parent, ours) or not any(isinstance(each, ours) for each in parent.modules()):
            continue
        for method in ("fuse", "reparameterize", "switch_to_deploy"):
            if hasattr(parent, method):
                vars(parent)[method] = _fold_first
        if not hasattr(parent, "task_selector"):  # a whole model scripts as the task that is set
            vars(parent)["__prepare_scriptable__"] = _script_the_whole


def unblock(module: nn.Module) -> None:
    """Take the blocks of a module away again."""
    for name, value in list(vars(module).items()):
        if value is _fold_first or value is _script_the_whole:
            del vars(module)[name]


def _fold_first(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "This module has task norms, whose gates and statistics a fusion would lose. Fold a task first, and fuse the "
        "plain model: timm.utils.reparameterize_model(model.fold(task))."
    )


def _script_the_whole() -> NoReturn:
    raise RuntimeError(
        "TorchScript would replace the task norms of this part, in place, by those of one task. Script the whole model "
        "after model.set_task(…), or a part of model.fold(task)."
    )
