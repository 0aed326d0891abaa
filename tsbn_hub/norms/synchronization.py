"""BatchNorm over the joined batch of all processes.

torch's `nn.SyncBatchNorm` runs on accelerators alone, and both its converter and timm's know nothing of gates: torch's
drops them silently. This one runs on every backend of torch.distributed, CPU and gloo included.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def should_synchronize(process_group: dist.ProcessGroup | None = None) -> bool:
    """Whether there is more than one process to join the batch of."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(process_group) > 1


class _Total(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, x: Tensor, process_group: dist.ProcessGroup | None) -> Tensor:
        context.process_group = process_group
        total = x.clone()
        dist.all_reduce(total, group=process_group)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=context.process_group)
        return total, None


def _total(x: Tensor, process_group: dist.ProcessGroup | None) -> Tensor:
    total: Tensor = _Total.apply(x, process_group)
    return total


def synchronized_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """`F.batch_norm` in training, with the statistics of the joined batch.

    Args:
        x: (N, C, *), with any N on each process.
        running_mean: (C,), updated in place, or None.
        running_var: (C,), updated in place, or None.
        weight: (C,) or None.
        bias: (C,) or None.
        momentum: How much this batch weighs in the running statistics.
        eps: Added to the variance.
        process_group: The processes; None for all.
    """
    dims = [dim for dim in range(x.ndim) if dim != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    local = values.new_tensor([x.numel() / x.shape[1]])
    sums = _total(torch.cat([values.sum(dims), local]), process_group)
    count = sums[-1].detach()
    if count <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    mean = sums[:-1] / count
    centered = values - mean.view(shape)
    var = _total(centered.square().sum(dims), process_group) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    y = centered * torch.rsqrt(var + eps).view(shape)
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(x.dtype)
