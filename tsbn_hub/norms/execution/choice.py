"""Whether the tasks run in one batched pass, or one after another."""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..selection import TaskSelector
from ..synchronization import should_synchronize
from .batched import SAMPLES_AT_ONCE

Execution = Literal["auto", "batched", "sequential"]
"""How all tasks are run; see `TaskModule.execution`."""

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

SHARE_FOR_BATCHED = 0.15
"""The least part of a pass before the fork for which "auto" is batched: behind the fork a batched pass costs more."""


def check_execution(execution: str) -> Execution:
    """Refuse what is no way to run all tasks.

    Raises:
        ValueError: if it is none.
    """
    if execution not in get_args(Execution):
        raise ValueError(f'execution={execution!r} is unknown. Known: "auto", "batched", "sequential".')
    return execution  # type: ignore[return-value]


def runs_batched(
    module: nn.Module, selector: TaskSelector, forward: Callable[..., object], args: Sequence[object]
) -> bool:
    """Whether a forward for all tasks, or some of them, is to be one batched pass.

    This is settled before anything is computed that would have to be undone: by what is in the network, and by a trial
    of all tasks with the first image, once for each size of image, whatever tasks are run. Compiled code can try
    nothing: there "auto" is one task after another.

    Args:
        module: The network.
        selector: Of the network.
        forward: Called as `forward(*args)`.
        args: The first one is the batch.

    Raises:
        RuntimeError: if "batched" is asked for, and cannot be.
    """
    if selector.execution == "sequential":
        return False
    if torch.compiler.is_compiling():  # nothing can be tried there
        return torch.compiler.is_dynamo_compiling() and selector.execution == "batched"
    from .trial import difference, shared_part  # counting operations imports parts of torch that little else needs

    asked, gradients = selector.execution == "batched", torch.is_grad_enabled()
    x = args[0] if args else None
    if not asked and is_in_torch_dispatch_mode():
        return False  # it would see the trial, as one that counts operations
    reason = _no_batch(x)
    if not reason:
        assert isinstance(x, Tensor)
        autocast = torch.is_autocast_enabled(x.device.type)
        holds_for = (x.shape[1:], x.dtype, x.device, gradients, autocast, tuple(selector.tasks))
        if not asked and selector.shared_parts.get(holds_for, 1.0) < SHARE_FOR_BATCHED:
            return False  # as most networks, whose every norm is gated: nothing else is looked at
        reason = _forbids(module)
    if not reason:
        assert isinstance(x, Tensor)
        if not gradients and 2 * len(x) > SAMPLES_AT_ONCE:
            return False  # a pass would be for one task
        first = functools.partial(forward, x[:1], *args[1:])
        if not asked:
            part = _once(selector.shared_parts, holds_for, lambda: shared_part(module, selector, first))
            if part < SHARE_FOR_BATCHED:
                return False
        reason = _once(selector.differences, holds_for, lambda: difference(module, selector, first))
    if reason and asked:
        raise RuntimeError(f'execution="batched" is not possible: {reason} Set execution="auto".')
    return not reason


def _once(found: dict[Key, Found], key: Key, find: Callable[[], Found]) -> Found:
    if key not in found:
        found[key] = find()
    return found[key]


def _no_batch(x: object) -> str:
    """Why no trial can be made with what a network is called with, in words; empty: it is a batch of images."""
    if not isinstance(x, Tensor) or x.ndim == 0 or len(x) == 0:
        return "the first argument is no batch of images."
    if x.is_meta or type(x) not in (Tensor, nn.Parameter):
        return f"the images are a {type(x).__name__} on {x.device}, whose values are not known."
    if torch._C._functorch.maybe_current_level() is not None:
        return "this is within another transform of torch.func."
    return ""


def _forbids(module: nn.Module) -> str:
    """What in a network forbids a batched pass now, in words; empty: nothing is known to."""
    if torch.jit.is_tracing():
        return "this is traced."
    gradients = torch.is_grad_enabled()
    for name, part in module.named_modules():
        if gradients and _recomputes(part):
            return f"{name or 'the network'} is computed twice (gradient checkpointing), and torch.func.vmap cannot."
        if getattr(part, "synchronized", False) and part.training and should_synchronize(part.process_group):
            return f"{name} joins the batches of all processes, which have to run the tasks in the same order."
        if part is not module and (part._compiled_call_impl is not None or isinstance(part, OptimizedModule)):
            return f"{name} is compiled by itself."
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        for hook in (hook for each in hooks for hook in each.values()):
            if part is not module and not _is_of_transformers(hook):  # the network's own run around the pass
                return f"{name} has the hook {getattr(hook, '__qualname__', hook)}, which would see tensors of vmap."
    return ""


def _recomputes(part: nn.Module) -> bool:
    asked = getattr(part, "grad_checkpointing", False) or getattr(part, "gradient_checkpointing", False)
    return bool(asked) or hasattr(part, "checkpoint_fn")


def _is_of_transformers(hook: object) -> bool:
    """Whether a hook is one by which transformers collects the hidden states that the pass returns."""
    return getattr(hook, "__module__", None) == "transformers.utils.output_capturing"
