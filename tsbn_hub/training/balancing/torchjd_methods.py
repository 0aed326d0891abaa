"""Gradient methods that TorchJD computes: weights of the tasks' gradients, of their inner products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .aggregation import GradientAggregation
from .balancing import register_balancing


@contextmanager
def computed_by_torchjd(name: str) -> Iterator[None]:
    """Within the block, a part of TorchJD that is not installed is told with the way out.

    Raises:
        ImportError: if it is not.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"The balancing {name!r} is computed by TorchJD: pip install 'tsbn_hub[balancing]'. ({error})"
        ) from error


class _ByInnerProducts(GradientAggregation):
    """A sum of the tasks' gradients, weighted by what one of TorchJD's weightings makes of their inner products.

    The weighting gets these, (T, T), on the CPU, where its loops and solvers need not wait for a device; and over their
    trace, which changes none of its weights: TorchJD's CAGrad takes gradients that are short for ones that are 0.
    """

    _weighting: Callable[[Tensor], Tensor]

    def aggregate(self, gradients: Tensor, active: Sequence[str]) -> Tensor:
        products = (gradients @ gradients.T).cpu()
        weights = self._weighting(products / products.trace().clamp(min=torch.finfo(products.dtype).tiny))
        return weights.to(gradients) @ gradients


@register_balancing("pcgrad")
class PCGrad(_ByInnerProducts):
    """The sum of the gradients, each without what conflicts with the others: projecting conflicting gradients.

    Each gradient is projected, for the others in a random order, onto the normal plane of those that it has a negative
    inner product with. The order depends on the run's seed and on the step alone.

    Args:
        tasks: The tasks.

    Raises:
        ImportError: if TorchJD is not installed.

    Source: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", arXiv 2001.06782,
    algorithm 1; computed by TorchJD's PCGrad.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        with computed_by_torchjd("pcgrad"):
            from torchjd.aggregation import PCGradWeighting

            self._weighting = PCGradWeighting()


@register_balancing("cagrad")
class CAGrad(_ByInnerProducts):
    """The step near the mean gradient that helps the worst task most: conflict-averse gradient descent.

    It lies within c |g_0| of the mean gradient g_0. The official code divides it by 1 + c^2 afterwards; this, as the
    paper's algorithm, does not.

    Args:
        tasks: The tasks.
        c: The radius as a part of |g_0|. Not negative; 0 is the mean gradient. 0.4 is the paper's for NYUv2.

    Raises:
        ValueError: if c is negative.
        ImportError: if TorchJD, or the solver that it takes for this, is not installed.

    Source: Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", arXiv 2110.14048,
    algorithm 1; computed by TorchJD's CAGrad.
    """

    def __init__(self, tasks: Sequence[str], c: float = 0.4) -> None:
        super().__init__(tasks)
        with computed_by_torchjd("cagrad"):
            from torchjd.aggregation import CAGradWeighting

            self._weighting = CAGradWeighting(c)


@register_balancing("upgrad")
class UPGrad(_ByInnerProducts):
    """The mean of the gradients, each projected so that it conflicts with none: unconflicting projection.

    Args:
        tasks: The tasks.

    Raises:
        ImportError: if TorchJD, or the solver that it takes for this, is not installed.

    Source: Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2406.16232, the aggregator UPGrad
    with equal preferences; computed by TorchJD's UPGrad.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        with computed_by_torchjd("upgrad"):
            from torchjd.aggregation import UPGradWeighting

            self._weighting = UPGradWeighting()


@register_balancing("mgda")
class MGDA(_ByInnerProducts):
    """The shortest gradient in the convex hull of the tasks' gradients: multiple-gradient descent.

    The gradients are taken as they are, and those of single tasks keep weight 1; the paper's code has further ways to
    normalise.

    Args:
        tasks: The tasks.

    Raises:
        ImportError: if TorchJD is not installed.

    Source: Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", arXiv 1810.04650, algorithm 2 (at most
    100 steps of Frank-Wolfe, until one is below 0.001); computed by TorchJD's MGDA.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        with computed_by_torchjd("mgda"):
            from torchjd.aggregation import MGDAWeighting

            self._weighting = MGDAWeighting()
