"""A trial of a batched pass: with one image, in evaluation."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..selection import Selection, TaskSelector
from .batched import run_batched
from .modes import modes_kept
from .operations import OperationCounter

Forward = Callable[[], object]

FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError)
"""What a network that cannot run this way may end in: a trial that fails says so, and fails nothing else."""


def shared_part(module: nn.Module, selector: TaskSelector, forward: Forward) -> float:
    """How much of the floating-point operations of a pass for one task is before the fork, from 0 to 1.

    It is 0 for a network that does not run with one image in evaluation: nothing can be tried there.

    Args:
        module: The network.
        selector: Of the network.
        forward: Calls it for one image.
    """
    with OperationCounter() as counter, _evaluated(module):
        selection = _Counting(0, counter=counter)
        try:
            with selector.run(selection):
                forward()
        except FAILURES:
            return 0.0
    total = counter.get_total_flops()
    shared = total if selection.before_fork is None else selection.before_fork
    return shared / max(total, 1)


def difference(module: nn.Module, selector: TaskSelector, forward: Forward) -> str:
    """In words, what a batched pass does else than one task after another; empty: nothing.

    Args:
        module: The network.
        selector: Of the network.
        forward: Calls it for one image.
    """
    rows = range(len(selector.tasks))  # of which a pass may be for some
    gradients = torch.is_grad_enabled()
    with _evaluated(module):
        try:
            with torch.set_grad_enabled(gradients):  # some operations have a rule in vmap only without
                together = run_batched(selector, forward, 1, rows)
        except FAILURES as error:
            return f"torch.func.vmap cannot run this network ({str(error).partition(chr(10))[0]})."
        for row in rows:
            with selector.run(Selection(row)):
                if not _agree(forward(), together[row]):
                    return "torch.func.vmap gives other outputs for this network."
    return ""


def _agree(one: object, other: object) -> bool:
    ours, theirs = (pytree.tree_leaves(each) for each in (one, other))
    return len(ours) == len(theirs) and all(
        not isinstance(mine, Tensor) or _close(mine, their) for mine, their in zip(ours, theirs, strict=True)
    )


def _close(one: Tensor, padded: Tensor) -> bool:
    """Whether outputs agree to rounding. Those of a task with fewer classes than another one has are padded."""
    if one.ndim != padded.ndim or any(mine > theirs for mine, theirs in zip(one.shape, padded.shape, strict=True)):
        return False
    padded = padded[tuple(slice(size) for size in one.shape)]
    if not one.is_floating_point():
        return torch.equal(one, padded)
    largest = one.abs().amax() if one.numel() else one.new_zeros(())
    return bool(((one - padded).abs() <= 1000 * torch.finfo(one.dtype).eps * largest).all())


@dataclass(eq=False, kw_only=True)
class _Counting(Selection):
    """Notes the operations that a counter has counted where the first gated norm runs."""

    counter: OperationCounter
    before_fork: int | None = None

    def fork(self) -> None:
        if self.before_fork is None:
            self.before_fork = self.counter.get_total_flops()
        super().fork()


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Within the block, a network is in evaluation, without gradients; and the random state is kept."""
    with modes_kept(module), torch.no_grad(), _random_state_kept(module):
        for part in module.modules():
            part.training = False
        yield


def _random_state_kept(module: nn.Module) -> AbstractContextManager[None]:
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    if device.type in ("cpu", "meta"):
        return torch.random.fork_rng([])
    index = torch.get_device_module(device).current_device() if device.index is None else device.index
    return torch.random.fork_rng([index], device_type=device.type)
