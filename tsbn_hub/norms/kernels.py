"""The norm classes that can get gates, and how each one calls its native kernel.

A kernel is `kernel(norm, x, weight, bias)`: what the class's own forward computes, with another weight and bias. It
holds for subclasses too, unless they have a forward of their own. `tsbn_hub.models` adds timm's classes.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Kernel = Callable[[nn.Module, Tensor, Tensor | None, Tensor | None], Tensor]
After = Callable[[nn.Module, Tensor], Tensor]

_kernels: dict[type[nn.Module], Kernel] = {}
_batch_norms: dict[type[nn.Module], After | None] = {}


def register_norm(norm_class: type[nn.Module], kernel: Kernel | None = None) -> Callable[[Kernel], Kernel]:
    """Let a norm class get gates. Without a kernel, this is a decorator of the kernel.

    Args:
        norm_class: A norm without running statistics. Its `weight` and `bias`, where it has them, have shape (C,).
        kernel: `kernel(norm, x, weight, bias)` computes what `norm(x)` does, with this weight (C,) and this bias, (C,)
            or None.

    Example:
        >>> import torch, torch.nn.functional as F
        >>> from tsbn_hub.norms import convert, register_norm
        >>> class ScaledNorm(torch.nn.LayerNorm):
        ...     def forward(self, x):
        ...         return 2 * super().forward(x)
        >>> @register_norm(ScaledNorm)
        ... def kernel(norm, x, weight, bias):
        ...     return 2 * F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
        >>> convert(torch.nn.Sequential(ScaledNorm(4)), tasks=["a", "b"], gated="*")(torch.ones(1, 4)).keys()
        dict_keys(['a', 'b'])
    """

    def register(kernel: Kernel) -> Kernel:
        _kernels[norm_class] = kernel
        return kernel

    if kernel is not None:
        register(kernel)
    return register


def register_batch_norm(norm_class: type[nn.Module], after: After | None = None) -> None:
    """Let a class of BatchNorm get gates and statistics per task.

    Args:
        norm_class: A subclass of torch's `_BatchNorm`.
        after: `after(norm, y)` computes what the class does after the normalisation, such as its activation.
    """
    _batch_norms[norm_class] = after


def _registered(norm_class: type, registry: dict[type[nn.Module], object]) -> type[nn.Module] | None:
    for parent in norm_class.__mro__:
        if parent in registry:
            return parent if norm_class.forward is parent.forward else None  # type: ignore[attr-defined]
    return None


def is_batch_norm(norm_class: type) -> bool:
    """Whether this is a registered class of BatchNorm."""
    return _registered(norm_class, _batch_norms) is not None  # type: ignore[arg-type]


def is_norm(norm_class: type) -> bool:
    """Whether modules of this class can get gates."""
    return is_batch_norm(norm_class) or _registered(norm_class, _kernels) is not None  # type: ignore[arg-type]


def kernel_of(norm_class: type) -> Kernel:
    """The kernel of a norm class that has no running statistics."""
    registered = _registered(norm_class, _kernels)  # type: ignore[arg-type]
    if registered is None:
        raise _unknown(norm_class)
    return _kernels[registered]


def after_batch_norm(norm_class: type) -> After | None:
    """What a class of BatchNorm does after the normalisation."""
    registered = _registered(norm_class, _batch_norms)  # type: ignore[arg-type]
    if registered is None:
        raise _unknown(norm_class)
    return _batch_norms[registered]


def registration_of(norm_class: type) -> list[object]:
    """The registered class by which a norm class gets gates, and its kernel, or what follows its normalisation."""
    found: list[object] = []
    for registry in (_batch_norms, _kernels):
        registered = _registered(norm_class, registry)  # type: ignore[arg-type]
        if registered is not None:
            found += [registered, registry[registered]]
    return found


def _unknown(norm_class: type) -> TypeError:
    known = sorted(known.__name__ for known in (*_kernels, *_batch_norms))
    return TypeError(
        f"{norm_class.__module__}.{norm_class.__qualname__} is no norm that can get gates. Known: {', '.join(known)}. "
        "Add a class of yours with tsbn_hub.norms.register_norm."
    )


def _layer_norm(norm: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)  # type: ignore[arg-type]


def _rms_norm(norm: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return F.rms_norm(x, norm.normalized_shape, weight, norm.eps)  # type: ignore[arg-type]


def _group_norm(norm: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return F.group_norm(x, norm.num_groups, weight, bias, norm.eps)  # type: ignore[arg-type]


register_norm(nn.LayerNorm, _layer_norm)
register_norm(nn.RMSNorm, _rms_norm)
register_norm(nn.GroupNorm, _group_norm)
for _batch_norm_class in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
    register_batch_norm(_batch_norm_class)
