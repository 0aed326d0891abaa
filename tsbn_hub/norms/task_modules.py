"""Modules of which each task has one of its own."""

from collections.abc import Mapping

from torch import nn


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
