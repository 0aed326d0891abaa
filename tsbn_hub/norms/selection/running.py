"""Under which selections the code runs that runs now.

A block that selects a task holds in the context that entered it (`contextvars`): in its thread and asyncio task alone.
During a backward pass it holds only if it was entered in that pass: what is recomputed there belongs to a forward that
is over, and what its caller has open now says nothing about it.
"""

import contextlib
import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token, copy_context
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch


@dataclass(eq=False)
class Block:
    """An open block.

    Args:
        selection: What it selects.
        tasks: The names that the selection's rows have.
        backward: The backward pass that it was entered in; -1: none.
        outer: The open block around it, of the same model.
    """

    selection: Any
    tasks: list[str]
    backward: int
    outer: "Block | None" = None


Innermost = ContextVar[Block | None]
"""The innermost open block of one model. One for each model: compiled code does not guard on the keys of a dict."""


@dataclass(frozen=True)
class _Recomputation:
    """What is recomputed: when its forward ran, and in which backward pass it is recomputed."""

    forward_at: int
    backward: int


_recomputation: ContextVar[_Recomputation | None] = ContextVar("tsbn_hub_recomputation", default=None)


def now() -> int:
    """The time, in the order in which tasks are set and forwards run."""
    return time.perf_counter_ns()


def _backward() -> int:
    """A number of the backward pass that this thread is in; -1: none."""
    return torch._C._current_graph_task_id()


def innermost_block(innermost: Innermost) -> Block | None:
    """The innermost block of a model that holds here."""
    block = innermost.get(None)
    return None if block is None or _backward() not in (-1, block.backward) else block


def knows_set_task(set_at: int) -> bool:
    """Whether the task that is set is the one that the running code is for: always, but in a recomputation.

    Args:
        set_at: When it was set.
    """
    backward, recomputation = _backward(), _recomputation.get()
    if recomputation is None:
        return backward == -1
    return backward == recomputation.backward and set_at < recomputation.forward_at


@contextmanager
def open_block(innermost: Innermost, selection: object, tasks: list[str]) -> Iterator[None]:
    """Within the block, a selection holds here."""
    block = Block(selection, tasks, _backward(), innermost.get(None))
    token = innermost.set(block)
    try:
        yield
    finally:
        if innermost.get(None) is block:
            innermost.reset(token)
        else:  # blocks may end in another order than they would if they were nested
            innermost.set(_without(innermost.get(None), selection))


def _without(block: Block | None, selection: object) -> Block | None:
    if block is None or block.selection is selection:
        return None if block is None else block.outer
    return replace(block, outer=_without(block.outer, selection))


class Memory:
    """What is selected here now, for code that computes the same again later, elsewhere."""

    def __init__(self) -> None:
        backward, recomputation = _backward(), _recomputation.get()
        self.blocks = {
            innermost: replace(block, selection=replace(block.selection), outer=None)
            for innermost, block in _open_blocks().items()
            if backward in (-1, block.backward)
        }
        if recomputation is not None:  # in which something is to be recomputed
            self.forward_at = recomputation.forward_at if recomputation.backward == backward else 0
        else:
            self.forward_at = now() if backward == -1 else 0

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Within the block, exactly that is selected."""
        backward = _backward()
        tokens: list[tuple[ContextVar[Any], Token[Any]]] = [
            (innermost, innermost.set(None)) for innermost in _open_blocks() if innermost not in self.blocks
        ]
        for innermost, block in self.blocks.items():
            selection = replace(block.selection)  # a pass notes in it how far it is
            tokens.append((innermost, innermost.set(replace(block, selection=selection, backward=backward))))
        tokens.append((_recomputation, _recomputation.set(_Recomputation(self.forward_at, backward))))
        try:
            yield
        finally:
            for variable, token in tokens:
                variable.reset(token)


def _open_blocks() -> dict[Innermost, Block]:
    return {variable: value for variable, value in copy_context().items() if isinstance(value, Block)}


def runs_later(function: object) -> bool:
    """Whether a call of a function only makes a generator, or coroutine: what it does comes later."""
    kinds = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(is_kind(function) for is_kind in kinds)


_CONTEXTLIB_ENTERS = {"__enter__", "__aenter__", "enter_context", "enter_async_context"}


def refuse_generators(frame: FrameType | None) -> None:
    """Refuse to open a block in a generator: between two of its values, it would be open in the code around it.

    A generator that is a context manager is as good as the code that enters it.

    Args:
        frame: Of the function that opens the block.

    Raises:
        RuntimeError: if the block would be a generator's.
    """
    while frame is not None:
        caller = frame.f_back
        if frame.f_globals is vars(contextlib) and frame.f_code.co_name in _CONTEXTLIB_ENTERS:
            frame = caller
        elif frame.f_globals is vars(contextlib) and runs_later(frame.f_locals.get("func")):
            raise RuntimeError("using_task decorates a generator or coroutine, which runs when its block is over.")
        elif not frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
            return
        elif caller is not None and caller.f_globals is vars(contextlib):
            frame = caller
        else:
            raise RuntimeError(
                f"using_task is entered in the generator {frame.f_code.co_qualname}: between two of its values, the "
                "task would be selected in the code that asks for them. Name the task in the call, model(x, task=…), "
                "or enter using_task around the loop over the generator."
            )
