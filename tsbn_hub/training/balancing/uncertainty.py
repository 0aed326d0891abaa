"""Weights by learned uncertainty."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .balancing import register_balancing
from .weighting import LossWeighting


@register_balancing("uncertainty")
class UncertaintyWeighting(LossWeighting):
    """Weights exp(-s_t), with a learned log variance s_t of each task, 0 at the start.

    The total is the sum over the step's tasks of exp(-s_t) L_t + s_t / 2, whose minimum lies at the weight 1 / (2 L_t).
    This is the paper's form for classification; its form for regression, exp(-s_t) L_t / 2 + s_t / 2, is the same one
    with s_t shifted by log 2. LibMTL and TorchJD use the latter for all tasks and start at the weights 0.82 and 0.5;
    here they start at 1.

    Losses are to be positive: for others the total has no minimum, and the weight grows without end. The parameters
    want no weight decay, which would pull the weights towards 1. Their gradients are of the total as it stands: where a
    gradient scaler scales those of the model, set them once it has unscaled those.

    Args:
        tasks: The tasks.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import UncertaintyWeighting
        >>> weighting = UncertaintyWeighting(["seg", "depth"])
        >>> optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
        >>> weighting.after_step({"depth": torch.tensor(8.0)})
        >>> optimizer.step()
        >>> weighting.weights(["seg", "depth"])
        tensor([1.0000, 0.4724])

    Source: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", arXiv 1705.07115, section 3.2, equations 7 and 10, with s = log sigma^2.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        # One parameter for each task: an optimizer moves even the rows of one parameter that have no gradient.
        self.log_variances = nn.ParameterList(torch.zeros(()) for _ in tasks)

    @torch.no_grad()
    def weights(self, active: Sequence[str]) -> Tensor:
        return torch.stack(tuple(self.log_variances)).neg().exp()[self._rows(active)]

    @torch.no_grad()
    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        rows = dict(zip(self._rows(losses), losses.values(), strict=True))
        for row, log_variance in enumerate(self.log_variances):
            log_variance.grad = 0.5 - log_variance.neg().exp() * rows[row].to(log_variance) if row in rows else None
