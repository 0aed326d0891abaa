"""Attention in a batched pass.

`torch.func.vmap` cannot batch `scaled_dot_product_attention` on CPUs: it calls it for one task after another, with a
warning, and a mask has no gradient there. Here it is called once, and the tasks are further samples.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class BatchedAttention(TorchFunctionMode):
    """Within the block, `scaled_dot_product_attention` is called once for all tasks.

    Args:
        row: The row of the task, as `vmap` has batched it.
    """

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.row = row

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: Any = (), kwargs: Any = None
    ) -> object:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
            return F.scaled_dot_product_attention(query, key, value, mask, *args, **kwargs)

        tensors = [query, key, value] if attn_mask is None else [query, key, value, attn_mask]
        attended: Tensor = _TasksAsSamples.apply(attend, self.row, *tensors)
        return attended


class _TasksAsSamples(torch.autograd.Function):
    """What takes (B, …) of several tensors, computed for all tasks at once. Autograd sees what its rule calls."""

    generate_vmap_rule = False

    @staticmethod
    def forward(function: Callable[..., Tensor], row: Tensor, *tensors: Tensor) -> Tensor:
        raise RuntimeError("Outside a batched pass there is no dimension of tasks.")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        """Nothing is kept: see the class."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], function: Callable[..., Tensor], row: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, int | None]:
        dims = in_dims[2:]
        if all(dim is None for dim in dims):
            return function(*tensors), None  # before the fork
        tasks, query = info.batch_size, tensors[0]
        ndim = query.ndim - (dims[0] is not None)
        if ndim < 3:  # there are no samples, and torch broadcasts the tasks
            moved = [each if dim is None else each.movedim(dim, 0) for each, dim in zip(tensors, dims, strict=True)]
            return function(*moved), 0
        samples = query.shape[0] if dims[0] is None else query.movedim(dims[0], 0).shape[1]
        y = function(*(_merged(each, dim, tasks, samples, ndim) for each, dim in zip(tensors, dims, strict=True)))
        return y.unflatten(0, (tasks, samples)), 0


def _merged(x: Tensor, dim: int | None, tasks: int, samples: int, ndim: int) -> Tensor:
    """A tensor (B, …), or what broadcasts to it, of each task or of all of them, as (tasks · B, …)."""
    if dim is None:
        if x.ndim < ndim or len(x) == 1:
            return x  # it is the same for all samples
        x = x.expand(tasks, *x.shape)
    else:
        x = x.movedim(dim, 0)
    while x.ndim <= ndim:
        x = x.unsqueeze(1)
    return x.expand(tasks, samples, *x.shape[2:]).flatten(0, 1)
