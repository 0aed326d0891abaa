"""The norm classes of transformers that are not torch's own, and how it gives norms their initial values."""

from typing import Any

import torch
import torch.nn.functional as F
import transformers.initialization as init
from torch import Tensor, nn

from ...norms import SharedBatchNorm, TaskNorm, register_norm


def register_norms_of(backbone: nn.Module) -> None:
    """Let the norms of a backbone of transformers get gates, whichever model file their classes are from.

    Each architecture has classes of its own for the same three norms: a LayerNorm of either data format, an RMSNorm
    in float32, and a GroupNorm with its activation.
    """
    for norm_class in {type(module) for module in backbone.modules()}:
        if not norm_class.__module__.startswith("transformers.models."):
            continue
        if issubclass(norm_class, nn.LayerNorm):
            register_norm(norm_class, _layer_norm)
        elif issubclass(norm_class, nn.GroupNorm):
            register_norm(norm_class, _group_norm)
        elif norm_class.__name__.endswith("RMSNorm"):
            register_norm(norm_class, _rms_norm)


def _layer_norm(norm: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if getattr(norm, "data_format", "channels_last") == "channels_last":
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
    return F.layer_norm(x.permute(0, 2, 3, 1), norm.normalized_shape, weight, bias, norm.eps).permute(0, 3, 1, 2)


def _group_norm(norm: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = F.group_norm(x, norm.num_groups, weight, bias, norm.eps)
    return norm.activation(y) if hasattr(norm, "activation") else y


def _rms_norm(norm: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    in_float32 = x.float()
    scale = torch.rsqrt(in_float32.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    y = (in_float32 * scale).to(x.dtype)
    return y if weight is None else weight * y


def initialize_norm(norm: TaskNorm | SharedBatchNorm) -> None:
    """The initial values of a norm of which a checkpoint lacks something, where it does."""
    if isinstance(norm, SharedBatchNorm):
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            if getattr(norm, name) is not None:
                init.constant_(getattr(norm, name), value)
        if norm.num_batches_tracked is not None:
            init.zeros_(norm.num_batches_tracked)
        return
    for name, start in norm.at_start().items():
        init.copy_(getattr(norm, name), start)
    if not norm.keeps_affine and norm.options.style == "sigmoid" and norm._buffers.get("weight") is not None:
        init.ones_(norm.weight)
