"""Modules some of whose parameters belong to single tasks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .selection import TaskSelector


class TaskParameters(nn.Module):
    """A module that keeps the parameters (and buffers) of all tasks stacked along their first dimension.

    Stacked, every parameter is part of every forward: distributed training finds a gradient for each, and a compiled
    graph picks a task's rows by a tensor.

    Attributes:
        selector: Says which task a forward is for; shared by the whole model.
    """

    selector: TaskSelector

    def stacked_names(self) -> list[str]:
        """The names of the parameters and buffers that are stacked."""
        raise NotImplementedError

    def stacked_parameters(self) -> list[nn.Parameter]:
        """The parameters that are stacked."""
        named = (self._parameters.get(name) for name in self.stacked_names())
        return [parameter for parameter in named if parameter is not None]

    def fold(self, row: int) -> nn.Module:
        """The plain module that computes what this one does for one task."""
        raise NotImplementedError

    def rows(self, row: int) -> slice:
        """The part of the first dimension that belongs to the task of a row."""
        return slice(row, row + 1)

    def replace_rows(self, parts: Sequence[int | dict[str, Tensor]]) -> None:
        """Stack anew: each part is a row that stays, or the tensors (by name) of a new one."""
        for name in self.stacked_names():
            old = getattr(self, name)
            new = torch.cat(
                [
                    old.detach()[self.rows(part)] if isinstance(part, int) else part[name].to(old.device, old.dtype)
                    for part in parts
                ]
            )
            if isinstance(old, nn.Parameter):
                setattr(self, name, nn.Parameter(new, old.requires_grad))
            else:
                setattr(self, name, new)


def pick(stacked: Tensor, index: int | Tensor) -> Tensor:
    """A row of a stacked tensor: a view for an int, a copy (and no wait) for a tensor without dimensions."""
    return stacked[index] if isinstance(index, int) else stacked.index_select(0, index.view(1)).squeeze(0)


def copy_members(source: nn.Module, target: nn.Module) -> None:
    """Give `target` everything that `source` holds (shallow: the same tensors, children and hooks)."""
    for key, value in vars(source).items():
        vars(target)[key] = value.copy() if isinstance(value, dict | set) else value


def parameter(tensor: Tensor, requires_grad: bool = True) -> nn.Parameter:
    """The tensor's values as a parameter with memory of its own."""
    return nn.Parameter(tensor.detach().clone(), requires_grad=requires_grad)


StateDict = dict[str, Any]
