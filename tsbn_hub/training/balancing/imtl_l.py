"""Weights by learned scales of the losses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .balancing import register_balancing
from .weighting import LossWeighting


@register_balancing("imtl-l")
class ImpartialLossWeighting(LossWeighting):
    """Weights exp(s_t), with a learned s_t of each task, 0 at the start: IMTL-L, impartial in the losses.

    The total is the sum over the step's tasks of exp(s_t) L_t - s_t, whose minimum lies at the weight 1 / L_t: all
    weighted losses are then 1. It is derived without an assumption on the losses, and is close kin to `uncertainty`,
    whose weighted losses come to be 1/2. Losses are to be positive.

    TorchJD's IMTLL has the same total and the same gradients. It keeps all scales in one parameter, which cannot leave
    out the tasks that a step lacks: here each task has its own.

    Args:
        tasks: The tasks.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import ImpartialLossWeighting
        >>> weighting = ImpartialLossWeighting(["seg", "depth"])
        >>> optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
        >>> weighting.after_step({"depth": torch.tensor(8.0)})
        >>> optimizer.step()
        >>> weighting.weights(["seg", "depth"])
        tensor([1.0000, 0.4966])

    Source: Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards Impartial Multi-task Learning", ICLR 2021, the loss
    balance IMTL-L with g(s) = e^s L - s.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        # One parameter for each task: an optimizer moves even the rows of one parameter that have no gradient.
        self.log_scales = nn.ParameterList(torch.zeros(()) for _ in tasks)

    @torch.no_grad()
    def weights(self, active: Sequence[str]) -> Tensor:
        return torch.stack(tuple(self.log_scales)).exp()[self._rows(active)]

    @torch.no_grad()
    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        rows = dict(zip(self._rows(losses), losses.values(), strict=True))
        for row, log_scale in enumerate(self.log_scales):
            log_scale.grad = log_scale.exp() * rows[row].to(log_scale) - 1 if row in rows else None
