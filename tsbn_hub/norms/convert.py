"""From a plain network to one with task norms."""

import logging
from collections.abc import Sequence

import torch
from torch import nn

from .batch_norm import SharedBatchNorm, TaskBatchNorm
from .execution import Execution, check_execution
from .folding import block_what_loses_gates
from .gating import Patterns, can_be_per_task, gated_norms
from .kernels import is_batch_norm
from .selection import TaskSelector
from .selection.recomputation import remember_task_in_checkpoints
from .task_class import as_task_module
from .task_module import TaskModule
from .task_norm import NormOptions, Style, TaskNorm
from .wrappers import unwrapped

_logger = logging.getLogger(__name__)


def convert(
    module: nn.Module,
    tasks: Sequence[str],
    norm: Style = "sigmoid",
    gated: Patterns = None,
    keep_affine: bool | None = None,
    gate_init: float = 0.5,
    execution: Execution = "auto",
) -> TaskModule:
    """Give a network task norms, in place. Its function stays the same, for every task.

    Args:
        module: Any network with norm layers.
        tasks: Names of the tasks.
        norm: "sigmoid": a gate per task and channel (TSσBN). "affine": a weight and bias per task (TSBN).
            "statistics": the running statistics of BatchNorms alone. "shared": nothing per task (hard sharing).
        gated: Which norms become task-specific. None: every BatchNorm, and of the other norms those of the blocks.
            "last 25%": of these the last quarter. Otherwise fnmatch patterns on module names, as a list or separated
            by commas.
        keep_affine: Keep the shared weight and bias beside the gates; None means True. Without them a gate is all that
            scales a channel, and the network's function changes.
        gate_init: A gate's value at the start, from 0.001 to 0.999. With the affine kept, the function stays bit for
            bit at 0.5, and to one rounding at other values.
        execution: How all tasks are run: "auto", "batched" or "sequential"; see `TaskModule.execution`.

    Returns:
        The network itself, which can now do what `TaskModule` says.

    Raises:
        ValueError: if a name or option is not allowed, a pattern matches nothing, the network has no norm, it is
            converted already, or it is wrapped, as for distributed training.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tsbn_hub import convert
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> net = convert(net, tasks=["depth", "edges"])
        >>> {task: output.shape for task, output in net(torch.rand(1, 3, 8, 8)).items()}
        {'depth': torch.Size([1, 8, 6, 6]), 'edges': torch.Size([1, 8, 6, 6])}
        >>> net[1].gate_logits.shape
        torch.Size([2, 8])
    """
    if unwrapped(module) is not module:
        raise ValueError(f"A {type(module).__name__} is wrapped around the network: convert the network itself first.")
    for part in module.modules():
        if isinstance(part, TaskModule):
            raise ValueError(f"This {type(part).__name__} has task norms already, for {part.tasks}: use add_task.")
    options = NormOptions(norm, keep_affine is not False, gate_init, affine_dropped_on_request=keep_affine is False)
    selector = TaskSelector(tasks)
    selector.execution = check_execution(execution)
    convert_norms(module, selector, options, gated_norms(module, gated, norm))
    return as_task_module(module, selector)


def open_norms(module: TaskModule, network: nn.Module, options: NormOptions, gated: Patterns) -> list[str]:
    """Give the norms of a network whose tasks share all something for each task, in place. Its function stays.

    Args:
        module: The model, of hard sharing.
        network: The part of it whose norms are meant.
        options: What a norm keeps for each task, with the affine kept.
        gated: Which norms; see `convert`.

    Returns:
        The names of the norms that are now task-specific.

    Raises:
        ValueError: if the model has task norms already, or a pattern matches nothing.
    """
    if not module.task_selector.shares_trunk:
        raise ValueError(f"This {type(module).__name__} has something of each of its tasks {module.tasks} already.")
    names = gated_norms(network, gated, options.style)
    convert_norms(network, module.task_selector, options, names)
    module.task_selector.shares_trunk = False
    block_what_loses_gates(module)
    return names


def convert_norms(module: nn.Module, selector: TaskSelector, options: NormOptions, names: Sequence[str]) -> None:
    """Replace the plain norms of a network, in place: those of these names by gated ones."""
    if options.style == "shared":
        return
    if "" in names:
        raise ValueError(
            "A norm cannot be replaced in place by itself: put it into an nn.Sequential, and convert that."
        )
    chosen, places = set(names), list(module.named_modules(remove_duplicate=False))
    # A norm that stands at two places is gated at both, and stays one.
    gated = {id(plain) for name, plain in places if name in chosen and can_be_per_task(plain, options.style)}
    like = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), torch.zeros(()))
    new: dict[int, nn.Module] = {}
    for name, plain in places:
        if id(plain) not in new:
            if id(plain) in gated:
                norm_class = TaskBatchNorm if is_batch_norm(type(plain)) else TaskNorm
                new[id(plain)] = norm_class(plain, selector, options, like)
            elif is_batch_norm(type(plain)):
                new[id(plain)] = SharedBatchNorm(plain, selector)
            else:
                continue
        parent, _, child = name.rpartition(".")
        module.get_submodule(parent)._modules[child] = new[id(plain)]
    _logger.debug("%d norms of %s are gated.", len(gated), type(module).__name__)
    remember_task_in_checkpoints()
