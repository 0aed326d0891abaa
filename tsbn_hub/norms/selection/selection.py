"""What is selected: the tasks of a pass."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

Computed = TypeVar("Computed")


@dataclass(eq=False)
class Selection:
    """The tasks of one pass through the network: one for all samples, one a chunk of consecutive samples, or all.

    Args:
        row: Row of the task. None, without a tensor: in a network without gated norms, the one pass is for all tasks.
        tensor: The row as an integer tensor without dimensions, by which one compiled graph serves all tasks; in graphs
            also (B,), the row of each sample.
        chunks: (row, number of samples) of consecutive samples, in place of `row`.
        rows: In place of `row`: a forward of the whole network is for these tasks. Each of its passes has a selection
            of its own.
        batched_row: In one pass for several tasks: the row of each, as a tensor that `torch.func.vmap` has batched.
        statistics: What the BatchNorms of such a pass are to take in after it, where it is compiled: the norm, and the
            mean and variance of each task's samples, (C,).
        repeated: This batch has already passed in this step, for another task: a norm before the fork has already
            taken it into its running statistics.
        forked: A gated norm has run in this pass: from here on the tasks differ.
        shared: What the passes of one forward for several tasks compute once, by who asks; None: there is one pass.
    """

    row: int | None = None
    tensor: Tensor | None = None
    chunks: tuple[tuple[int, int], ...] = ()
    rows: tuple[int, ...] = ()
    batched_row: Tensor | None = None
    statistics: list[tuple[Any, Tensor, Tensor]] = field(default_factory=list)
    repeated: bool = False
    forked: bool = False
    shared: dict[object, Any] | None = None

    def passes(self) -> list["Selection"]:
        """What the passes for each row select, that run one after another."""
        shared: dict[object, Any] | None = None if torch.compiler.is_compiling() else {}
        first = self.rows[0]
        return [Selection(row, repeated=self.repeated or row != first, shared=shared) for row in self.rows]

    @property
    def index(self) -> int | Tensor | None:
        """The row; where there is one, as a tensor in compiled graphs, which would hold one task by an int."""
        if self.tensor is not None and (torch.compiler.is_dynamo_compiling() or self.row is None):
            return self.tensor
        return self.row

    @property
    def differs_by_sample(self) -> bool:
        """Whether a tensor says the row of each sample."""
        return self.tensor is not None and self.tensor.ndim == 1

    def fork(self) -> None:
        """Note that a gated norm runs. It is only asked for passes in which a BatchNorm does something else then."""
        if (self.repeated or self.chunks or self.batched_row is not None) and not self.forked:
            self.forked = True

    def once(self, module: object, compute: Callable[[], Computed]) -> Computed | None:
        """What a module computes once for all passes of a forward; None: this is its only pass."""
        if self.shared is None:
            return None
        # A checkpointed block runs without gradients first, and with them when it is recomputed.
        key = (module, torch.is_grad_enabled())
        if key not in self.shared:
            self.shared[key] = compute()
        computed: Computed = self.shared[key]
        return computed

    def choose(self, by_row: list[Tensor]) -> Tensor:
        """Of the outputs of every row for the whole batch, those of each sample's own row. For compiled graphs."""
        assert self.tensor is not None
        chosen = by_row[0]
        rows = self.tensor.repeat_interleave(len(chosen) // len(self.tensor))
        for row, output in enumerate(by_row[1:], start=1):
            chosen = torch.where((rows == row).view(-1, *[1] * (output.ndim - 1)), output, chosen)
        return chosen

    def split(self, x: Tensor) -> list[tuple[int, Tensor]]:
        """The chunks of a tensor whose first dimension is the batch, or the batch times something."""
        batch = sum(samples for _, samples in self.chunks)
        repeats, rest = divmod(len(x), batch)
        if rest:
            raise ValueError(
                f"A norm was given {len(x)} rows for a batch of {batch} samples with one task each: its first "
                "dimension is not the batch, or a multiple of it. Run the tasks one after another instead."
            )
        sizes = [samples * repeats for _, samples in self.chunks]
        return [(row, part) for (row, _), part in zip(self.chunks, x.split(sizes), strict=True)]
