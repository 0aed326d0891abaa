"""A smooth maximum of the losses."""

from collections.abc import Sequence

from torch import Tensor

from .balancing import register_balancing
from .scalarization import LossScalarization
from .torchjd_methods import computed_by_torchjd


@register_balancing("stch")
class SmoothTchebycheff(LossScalarization):
    """A smooth maximum of the losses, mu log(sum over the step's n tasks of exp(L_t / (n mu))): STCH.

    The task with the largest loss weighs most, the more so the smaller mu. Preferences are equal, 1/n, and the ideal
    point is 0. The authors' code for networks takes the logarithm of each loss over its mean of an early epoch in place
    of the loss; here, as in the paper's equation and in TorchJD, units count: see that the losses are comparable.

    Args:
        tasks: The tasks.
        mu: How smooth the maximum is. Positive. 1 is the largest of the paper's (0.01, 0.1, 0.5, 1) and its code's.

    Raises:
        ValueError: if mu is not positive.
        ImportError: if TorchJD is not installed.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import SmoothTchebycheff
        >>> losses = {"seg": torch.tensor(4.0), "depth": torch.tensor(1.0)}
        >>> SmoothTchebycheff(["seg", "depth"]).weights_of(losses)
        {'seg': tensor(0.4088), 'depth': tensor(0.0912)}

    Source: Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization",
    arXiv 2402.19078, the STCH scalarization; computed by TorchJD's STCH.
    """

    def __init__(self, tasks: Sequence[str], mu: float = 1.0) -> None:
        super().__init__(tasks)
        with computed_by_torchjd("stch"):
            from torchjd.scalarization import STCH

            self.scalarizer = STCH(mu)

    def total(self, losses: Tensor, active: Sequence[str]) -> Tensor:
        return self.scalarizer(losses)
