"""Gradient aggregation: one gradient of those of the tasks, for the parameters that they share."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from .balancing import Balancing


class GradientAggregation(Balancing):
    """One gradient of those of the tasks, for the parameters that they share.

    What belongs to a single task, as its gates and its head, keeps the gradient of its own loss. It takes a backward
    for each task. Whatever `aggregate` draws from torch's generators depends on the run's seed and on the step alone.

    A subclass has its own `aggregate`.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import GradientAggregation
        >>> class Smallest(GradientAggregation):
        ...     def aggregate(self, gradients, active):
        ...         return gradients[gradients.norm(dim=1).argmin()]
        >>> aggregator = Smallest(["seg", "depth"]).step_aggregator(["seg", "depth"])
        >>> aggregator(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        tensor([1., 0.])
    """

    def weights(self, active: Sequence[str]) -> Tensor:
        """The weights of the losses whose gradients are joined, (len(active),), float32: all 1, if not told."""
        return torch.ones(len(self._rows(active)))

    def aggregate(self, gradients: Tensor, active: Sequence[str]) -> Tensor:
        """The gradient of the shared parameters.

        Args:
            gradients: Of each task's weighted loss, over all processes, (len(active), P), finite.
            active: The tasks of the step, in the order of the rows.

        Returns:
            (P,)
        """
        raise NotImplementedError

    def step_weights(self, active: Sequence[str]) -> dict[str, Tensor]:
        """The weight of each task of a step."""
        return dict(zip(active, self.weights(active), strict=True))

    def step_aggregator(self, active: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """`aggregate` for the tasks of a step."""
        return partial(self.aggregate, active=list(active))

    def conflict(self, *, backward: str, micro_batches: int, trunk_learns: bool) -> str | None:
        """It needs parameters that tasks share."""
        if not trunk_learns:
            return "joins the gradients of what the tasks share, and freeze_trunk leaves none: take one of the losses."
        return None
