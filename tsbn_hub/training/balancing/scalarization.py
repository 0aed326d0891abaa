"""Loss scalarization: one total of all losses of a step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .balancing import Balancing, WeightsOfLosses


class LossScalarization(Balancing):
    """One total of all losses of a step, which is differentiable in each of them.

    The gradient of the total is that of the losses weighted by d total / d loss_t. These weights depend on the losses
    of this very step, joined over all processes, so that a run in several processes is that of their joined batch. It
    takes all losses before the first backward pass: one backward for all tasks, of one batch.

    A subclass has its own `total`.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import LossScalarization
        >>> class Norm(LossScalarization):
        ...     def total(self, losses, active):
        ...         return losses.norm()
        >>> Norm(["seg", "depth"]).weights_of({"seg": torch.tensor(3.0), "depth": torch.tensor(4.0)})
        {'seg': tensor(0.6000), 'depth': tensor(0.8000)}
    """

    def total(self, losses: Tensor, active: Sequence[str]) -> Tensor:
        """The total of a step's losses: a scalar, with its graph.

        Args:
            losses: Each task's mean loss over all processes, (len(active),). They require gradients.
            active: The tasks of the step, in the order of the losses.
        """
        raise NotImplementedError

    def weights_of(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weight of each task of a step, d total / d loss, of the losses: scalars without gradient."""
        with torch.enable_grad():
            values = torch.stack(list(losses.values())).detach().requires_grad_()
            (weights,) = torch.autograd.grad(self.total(values, list(losses)), values)
        return dict(zip(losses, weights, strict=True))

    def step_weights(self, active: Sequence[str]) -> WeightsOfLosses:
        """What gives the weights of a step, once its losses are there."""
        return self.weights_of

    def conflict(self, *, backward: str, micro_batches: int, trunk_learns: bool) -> str | None:
        """It needs all losses at once."""
        if backward == "task":
            return "needs the losses of all tasks before the first backward: leave out backward='task'."
        if micro_batches > 1:
            return (
                f"needs the losses of the whole step at once: leave out gradient_accumulation_steps={micro_batches}, "
                "and take a larger batch_size."
            )
        return None
