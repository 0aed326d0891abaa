"""An optimizer step that leaves out tasks must not move what belongs to them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...norms import TaskModule, TaskParameters


@contextmanager
def idle_tasks_at_rest(model: nn.Module, optimizer: Optimizer, active: Iterable[str]) -> Iterator[None]:
    """Within the block, `optimizer.step()` leaves the rows of idle tasks, and their optimizer state, as they are.

    The parameters of all tasks are stacked. The gradient of an idle task's row is zero, but momentum, Adam's averages
    and weight decay would move the row all the same: by 0.21 in a short run of AdamW. What has one value a parameter
    (Adam's step count) counts every step.

    Args:
        model: A model with tasks, or what is wrapped around it; one without tasks has none that could be idle.
        optimizer: Its optimizer.
        active: The tasks that this step is for.

    Raises:
        ValueError: if there is no such task, or it holds several models with tasks of their own.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.training import idle_tasks_at_rest
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> optimizer = torch.optim.AdamW(tsbn_hub.param_groups(model))
        >>> model(torch.rand(2, 3, 64, 64), task="left").sum().backward()
        >>> with idle_tasks_at_rest(model, optimizer, active=["left"]):
        ...     optimizer.step()
        >>> moved = (tsbn_hub.importance_matrix(model).matrix != 0.5).any(dim=1)
        >>> dict(zip(model.tasks, moved.tolist()))
        {'left': True, 'right': False}
    """
    selectors = list({module.task_selector for module in model.modules() if isinstance(module, TaskModule)})
    if not selectors:
        yield
        return
    if len(selectors) > 1:
        raise ValueError(
            f"{type(model).__name__} holds {len(selectors)} models with tasks: give each a block of its own."
        )
    busy = {selectors[0].row(task) for task in active}
    idle = [row for row in range(len(selectors[0].tasks)) if row not in busy]
    kept: list[tuple[Tensor, slice, Tensor]] = []
    new: list[tuple[nn.Parameter, slice]] = []
    for module in model.modules() if idle else ():
        if isinstance(module, TaskParameters):
            for parameter in module.stacked_parameters():
                for rows in map(module.rows, idle):
                    tensors = [parameter, *_state_like(parameter, optimizer)]
                    kept += [(tensor, rows, tensor.detach()[rows].clone()) for tensor in tensors]
                    new += [(parameter, rows)] if len(tensors) == 1 else []
    yield
    with torch.no_grad():
        for tensor, rows, values in kept:
            tensor[rows] = values
        for parameter, rows in new:  # state that the first step has made: an idle row starts from nothing
            for tensor in _state_like(parameter, optimizer):
                tensor[rows] = 0


def _state_like(parameter: nn.Parameter, optimizer: Optimizer) -> list[Tensor]:
    """The state that the optimizer keeps for each value of a parameter."""
    state = optimizer.state.get(parameter, {})
    return [value for value in state.values() if isinstance(value, Tensor) and value.shape == parameter.shape]
