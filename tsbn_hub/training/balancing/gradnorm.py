"""Weights by which the tasks' gradients come to have norms that fit how fast they learn."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .aggregation import GradientAggregation
from .balancing import register_balancing
from .first_losses import FirstLosses


@register_balancing("gradnorm")
class GradNorm(GradientAggregation, FirstLosses):
    """Learned weights w_t, by which the gradients' norms G_t = |w_t grad L_t| come near mean(G) r_t^alpha.

    r_t is the task's loss over its first one, over the mean of that over the step's tasks: a task that has learned less
    than the others gets a larger gradient. The weights learn by the gradient of the sum of |G_t - mean(G) r_t^alpha|,
    in which the targets count as constants.

    Deviations: the norms are of all parameters that the tasks share, in place of the last shared layer (as in LibMTL);
    the weights are a softmax times the number of the step's tasks, which keeps them positive and their sum as it is, in
    place of dividing by the sum after each update; they learn at the run's learning rate.

    Args:
        tasks: The tasks.
        alpha: How strongly the tasks are pulled to one rate; 0: to equal norms. 1.5 is the paper's for NYUv2.

    Raises:
        ValueError: if alpha is not finite.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import GradNorm
        >>> balancing = GradNorm(["seg", "depth"])
        >>> optimizer = torch.optim.SGD(balancing.parameters(), lr=0.1)
        >>> balancing.aggregate(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), ["seg", "depth"])
        tensor([4., 4.])
        >>> balancing.after_step({"seg": torch.tensor(2.0), "depth": torch.tensor(1.0)})
        >>> optimizer.step()
        >>> balancing.weights(["seg", "depth"])
        tensor([0.7087, 1.2913])

    Source: Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", arXiv 1711.02257, equations 1 and 2, algorithm 1.
    """

    def __init__(self, tasks: Sequence[str], alpha: float = 1.5) -> None:
        super().__init__(tasks)
        if not -torch.inf < alpha < torch.inf:
            raise ValueError(f"alpha={alpha} must be finite.")
        self.alpha = alpha
        # One parameter for each task: an optimizer moves even the rows of one parameter that have no gradient.
        self.logits = nn.ParameterList(torch.zeros(()) for _ in tasks)
        self._norms: dict[str, Tensor] = {}

    def weights(self, active: Sequence[str]) -> Tensor:
        return self._weights(self._chosen(active)).detach()

    def aggregate(self, gradients: Tensor, active: Sequence[str]) -> Tensor:
        self._norms = dict(zip(active, gradients.detach().norm(dim=1), strict=True))
        return gradients.sum(dim=0)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        for logit in self.logits:
            logit.grad = None
        active, values = list(losses), torch.stack(list(losses.values()))
        if self._norms.keys() == losses.keys():  # with fp16, there are none of a step whose gradients have overflown
            chosen = self._chosen(active)
            norms = torch.stack([self._norms[task] for task in active]).to(chosen[0])
            relative = (values / self.first_losses(values, active)).to(norms)
            rates = (relative / relative.mean()).nan_to_num(nan=1.0)
            targets = norms.mean() * rates**self.alpha
            with torch.enable_grad():
                weights = self._weights(chosen)
                distance = (norms * (weights / weights.detach()) - targets).abs().sum()
                gradients = torch.autograd.grad(distance, chosen)
            for logit, gradient in zip(chosen, gradients, strict=True):
                logit.grad = gradient
        self._norms = {}
        self.keep_first(values, active)

    def _chosen(self, active: Sequence[str]) -> list[Tensor]:
        logits = list(self.logits)
        return [logits[row] for row in self._rows(active)]

    @staticmethod
    def _weights(logits: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(logits)).softmax(dim=0) * len(logits) if logits else torch.zeros(0)
