"""What a model gives for some of its tasks, in as few passes as they need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..norms import TaskModule, TaskSelector
from ..norms.selection import Selection
from ..norms.task_module import Outputs
from .heads.batch_norm import HeadBatchNorm


def outputs_by_task(
    model: nn.Module, images: Tensor, tasks: Sequence[str], repeated: bool = False
) -> dict[str, Outputs]:
    """A model's outputs for some of its tasks, of timm or transformers or any other.

    In one pass if these are all of its tasks, or several that share all but their heads (hard sharing).

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
    if not _pass_together(model, known, tasks, repeated):
        by_task: dict[str, Outputs] = {}
        for task in tasks:
            with pass_for(model, task, repeated or bool(by_task)):
                output = model(images)
                by_task[task] = output.logits[task] if hasattr(output, "logits") else output
        return by_task
    with at_rest(model, [task for task in known if task not in tasks]):
        outputs = model(images)
    outputs = getattr(outputs, "logits", outputs)  # of a model of transformers
    return {task: outputs[task] for task in tasks} if isinstance(outputs, dict) else {tasks[0]: outputs}


def _pass_together(model: nn.Module, known: Sequence[str], tasks: Sequence[str], repeated: bool) -> bool:
    if len(known) == 1:
        return True
    selector: TaskSelector = model.task_selector  # type: ignore[assignment]
    shares_trunk = len(tasks) > 1 and selector.shares_trunk and not repeated
    return model.task is None and (len(known) == len(tasks) or shares_trunk)


@contextmanager
def pass_for(model: nn.Module, task: str, repeated: bool) -> Iterator[None]:
    """Within the block, the model runs for a task.

    Args:
        model: A model with tasks.
        task: One of them.
        repeated: These images have passed in this step: what is before the fork does not count them again.
    """
    selector: TaskSelector = model.task_selector  # type: ignore[assignment]
    # Hard sharing has plain norms, which know nothing of tasks. All of them are before the fork, but those of heads.
    plain = model.modules() if repeated and selector.shares_trunk else ()
    own = {id(part) for module in _own_modules(model, task) for part in module.modules()} if repeated else set()
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
        with selector.run(Selection(selector.row(task), repeated=repeated)):
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
