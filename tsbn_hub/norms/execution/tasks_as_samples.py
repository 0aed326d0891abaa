"""Functions that a batched pass calls once, with the tasks as further samples, where `vmap` would do worse.

It cannot batch `scaled_dot_product_attention` on CPUs: it calls it for one task after another, with a warning, and a
mask has no gradient there. Of convolutions it calls a part that autocast does not see, in full precision.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .function_of_tasks import FunctionOfTasks, parts_of_tasks

_CONVOLUTIONS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d
}  # fmt: skip


class TasksAsSamples(TorchFunctionMode):
    """Within the block, attention and convolutions are called once for all tasks.

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
        if func in _CONVOLUTIONS:
            return self._convolve(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
            return F.scaled_dot_product_attention(query, key, value, mask, *args, **kwargs)

        tensors = [query, key, value] if attn_mask is None else [query, key, value, attn_mask]
        attended: Tensor = _Attention.apply(attend, self.row, *tensors)
        return attended

    def _convolve(
        self, func: Callable[..., object], input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any,
        **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> object:
            return func(x, weight, bias, *args, **kwargs)

        tensors = [input, weight] if bias is None else [input, weight, bias]
        convolved: Tensor = _Convolution.apply(convolve, self.row, *tensors)
        return convolved


class _Attention(FunctionOfTasks):
    """Of queries, keys, values and a mask that each may have samples, or be the same for all."""

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


class _Convolution(FunctionOfTasks):
    """Of images, a weight and a bias. Where these depend on the task, each task's is called by itself."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        function: Callable[..., Tensor],
        row: Tensor,
        x: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, int | None]:
        dim, *of_weights = in_dims[2:]
        if any(each is not None for each in of_weights):
            parts = [parts_of_tasks(each, at, info) for each, at in zip((x, *weights), in_dims[2:], strict=True)]
            return torch.stack([function(*each) for each in zip(*parts, strict=True)]), 0
        if dim is None:
            return function(x, *weights), None  # before the fork
        x = x.movedim(dim, 0)
        if x.ndim == weights[0].ndim:  # an image without a batch: the tasks are one
            return function(x, *weights), 0
        return function(x.flatten(0, 1), *weights).unflatten(0, x.shape[:2]), 0
