"""Functions that have a rule of their own for tensors into which `vmap` has put a dimension of tasks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class FunctionOfTasks(torch.autograd.Function):
    """A function of tensors of each task, or of all of them, and of the row of the task, as `vmap` has batched it.

    A subclass has the rule, `vmap`. What it calls is seen by autograd as if it had been called without `vmap`: no
    backward is needed here.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(function: Callable[..., Tensor], row: Tensor, *tensors: Tensor) -> Tensor:
        """Refused: `row` has a dimension of tasks in every batched pass, so that the rule is what is called.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("Outside a batched pass there is no dimension of tasks.")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        """Nothing is kept: see the class."""


def parts_of_tasks(x: Tensor, dim: int | None, info: Any) -> list[Tensor]:
    """The tensor of each task; where it has no dimension of tasks, the same one for all.

    Args:
        x: What a rule was given.
        dim: Its dimension of tasks; None: it has none.
        info: What a rule was told of the pass.
    """
    return [x] * info.batch_size if dim is None else list(x.unbind(dim))
