"""All tasks in one pass.

`torch.func.vmap` runs a network over the rows of the tasks. A tensor that depends on no row is one tensor, and what is
computed of it is computed once: all that is before the first gated norm. Behind it tensors have a dimension of tasks,
and torch's own rules compute them together. Norms and classifiers with a part per task compute each task by itself, by
the same kernels as in a pass for that task.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..selection import Selection, TaskSelector
from .function_of_tasks import FunctionOfTasks, parts_of_tasks
from .tasks_as_samples import TasksAsSamples

SAMPLES_AT_ONCE = 256
"""Without gradients, a pass is for no more samples of all tasks together, or for one task: it takes memory for them."""

_TENSOR = object()

OfTask = Callable[[Tensor, int], Tensor]
"""Computes something of (B, …) for a row."""


class _EachTask(FunctionOfTasks):
    """Computes each task by itself."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], of_task: OfTask, row: Tensor, x: Tensor) -> tuple[Tensor, int]:
        parts = zip(parts_of_tasks(x, in_dims[2], info), row.tolist(), strict=True)
        return torch.stack([of_task(part, each) for part, each in parts]), 0


def each_task(x: Tensor, selection: Selection, of_task: OfTask) -> Tensor:
    """In a batched pass: what is computed of a tensor for each task by itself.

    Args:
        x: (B, …) of each task, or of all of them.
        selection: Of the pass.
        of_task: Computes it for a row.
    """
    y: Tensor = _EachTask.apply(of_task, selection.batched_row, x)
    return y


def run_batched(
    selector: TaskSelector, forward: Callable[[], object], samples: int, rows: Sequence[int], repeated: bool = False
) -> list[object]:
    """What a forward gives for each of these tasks, in one pass; without gradients in several, if the batch is large.

    Dropout draws one mask for all tasks of a pass.

    Args:
        selector: Of the network.
        forward: Calls it. What it gives may have tensors in any structure of lists, tuples and dicts.
        samples: In the batch.
        rows: Of the tasks.
        repeated: The batch has already passed in this step, for other tasks.

    Returns:
        In the order of the rows.
    """
    at_once = len(rows)
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        at_once = max(1, SAMPLES_AT_ONCE // max(samples, 1))
    outputs: list[object] = []
    for first in range(0, len(rows), at_once):
        of_pass = list(rows[first : first + at_once])
        outputs += _one_pass(selector, forward, of_pass, repeated=repeated or bool(outputs))
    return outputs


def _one_pass(selector: TaskSelector, forward: Callable[[], object], rows: list[int], repeated: bool) -> list[object]:
    structure: pytree.TreeSpec | None = None
    others: list[object] = []  # what is no tensor, between the tensors
    norms: list[Any] = []

    def one(row: Tensor) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        nonlocal structure, others, norms
        selection = Selection(batched_row=row, repeated=repeated)
        with selector.run(selection), _as_samples(row):
            leaves, structure = pytree.tree_flatten(forward())
        others = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        norms = [norm for norm, _, _ in selection.statistics]
        statistics = [(mean, variance) for _, mean, variance in selection.statistics]
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)], statistics

    stacked, statistics = torch.func.vmap(one, randomness="same")(torch.tensor(rows, device="cpu"))
    with torch.no_grad():
        for norm, (means, variances) in zip(norms, statistics, strict=True):
            norm.take_in(means, variances, rows)
    assert structure is not None
    outputs = []
    for at in range(len(rows)):
        tensors = iter(stacked)
        leaves = [next(tensors)[at] if other is _TENSOR else other for other in others]
        outputs.append(pytree.tree_unflatten(leaves, structure))
    return outputs


def _as_samples(row: Tensor) -> AbstractContextManager[object]:
    return nullcontext() if torch.compiler.is_dynamo_compiling() else TasksAsSamples(row)
