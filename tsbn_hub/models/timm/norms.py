"""The norm classes of timm, and how each one calls its native kernel."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.layers import register_notrace_module
from timm.layers.evo_norm import EvoNorm2dS0, EvoNorm2dS0a, group_std
from timm.layers.fast_norm import (
    fast_group_norm,
    fast_layer_norm,
    fast_rms_norm,
    fast_rms_norm2d,
    fast_simple_norm,
    rms_norm2d,
    simple_norm,
)
from timm.layers.filter_response_norm import FilterResponseNormAct2d, FilterResponseNormTlu2d, inv_instance_rms
from timm.layers.norm import (
    GroupNorm,
    GroupNorm1,
    LayerNorm,
    LayerNorm2d,
    LayerNorm2dFp32,
    LayerNormFp32,
    RmsNorm,
    RmsNorm2d,
    RmsNorm2dFp32,
    RmsNormFp32,
    SimpleNorm,
    SimpleNorm2d,
    SimpleNorm2dFp32,
    SimpleNormFp32,
    rms_norm,
)
from timm.layers.norm_act import (
    BatchNormAct2d,
    GroupNorm1Act,
    GroupNormAct,
    LayerNormAct,
    LayerNormAct2d,
    LayerNormAct2dFp32,
    LayerNormActFp32,
    RmsNormAct,
    RmsNormAct2d,
    RmsNormAct2dFp32,
    RmsNormActFp32,
    SyncBatchNormAct,
)
from torch import Tensor, nn

from ...norms import SharedBatchNorm, TaskNorm, register_batch_norm, register_norm
from ...norms.kernels import Kernel


def _activate(norm: nn.Module, y: Tensor) -> Tensor:
    return norm.act(norm.drop(y))  # type: ignore[operator]


def activated(kernel: Kernel) -> Kernel:
    """The kernel, with the drop layer and activation that timm fuses into a norm."""
    return lambda norm, x, weight, bias: _activate(norm, kernel(norm, x, weight, bias))


def channels_first(kernel: Kernel) -> Kernel:
    """A kernel of channels-last tensors, for tensors (N, C, H, W)."""

    def permuted(norm: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return kernel(norm, x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)

    return permuted


def in_float32(kernel: Kernel) -> Kernel:
    """The kernel, computed in float32 whatever the input is."""

    def upcast(norm: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        weight = None if weight is None else weight.float()
        bias = None if bias is None else bias.float()
        return kernel(norm, x.float(), weight, bias).to(x.dtype)

    return upcast


def _layer_norm(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


def _group_norm(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    function = fast_group_norm if norm._fast_norm else F.group_norm
    return function(x, norm.num_groups, weight, bias, norm.eps)


def _fast_layer_norm(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    function = fast_layer_norm if norm._fast_norm else F.layer_norm
    return function(x, norm.normalized_shape, weight, bias, norm.eps)


def _without_bias(function: Callable[..., Tensor], fast: Callable[..., Tensor] | None = None) -> Kernel:
    """A kernel of a function (x, normalized_shape, weight, eps), or of its fast twin where the norm asks for it."""

    def kernel(norm, x, weight, bias):  # type: ignore[no-untyped-def]
        chosen = fast if fast is not None and norm._fast_norm else function
        return chosen(x, norm.normalized_shape, weight, norm.eps)

    return kernel


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, 1, 1)
    x = x if weight is None else x * weight.view(shape).to(x.dtype)
    return x if bias is None else x + bias.view(shape).to(x.dtype)


def _evo_norm_s0(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    if norm.v is not None:
        v = norm.v.view(1, -1, 1, 1).to(x.dtype)
        x = x * (x * v).sigmoid() / group_std(x, norm.groups, norm.eps)
    return _per_channel(x, weight, bias)


def _evo_norm_s0a(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    std = group_std(x, norm.groups, norm.eps)
    x = x / std if norm.v is None else x * (x * norm.v.view(1, -1, 1, 1).to(x.dtype)).sigmoid() / std
    return _per_channel(x, weight, bias)


def _filter_response_norm(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    return _per_channel(x * inv_instance_rms(x, norm.eps), weight, bias)


def _filter_response_norm_tlu(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    y = _filter_response_norm(norm, x, weight, bias)
    return y if norm.tau is None else torch.maximum(y, norm.tau.view(1, -1, 1, 1).to(x.dtype))


def _filter_response_norm_act(norm, x, weight, bias):  # type: ignore[no-untyped-def]
    return norm.act(_filter_response_norm(norm, x, weight, bias))


_fast_rms_norm = _without_bias(rms_norm, fast_rms_norm)
_fast_rms_norm2d = _without_bias(rms_norm2d, fast_rms_norm2d)
_fast_simple_norm = _without_bias(simple_norm, fast_simple_norm)

_KERNELS: dict[type[nn.Module], Kernel] = {
    LayerNorm: _fast_layer_norm,
    LayerNormFp32: in_float32(_layer_norm),
    LayerNorm2d: channels_first(_fast_layer_norm),
    LayerNorm2dFp32: channels_first(in_float32(_layer_norm)),
    LayerNormAct: activated(_fast_layer_norm),
    LayerNormActFp32: activated(in_float32(_layer_norm)),
    LayerNormAct2d: activated(channels_first(_fast_layer_norm)),
    LayerNormAct2dFp32: activated(channels_first(in_float32(_layer_norm))),
    GroupNorm: _group_norm,
    GroupNorm1: _group_norm,
    GroupNormAct: activated(_group_norm),
    GroupNorm1Act: activated(_group_norm),
    RmsNorm: _fast_rms_norm,
    RmsNormFp32: in_float32(_without_bias(rms_norm)),
    RmsNorm2d: _fast_rms_norm2d,
    RmsNorm2dFp32: in_float32(_without_bias(rms_norm2d)),
    RmsNormAct: activated(_fast_rms_norm),
    RmsNormActFp32: activated(in_float32(_without_bias(rms_norm))),
    RmsNormAct2d: activated(_fast_rms_norm2d),
    RmsNormAct2dFp32: activated(in_float32(_without_bias(rms_norm2d))),
    SimpleNorm: _fast_simple_norm,
    SimpleNormFp32: in_float32(_without_bias(simple_norm)),
    SimpleNorm2d: channels_first(_fast_simple_norm),
    SimpleNorm2dFp32: channels_first(in_float32(_without_bias(simple_norm))),
    EvoNorm2dS0: _evo_norm_s0,
    EvoNorm2dS0a: _evo_norm_s0a,
    FilterResponseNormTlu2d: _filter_response_norm_tlu,
    FilterResponseNormAct2d: _filter_response_norm_act,
}

for _norm_class, _kernel in _KERNELS.items():
    register_norm(_norm_class, _kernel)
register_batch_norm(BatchNormAct2d, after=_activate)
register_batch_norm(SyncBatchNormAct, after=_activate)

# Feature graphs take a task norm as one node, as they take timm's own.
for _task_norm_class in (TaskNorm, SharedBatchNorm):
    register_notrace_module(_task_norm_class)
