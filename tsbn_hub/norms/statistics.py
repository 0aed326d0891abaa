"""Running statistics: freezing them, and taking them anew from data."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import STATISTICS, SharedBatchNorm, TaskBatchNorm
from .execution.modes import modes_kept
from .kernels import after_batch_norm
from .selection import TaskSelector
from .task_module import TaskModule
from .wrappers import unwrapped, unwrapped_to_change


def freeze_batch_norm(module: nn.Module, frozen: bool = True) -> nn.Module:
    """Fix every BatchNorm of a network, in place: statistics, gates and affine; or free them again.

    timm's and torchvision's own functions do not see task norms.

    Args:
        module: A network with task norms.
        frozen: False frees them.

    Returns:
        The network.

    Raises:
        ValueError: if it is in DistributedDataParallel.
    """
    module = unwrapped_to_change(module, "freeze_batch_norm")
    holder = nn.Sequential(module)  # a BatchNorm by itself has a place to be replaced in, too
    for norm in own_batch_norms(holder):
        norm.frozen = frozen
        for parameter in norm.parameters(recurse=False):
            parameter.requires_grad_(not frozen)
    return holder[0]


@torch.no_grad()
def reestimate_statistics(model: nn.Module, task: str, batches: Iterable[Tensor]) -> None:
    """Take a task's running statistics anew, as the plain average over batches.

    Useful after weights were averaged, or for a task that moves to other data. Only BatchNorms are in training mode
    meanwhile; the statistics of other tasks, and those that tasks share, stay.

    Args:
        model: A network with task norms, or what is wrapped around it.
        task: The task.
        batches: Inputs of the model, on its device.

    Raises:
        TypeError: if the network has no task norms.
        ValueError: if there is no such task, or no batch.

    Example:
        >>> import torch, timm, tsbn_hub
        >>> from tsbn_hub.norms import reestimate_statistics
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> reestimate_statistics(model, "left", [torch.rand(8, 3, 64, 64) for _ in range(2)])
        >>> model.bn1.num_batches_tracked
        tensor([2, 0])
    """
    model = unwrapped(model)
    if not isinstance(model, TaskModule):
        raise TypeError(f"{type(model).__name__} has no tasks, whose statistics could be taken anew.")
    row = model.task_selector.row(task)
    norms = [norm for norm in model.modules() if isinstance(norm, TaskBatchNorm) and norm.running_mean is not None]
    before = {norm: (norm.momentum, norm.frozen, _row_of_statistics(norm, row)) for norm in norms}
    batch = None
    done = False
    try:
        with modes_kept(model):
            model.eval()
            for norm in norms:
                norm.training, norm.momentum, norm.frozen = True, None, False
                _set_row_of_statistics(norm, row, norm.new_rows())
            for batch in batches:
                model(batch, task=task)
            done = batch is not None
    finally:
        for norm, (momentum, frozen, statistics) in before.items():
            norm.momentum, norm.frozen = momentum, frozen
            if not done:
                _set_row_of_statistics(norm, row, statistics)
    if not done:
        raise ValueError("There was no batch to take statistics from; the statistics are unchanged.")


def _row_of_statistics(norm: TaskBatchNorm, row: int) -> dict[str, Tensor]:
    return {name: getattr(norm, name)[norm.rows(row)].clone() for name in STATISTICS}


def _set_row_of_statistics(norm: TaskBatchNorm, row: int, values: dict[str, Tensor]) -> None:
    for name in STATISTICS:
        getattr(norm, name)[norm.rows(row)] = values[name]


def own_batch_norms(module: nn.Module) -> list[TaskBatchNorm | SharedBatchNorm]:
    """The BatchNorms of a network, all of this package's: plain ones, as hard sharing has, are replaced in place."""
    selector = TaskSelector(["all"])
    new: dict[int, nn.Module] = {}
    for name, plain in list(module.named_modules(remove_duplicate=False)):
        if isinstance(plain, _BatchNorm) and not isinstance(plain, TaskBatchNorm | SharedBatchNorm):
            after_batch_norm(type(plain))  # raises for a class that is not registered
            parent, _, child = name.rpartition(".")
            shared = new.setdefault(id(plain), SharedBatchNorm(plain, selector))
            module.get_submodule(parent)._modules[child] = shared
    return [norm for norm in module.modules() if isinstance(norm, TaskBatchNorm | SharedBatchNorm)]


def convert_sync_batchnorm(module: nn.Module, process_group: ProcessGroup | None = None) -> nn.Module:
    """Let every BatchNorm of a module take the statistics of the joined batch of all processes, in place.

    Args:
        module: A model with task norms or without.
        process_group: The processes to join; None for all.

    Returns:
        The module. Call it before the model is wrapped for distributed training.

    Raises:
        ValueError: if it is in DistributedDataParallel.
    """
    module = unwrapped_to_change(module, "convert_sync_batchnorm")
    holder = nn.Sequential(module)  # a BatchNorm by itself has a place to be replaced in, too
    for norm in own_batch_norms(holder):
        norm.synchronized, norm.process_group = True, process_group
    return holder[0]
