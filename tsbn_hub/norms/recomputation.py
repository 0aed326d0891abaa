"""Gradient checkpointing recomputes a block in the backward pass, when the task of its forward is long gone.

`torch.utils.checkpoint.checkpoint` is the one door through which timm, and most models, ask for recomputation. Here it
learns to remember the selections of the forward and to recompute under them; for forwards outside our models it does
what it always did.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.utils.checkpoint

from .selection import run_under, running_selections

Checkpoint = Callable[..., Any]
"""A function like `torch.utils.checkpoint.checkpoint`: (function, *args, **kwargs) → what the function gives."""


def remember_task_in_checkpoints() -> None:
    """Make `torch.utils.checkpoint.checkpoint` recompute under the task of the forward. Further calls do nothing."""
    checkpoint = torch.utils.checkpoint.checkpoint
    if not hasattr(checkpoint, "__wrapped_by_tsbn_hub__"):
        torch.utils.checkpoint.checkpoint = remembering_task(checkpoint)


def remembering_task(checkpoint: Checkpoint) -> Checkpoint:
    """A function like `torch.utils.checkpoint.checkpoint` that recomputes under the task of the forward."""

    @functools.wraps(checkpoint)
    def checkpoint_under_task(function: Checkpoint, *args: Any, **kwargs: Any) -> object:
        if torch.compiler.is_compiling() or not running_selections():
            return checkpoint(function, *args, **kwargs)
        # As they are now: whether the fork lies behind differs from block to block.
        outer = {selector: replace(selection) for selector, selection in running_selections().items()}
        recomputing = False

        def under_task(*args: Any, **kwargs: Any) -> object:
            nonlocal recomputing
            if not recomputing:  # the forward itself
                recomputing = True
                return function(*args, **kwargs)
            with run_under({selector: replace(selection) for selector, selection in outer.items()}):
                return function(*args, **kwargs)

        return checkpoint(under_task, *args, **kwargs)

    checkpoint_under_task.__wrapped_by_tsbn_hub__ = True  # type: ignore[attr-defined]
    return checkpoint_under_task
