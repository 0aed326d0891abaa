"""What a model gives for some of its tasks, in as few passes as they need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from ..norms import TaskModule, TaskSelector
from ..norms.selection import Selection
from ..norms.task_module import Outputs
from .heads.batch_norm import HeadBatchNorm


def outputs_by_task(
    model: nn.Module, images: Tensor, tasks: Sequence[str], repeated: bool = False
) -> dict[str, Outputs]:
    """A model's outputs for some of its tasks, of timm or transformers or any other.

    They run as all tasks would, by `model.execution`: what is before the fork may be computed once. A compiled model is
    called once for all of its tasks, else for one after another: each set of tasks would be a further graph.

    Args:
        model: Returns a dict by task, or, for one task, its output; or has that as `logits`. A plain model has one
            task, of any name.
        images: (B, C, H, W), prepared.
        tasks: Of the model. A task that is set for it does not matter.
        repeated: These images have passed in this step, for other tasks: BatchNorms before the fork have counted them.

    Returns:
        By task: (B, outputs) or (B, outputs, H, W).

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.models.outputs import outputs_by_task
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8, "smile": 2})
        >>> outputs = outputs_by_task(model, torch.rand(4, 3, 64, 64), ["smile", "age"])
        >>> {task: output.shape for task, output in outputs.items()}
        {'smile': torch.Size([4, 2]), 'age': torch.Size([4, 8])}
    """
    known: Sequence[str] = getattr(model, "tasks", tasks)
    by_task: dict[str, Outputs] = {}
    for group in _groups(model, known, tasks):
        with nullcontext() if len(known) == 1 else pass_for(model, group, repeated or bool(by_task)):
            outputs = model(images)
        outputs = getattr(outputs, "logits", outputs)  # of a model of transformers
        several = len(group) > 1 or isinstance(outputs, dict)
        by_task |= {task: outputs[task] for task in group} if several else {group[0]: outputs}
    return by_task


def _groups(model: nn.Module, known: Sequence[str], tasks: Sequence[str]) -> list[Sequence[str]]:
    """The tasks of each call of a model."""
    is_compiled = isinstance(model, OptimizedModule) or model._compiled_call_impl is not None
    if not is_compiled or len(tasks) == len(known) or model.task_selector.shares_trunk:  # type: ignore[union-attr]
        return [tasks] if tasks else []
    return [[task] for task in tasks]


@contextmanager
def pass_for(model: nn.Module, tasks: Sequence[str], repeated: bool = False) -> Iterator[None]:
    """Within the block, the model runs for some of its tasks; nothing changes that the others have of their own.

    What it gives of several tasks is a dict, in which there may be more of them.

    Args:
        model: A model with tasks.
        tasks: Some of them.
        repeated: These images have passed in this step: what is before the fork does not count them again.
    """
    selector: TaskSelector = model.task_selector  # type: ignore[assignment]
    rows = sorted(selector.row(task) for task in tasks)
    if len(rows) == 1:
        selection, idle = Selection(rows[0], repeated=repeated), []
    else:
        # A trunk without task norms gives all tasks' outputs in one pass: for some of them it is the same graph.
        run = range(len(selector.tasks)) if selector.shares_trunk else rows
        selection = Selection(rows=tuple(run), repeated=repeated)
        idle = [selector.tasks[row] for row in run if row not in rows]
    with at_rest(model, idle), _not_counting(model, tasks if repeated else None), selector.run(selection):
        yield


@contextmanager
def _not_counting(model: nn.Module, tasks: Sequence[str] | None) -> Iterator[None]:
    """Within the block, the norms of hard sharing that are not of these tasks alone leave their statistics.

    They are plain norms, which know nothing of tasks. All of them are before the fork, but those of heads.

    Args:
        model: A model with tasks.
        tasks: None: all norms count.
    """
    selector: TaskSelector = model.task_selector  # type: ignore[assignment]
    plain = model.modules() if tasks is not None and selector.shares_trunk else ()
    own = {id(part) for task in tasks or () for module in _own_modules(model, task) for part in module.modules()}
    counting: list[Any] = [
        norm
        for norm in plain
        if getattr(norm, "track_running_stats", False)
        and id(norm) not in own
        and not issubclass(getattr(norm, "plain_class", type(norm)), HeadBatchNorm)
    ]
    for norm in counting:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in counting:
            norm.track_running_stats = True


def zero_of_parameters(model: nn.Module) -> Tensor:
    """The loss of a batch without any target: 0, with a gradient of 0 for every trainable parameter."""
    parts = [parameter.flatten()[:0].float() for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat(parts).sum()


@contextmanager
def at_rest(model: nn.Module, idle: Sequence[str]) -> Iterator[None]:
    """Within the block, a pass for all tasks leaves the statistics in the modules of idle ones as they are."""
    own = [module for task in idle for module in _own_modules(model, task)]
    modes = [module.training for module in own]
    for module in own:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(own, modes, strict=True):
            module.train(mode)


def _own_modules(model: nn.Module, task: str) -> list[nn.Module]:
    return model.modules_of(task) if isinstance(model, TaskModule) else []
