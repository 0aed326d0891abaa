"""One classifier a task, at the place where the plain model has one."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...norms import TaskParameters, TaskSelector
from ...norms.execution import each_task
from ...norms.task_parameters import StateDict, copy_members, parameter, pick
from ...tasks.checks import whole_number

Part = tuple[Tensor, Tensor | None]
"""The weight and bias of a task."""


class TaskClassifier(TaskParameters):
    """The classifiers of all tasks, in place of a plain linear or convolutional one.

    Args:
        plain: The plain classifier, with as many outputs as the largest task has classes.
        selector: Says which task a forward is for; shared by the whole model.
        sizes: Number of classes of each task, none above the plain classifier's.

    Attributes:
        weight: (sum of the sizes, features, …): the tasks' weights, one after another, under the plain key.
        bias: (sum of the sizes,) or None.

    Raises:
        TypeError: if the plain classifier is neither linear nor a convolution.
        ValueError: if a size is not one of a classifier, or above the plain one's.
    """

    bias: Tensor | None
    weight: Tensor

    def __init__(self, plain: nn.Module, selector: TaskSelector, sizes: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(plain, nn.Linear | nn.Conv2d):
            raise TypeError(f"A classifier of class {type(plain).__name__} cannot be split by task.")
        copy_members(plain, self)
        self.plain_class = type(plain)
        self.selector = selector
        self.sizes = check_sizes(sizes, selector.tasks)
        if max(self.sizes) > len(plain.weight):
            raise ValueError(f"The tasks have {self.sizes} classes, and the plain classifier only {len(plain.weight)}.")
        for name, each in list(plain.named_parameters(recurse=False)):
            whole = each.detach()
            rows = torch.cat([whole[:size] for size in sizes])  # has memory of its own, and may be large
            self.register_parameter(name, nn.Parameter(rows, each.requires_grad))

    def rows(self, row: int) -> slice:
        """The part of the first dimension that belongs to the task of a row."""
        start = sum(self.sizes[:row])
        return slice(start, start + self.sizes[row])

    def stacked_names(self) -> list[str]:
        """The parameters of all tasks."""
        return ["weight"] if self.bias is None else ["weight", "bias"]

    def new_rows(self, size: int | None = None) -> dict[str, Tensor]:
        """A freshly initialised classifier, as torch initialises one; `size` defaults to the largest task's."""
        fresh = nn.Linear(self.weight[0].numel(), max(self.sizes) if size is None else size, self.bias is not None)
        rows = {"weight": fresh.weight.detach().view(-1, *self.weight.shape[1:])}
        return rows if self.bias is None else {**rows, "bias": fresh.bias.detach()}

    def put_rows(self, stacked: dict[str, Tensor], parts: Sequence[int | dict[str, Tensor]]) -> None:
        """Take over what `stack_rows` has made of these parts."""
        super().put_rows(stacked, parts)
        self.sizes = [self.sizes[part] if isinstance(part, int) else len(part["weight"]) for part in parts]

    def _part(self, row: int) -> Part:
        """The weight and bias of a task."""
        rows = self.rows(row)
        return self.weight[rows], None if self.bias is None else self.bias[rows]

    def _parts(self) -> list[Part]:
        """Those of every task: together they have one gradient of the size of all, in place of one for each."""
        biases = [None] * len(self.sizes) if self.bias is None else self.bias.split(self.sizes)
        return list(zip(self.weight.split(self.sizes), biases, strict=True))

    def _classify_padded(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Padded to the largest task: the model cuts the outputs to the task's own classes."""
        dim = -1 if issubclass(self.plain_class, nn.Linear) else 1
        return _padded(self._apply_plain(x, weight, bias), dim, max(self.sizes))

    def _classify_batched(self, x: Tensor, row: Tensor) -> Tensor:
        """Padded, too, in a batched pass that is compiled, by operations that vmap knows."""
        weights, biases = zip(*self._parts(), strict=True)
        bias = None if self.bias is None else pick(self._stacked(biases), row)
        return self._apply_plain(x, pick(self._stacked(weights), row), bias)

    def _stacked(self, parts: Sequence[Tensor]) -> Tensor:
        """What each task has, (T, largest number of classes, …)."""
        return torch.stack([_padded(part, 0, max(self.sizes)) for part in parts])

    def _apply_plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if issubclass(self.plain_class, nn.Linear):
            return F.linear(x, weight, bias)
        return nn.Conv2d._conv_forward(self, x, weight, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        selection = self.selector.current()
        if selection.batched_row is not None and torch.compiler.is_dynamo_compiling():
            return self._classify_batched(x, selection.batched_row)
        if selection.batched_row is not None:
            parts = self._parts()
            return each_task(x, selection, lambda part, row: self._classify_padded(part, *parts[row]))
        if selection.chunks:
            parts = self._parts()
            return torch.cat([self._classify_padded(part, *parts[row]) for row, part in selection.split(x)])
        # Outputs that differ in shape cannot be chosen by a tensor: then a compiled graph holds one task.
        index = selection.index if len(set(self.sizes)) == 1 or selection.row is None else selection.row
        if index is None:
            return self._apply_plain(x, self.weight, self.bias)
        if isinstance(index, int):
            of_passes = selection.once(self, self._parts)
            return self._apply_plain(x, *(self._part(index) if of_passes is None else of_passes[index]))
        if len(set(self.sizes)) > 1:
            raise RuntimeError(
                f"The tasks have {self.sizes} classes: outputs of several shapes cannot be selected by a tensor. Name "
                "the task in the call, model(x, task='…'), or set it before compiling."
            )
        if selection.differs_by_sample:
            return selection.choose([self._apply_plain(x, *part) for part in self._parts()])
        by_task = (len(self.sizes), self.sizes[0])
        bias = None if self.bias is None else pick(self.bias.view(by_task), index)
        return self._apply_plain(x, pick(self.weight.view(*by_task, *self.weight.shape[1:]), index), bias)

    def split(self, outputs: Tensor, dim: int) -> list[Tensor]:
        """The outputs of each task, from those of all tasks."""
        return list(outputs.split(self.sizes, dim))

    def fold(self, row: int) -> nn.Module:
        """The plain classifier of a task, with memory of its own."""
        plain = self.plain_class.__new__(self.plain_class)
        copy_members(self, plain)
        for name in ("selector", "sizes", "plain_class"):
            del vars(plain)[name]
        setattr(plain, "out_features" if isinstance(plain, nn.Linear) else "out_channels", self.sizes[row])
        for name in self.stacked_names():
            plain.register_parameter(name, parameter(getattr(self, name)[self.rows(row)]))
        return plain

    def __prepare_scriptable__(self) -> nn.Module:
        return self.fold(self.selector.current_row())

    def _load_from_state_dict(self, state_dict: StateDict, prefix: str, *args: Any) -> None:
        entries = {name: state_dict[prefix + name] for name in self.stacked_names() if prefix + name in state_dict}
        counts = {len(entry) for entry in entries.values()}
        if len(counts) == 1 and counts <= set(self.sizes) - {sum(self.sizes)}:
            # A plain classifier: every task that has as many classes starts from it.
            rows = [self.rows(row) for row in range(len(self.sizes))]
            for name, entry in entries.items():
                parts = [
                    entry if len(entry) == size else getattr(self, name).detach()[part]
                    for size, part in zip(self.sizes, rows, strict=True)
                ]
                state_dict[prefix + name] = torch.cat([part.to(entry.device) for part in parts])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{self.plain_class.__name__}, features={self.weight.shape[1]}, classes={self.sizes}"


def check_sizes(sizes: Sequence[object], tasks: Sequence[str]) -> list[int]:
    """The number of classes of each task.

    Raises:
        ValueError: if one is no whole number, or negative, or 0 while others are not.
    """
    checked = [whole_number(size, f"num_classes[{task!r}]", 0) for task, size in zip(tasks, sizes, strict=True)]
    if 0 in checked and any(checked):
        raise ValueError(
            f"The tasks {list(tasks)} have {checked} classes: either each has at least one, or, in a model without a "
            "classifier, all have 0."
        )
    return checked


def named_classifiers(model: nn.Module) -> dict[str, nn.Module]:
    """The classifiers that a timm model's pretrained config names, by their names: 70 architectures have two.

    Those without weights (a model may be built without a classifier) are left out.
    """
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    modules = dict(model.named_modules())
    return {
        name: modules[name]
        for name in ([names] if isinstance(names, str) else names)
        if getattr(modules.get(name), "weight", None) is not None
    }


def _padded(x: Tensor, dim: int, size: int) -> Tensor:
    missing = size - x.shape[dim]
    if not missing:
        return x
    shape = list(x.shape)
    shape[dim] = missing
    return torch.cat([x, x.new_zeros(shape)], dim)
