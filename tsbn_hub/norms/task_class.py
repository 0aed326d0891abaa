"""The class of a converted network, made at run time from its own class and from `TaskModule`."""

import functools
import inspect
from types import FunctionType
from typing import Any

from torch import nn

from .folding import block_what_loses_gates
from .selection import TaskSelector
from .selection.running import runs_later
from .task_module import Forward, Outputs, TaskModule, Tasks
from .task_norm import TaskNorm


def _reduce(self: Any, protocol: int) -> tuple[object, ...]:
    # The class is made at run time: rebuild it from the plain one.
    return _new_task_module, (self._task_class, self.plain_class), self.__getstate__()


def _new_task_module(task_class: type[TaskModule], plain_class: type[nn.Module]) -> TaskModule:
    module_class = task_module_class(task_class, plain_class)  # type: ignore[arg-type]
    return module_class.__new__(module_class)


@functools.cache  # pickle and deepcopy find the same class again
def task_module_class(task_class: type[TaskModule], plain_class: type[nn.Module]) -> type[TaskModule]:
    """The class of a network of class `plain_class` that can do what `task_class` says."""
    members = {
        "forward": _forward_of(plain_class.forward),
        "plain_class": plain_class,
        "__reduce_ex__": _reduce,
        "_task_class": task_class,
        "__module__": plain_class.__module__,
        "__doc__": plain_class.__doc__,
    }
    members.update(task_class.members_for(plain_class))
    return type(f"Tsbn{plain_class.__name__}", (task_class, plain_class), members)


def _forward_of(plain_forward: Forward) -> Forward:
    """The forward of a class with tasks: the plain one's signature and a keyword `task`."""
    signature = inspect.signature(plain_forward)
    parameters = list(signature.parameters.values())
    by_position = [each for each in parameters[1:] if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    takes = None if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(by_position)

    def forward(self: TaskModule, *args: Any, task: Tasks | None = None, **kwargs: Any) -> Outputs:
        # torch's legacy ONNX exporter gives the defaults of all arguments by position, that of `task`, too.
        if takes is not None and len(args) == takes + 1 and args[takes] is None:
            args = args[:takes]
        return self._forward(plain_forward, *args, task=task, **kwargs)

    # torch.fx reads a forward's arguments from what it wraps, and in its globals the functions to leave untraced.
    forward = FunctionType(
        forward.__code__,
        plain_forward.__globals__,
        "forward",
        closure=forward.__closure__,
    )
    forward.__kwdefaults__ = {"task": None}
    functools.update_wrapper(forward, plain_forward)
    keyword = inspect.Parameter("task", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Tasks | None)
    at = next((at for at, each in enumerate(parameters) if each.kind is each.VAR_KEYWORD), len(parameters))
    forward.__signature__ = signature.replace(parameters=[*parameters[:at], keyword, *parameters[at:]])  # type: ignore[attr-defined]
    return forward


def as_task_module(module: nn.Module, selector: TaskSelector, task_class: type[TaskModule] = TaskModule) -> TaskModule:
    """Let a network, in place, do what `task_class` says, and block what fuses norms by reading their weights."""
    if runs_later(type(module).forward):
        raise TypeError(
            f"The forward of {type(module).__name__} is a generator or coroutine: it would run when it is no longer "
            "known for which task it was called."
        )
    module.__class__ = task_module_class(task_class, type(module))  # type: ignore[arg-type]
    module.task_selector = selector  # type: ignore[assignment]
    selector.shares_trunk = not any(isinstance(child, TaskNorm) for child in module.modules())
    block_what_loses_gates(module)
    return module  # type: ignore[return-value]
