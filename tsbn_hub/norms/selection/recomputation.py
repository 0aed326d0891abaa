"""Gradient checkpointing recomputes a block in the backward pass, when the task of its forward is long gone.

Every way into `torch.utils.checkpoint`, however early it was imported, hands the function to be recomputed to one of
two classes. Here these learn to remember what was selected in the forward, and to recompute under that. For forwards
outside our models they do what they always did.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.utils.checkpoint

from .running import Memory

Checkpoint = Callable[..., object]
"""A function like `torch.utils.checkpoint.checkpoint`: (function, *args, **kwargs) → what the function gives."""


def remember_task_in_checkpoints() -> None:
    """Make `torch.utils.checkpoint` recompute under the task of the forward. Further calls do nothing."""
    reentrant = torch.utils.checkpoint.CheckpointFunction
    if not hasattr(reentrant.forward, "__wrapped__"):
        reentrant.forward = staticmethod(_remembering_forward(reentrant.forward))  # type: ignore[method-assign]
    frame: Any = getattr(torch.utils.checkpoint, "_CheckpointFrame", None)  # not public: without it, norms raise
    if frame is not None and not hasattr(frame.__init__, "__wrapped__"):
        frame.__init__ = _remembering_init(frame.__init__)


def _remembering_forward(forward: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(forward)
    def remembering(ctx: Any, run_function: Checkpoint, *args: Any) -> object:
        recalling = _recalling(run_function)
        outputs = forward(ctx, run_function, *args)
        ctx.run_function = recalling
        return outputs

    return remembering


def _remembering_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def remembering(frame: Any, recompute_fn: Checkpoint, *args: Any, **kwargs: Any) -> None:
        init(frame, _recalling(recompute_fn), *args, **kwargs)

    return remembering


def _recalling(function: Checkpoint) -> Checkpoint:
    """A function that runs under what is selected now, whenever it is called.

    Raises:
        RuntimeError: if this is a batched pass for several tasks, whose tensors are of no use afterwards.
    """
    memory = Memory()
    batched = any(block.selection.batched_row is not None for block in memory.blocks.values())
    if batched and torch.is_grad_enabled():
        raise RuntimeError("What is computed again in the backward pass (gradient checkpointing) cannot be batched.")

    def recalling(*args: Any, **kwargs: Any) -> object:
        with memory.recalled():
            return function(*args, **kwargs)

    return recalling


def remembering_task(checkpoint: Checkpoint) -> Checkpoint:
    """Let a checkpoint function of another library recompute under the task of the forward.

    Args:
        checkpoint: Called as `checkpoint(function, *args, **kwargs)`, like `torch.utils.checkpoint.checkpoint`, which
            needs none of this. It calls the function once, and again in the backward pass.

    Returns:
        A function that is called in the same way.
    """

    @functools.wraps(checkpoint)
    def checkpoint_under_task(function: Checkpoint, *args: Any, **kwargs: Any) -> object:
        if torch.compiler.is_compiling():
            return checkpoint(function, *args, **kwargs)
        recalling, forward_is_over = _recalling(function), False

        def under_task(*args: Any, **kwargs: Any) -> object:
            nonlocal forward_is_over
            if forward_is_over:
                return recalling(*args, **kwargs)
            forward_is_over = True
            return function(*args, **kwargs)

        return checkpoint(under_task, *args, **kwargs)

    return checkpoint_under_task
