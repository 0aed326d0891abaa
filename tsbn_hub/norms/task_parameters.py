"""What belongs to single tasks: rows of stacked parameters, and modules."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .selection import TaskSelector
from .task_names import check_noted_tasks, note_tasks

StateDict = dict[str, Any]


def replicate_for_data_parallel(self: nn.Module) -> nn.Module:
    """As `nn.Module` has it: a replica for another thread, where it runs for the task that is selected here."""
    replica = nn.Module._replicate_for_data_parallel(self)
    for name in ("selector", "task_selector"):
        if name in vars(self):
            vars(replica)[name] = vars(self)[name].for_replica()
    return replica


class TaskParameters(nn.Module):
    """A module that keeps the parameters (and buffers) of all tasks stacked along their first dimension.

    Stacked, every parameter is part of every forward: distributed training finds a gradient for each, and a compiled
    graph picks a task's rows by a tensor.

    Attributes:
        selector: Says which task a forward is for; shared by the whole model.
    """

    selector: TaskSelector

    _replicate_for_data_parallel = replicate_for_data_parallel

    def stacked_names(self) -> list[str]:
        """The names of the parameters and buffers that are stacked."""
        raise NotImplementedError

    def stacked_parameters(self) -> list[nn.Parameter]:
        """The parameters that are stacked."""
        named = (self._parameters.get(name) for name in self.stacked_names())
        return [parameter for parameter in named if parameter is not None]

    def new_rows(self) -> dict[str, Tensor]:
        """The rows, by the stacked names, of a task that has learned nothing yet."""
        raise NotImplementedError

    def fold(self, row: int) -> nn.Module:
        """The plain module that computes what this one does for one task."""
        raise NotImplementedError

    def rows(self, row: int) -> slice:
        """The part of the first dimension that belongs to the task of a row."""
        return slice(row, row + 1)

    def stack_rows(self, parts: Sequence[int | dict[str, Tensor]]) -> dict[str, Tensor]:
        """What is stacked, by name, anew: each part is a row that stays, or the tensors (by name) of a new one."""
        stacked = {}
        for name in self.stacked_names():
            old = getattr(self, name)
            stacked[name] = torch.cat(
                [
                    old.detach()[self.rows(part)] if isinstance(part, int) else part[name].to(old.device, old.dtype)
                    for part in parts
                ]
            )
        return stacked

    def put_rows(self, stacked: dict[str, Tensor], parts: Sequence[int | dict[str, Tensor]]) -> None:
        """Take over what `stack_rows` has made of these parts."""
        for name, new in stacked.items():
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)

    def _save_to_state_dict(self, destination: StateDict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        note_tasks(destination, prefix, self.stacked_names(), self.selector.tasks)

    def _load_from_state_dict(
        self, state_dict: StateDict, prefix: str, local_metadata: Mapping[str, object], *args: Any
    ) -> None:
        check_noted_tasks(state_dict, prefix, self.stacked_names(), local_metadata, self.selector.tasks)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class TaskModules(nn.ModuleDict):
    """One module for each task, such as its head.

    Args:
        modules: By task.
        suffix: Of the keys. A ModuleDict refuses keys that its own attributes are named by, such as "type" and "keys",
            which tasks may be named.

    Example:
        >>> from torch import nn
        >>> from tsbn_hub.norms import TaskModules
        >>> heads = TaskModules({"type": nn.Linear(4, 2)}, suffix="_head")
        >>> heads.of("type"), list(heads)
        (Linear(in_features=4, out_features=2, bias=True), ['type_head'])
    """

    def __init__(self, modules: Mapping[str, nn.Module], suffix: str) -> None:
        super().__init__({task + suffix: module for task, module in modules.items()})
        self.suffix = suffix

    def of(self, task: str) -> nn.Module:
        """The module of a task.

        Raises:
            KeyError: if there is none.
        """
        return self[task + self.suffix]

    def put(self, task: str, module: nn.Module) -> None:
        """Give a task its module."""
        self[task + self.suffix] = module

    def remove(self, task: str) -> None:
        """Take away the module of a task.

        Raises:
            KeyError: if there is none.
        """
        del self[task + self.suffix]


def pick(stacked: Tensor, index: int | Tensor) -> Tensor:
    """A row of a stacked tensor: a view for an int, a copy (and no wait) for a tensor without dimensions."""
    if isinstance(index, int):
        return stacked[index]
    if index.device != stacked.device:
        index = index.to(stacked.device)
    return stacked.index_select(0, index.view(1)).squeeze(0)


def copy_members(source: nn.Module, target: nn.Module) -> None:
    """Give `target` everything that `source` holds (shallow: the same tensors, children and hooks)."""
    for key, value in vars(source).items():
        vars(target)[key] = value.copy() if isinstance(value, dict | set) else value


def parameter(tensor: Tensor, requires_grad: bool = True) -> nn.Parameter:
    """The tensor's values as a parameter with memory of its own."""
    return nn.Parameter(tensor.detach().clone(), requires_grad=requires_grad)


def device_of(state_dict: Mapping[str, Tensor]) -> torch.device | None:
    """Where the tensors of a checkpoint are: a model without memory may be about to take them over."""
    return next((tensor.device for tensor in state_dict.values()), None)
