"""An optimizer step that leaves out tasks must not move what belongs to them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ...norms import TaskModule, TaskParameters


@contextmanager
def idle_tasks_at_rest(model: nn.Module, optimizer: Optimizer, active: Iterable[str]) -> Iterator[None]:
    """Within the block, `optimizer.step()` leaves what belongs to idle tasks, and its optimizer state, as it is.

    The parameters of all tasks are stacked. The gradient of an idle task's row is zero, but momentum, Adam's averages
    and weight decay would move the row all the same: by 0.21 in a short run of AdamW. What has one value a parameter
    (Adam's step count) counts every step. Heads of idle tasks, which may have zero gradients, lose them.

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
    outermost = next((module for module in model.modules() if isinstance(module, TaskModule)), None)
    if outermost is None:
        yield
        return
    selectors = list({module.task_selector for module in model.modules() if isinstance(module, TaskModule)})
    if len(selectors) > 1:
        raise ValueError(
            f"{type(model).__name__} holds {len(selectors)} models with tasks: give each a block of its own."
        )
    busy = {selectors[0].row(task) for task in active}
    idle = [row for row in range(len(selectors[0].tasks)) if row not in busy]
    for row in idle:
        for module in outermost.modules_of(outermost.tasks[row]):
            module.zero_grad()
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


def rest_idle_tasks_in_steps(
    model: nn.Module, optimizer: Optimizer, active: Callable[[], Collection[str]], *others: nn.Module
) -> list[RemovableHandle]:
    """Let every further step of an optimizer leave idle tasks as they are. A step for no task moves nothing at all.

    Args:
        model: A model with tasks.
        optimizer: Of all its trainable parameters.
        active: Says, before each step, which tasks it is for.
        *others: Further modules that the optimizer must train.

    Returns:
        Handles that end it.

    Raises:
        ValueError: if the optimizer lacks a trainable parameter, or is a wrapper that moves parameters outside of the
            steps of the optimizer within.
    """
    if not getattr(type(optimizer).step, "hooked", False):
        raise ValueError(
            f"{type(optimizer).__name__} wraps another optimizer, and what it moves besides cannot be held back: "
            "train with the optimizer inside it."
        )
    given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trained = [named for module in (model, *others) for named in module.named_parameters()]
    lacking = [name for name, parameter in trained if parameter.requires_grad and id(parameter) not in given]
    if lacking:
        raise ValueError(
            f"The optimizer lacks {lacking[:3]}{' and more' if lacking[3:] else ''}. Build it after add_task and "
            "remove_task, and add the parameters of a learned weighting as a group without weight decay."
        )
    step = ExitStack()

    def before_step(*args: object) -> None:
        if not active():
            optimizer.zero_grad()
        step.enter_context(idle_tasks_at_rest(model, optimizer, active()))

    def after_step(*args: object) -> None:
        step.close()

    return [optimizer.register_step_pre_hook(before_step), optimizer.register_step_post_hook(after_step)]


def _state_like(parameter: nn.Parameter, optimizer: Optimizer) -> list[Tensor]:
    """The state that the optimizer keeps for each value of a parameter."""
    state = optimizer.state.get(parameter, {})
    return [value for value in state.values() if isinstance(value, Tensor) and value.shape == parameter.shape]
