"""Loss weighting: how much each task's loss counts in a step."""

import hashlib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class LossWeighting(nn.Module):
    """How much each task's loss counts in a step. This base class weighs all 1.

    A step calls `weights` before its backward pass and `after_step` after it, an epoch ends with `after_epoch`. All
    that a resumed run needs is in the `state_dict`. Processes that are told the same losses have the same weights.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.

    Example:
        >>> from tsbn_hub.training.balancing import LossWeighting
        >>> LossWeighting(["seg", "depth"]).weights(["depth"])
        tensor([1.])
    """

    fixed: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks={list(tasks)}: a loss weighting needs at least one task, and each of them once.")
        self.tasks = list(tasks)
        self.register_buffer("fixed", torch.ones(len(tasks)), persistent=False)

    def weights(self, active: Sequence[str]) -> Tensor:
        """The weights of a step's tasks: (len(active),), float32, without gradient, on the module's device."""
        return self.fixed[self._rows(active)]

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Learn from a step. A learned weighting sets its parameters' `.grad`, for an optimizer to step.

        Args:
            losses: For each of the step's tasks its mean loss before weighting: a detached scalar, the same on all
                processes.
        """

    def after_epoch(self, losses: Mapping[str, float]) -> None:
        """Learn from an epoch.

        Args:
            losses: For each of the epoch's tasks its mean loss before weighting.
        """

    def _rows(self, tasks: Iterable[str]) -> list[int]:
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(f"Unknown tasks {unknown}. The tasks of this loss weighting are {self.tasks}.")
        return [self.tasks.index(task) for task in tasks]


class FixedWeights(LossWeighting):
    """Weights that stay as they are given.

    Args:
        tasks: The tasks.
        weights: A weight a task, finite and not negative. A task that is not named weighs 1.

    Raises:
        ValueError: if a task is unknown, or a weight is no such number.

    Example:
        >>> from tsbn_hub.training.balancing import FixedWeights
        >>> FixedWeights(["seg", "depth", "normals"], {"depth": 0.5}).weights(["depth", "normals"])
        tensor([0.5000, 1.0000])
    """

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        weights = weights or {}
        for row, (task, weight) in zip(self._rows(weights), weights.items(), strict=True):
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(f"The weight {weight!r} of task {task!r} is no finite number of at least 0.")
            self.fixed[row] = weight


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
        # A parameter a task: an optimizer moves even the rows of one parameter that have no gradient.
        self.log_variances = nn.ParameterList(torch.zeros(()) for _ in tasks)

    @torch.no_grad()
    def weights(self, active: Sequence[str]) -> Tensor:
        return torch.stack(tuple(self.log_variances)).neg().exp()[self._rows(active)]

    @torch.no_grad()
    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        rows = dict(zip(self._rows(losses), losses.values(), strict=True))
        for row, log_variance in enumerate(self.log_variances):
            log_variance.grad = 0.5 - log_variance.neg().exp() * rows[row].to(log_variance) if row in rows else None


class DynamicWeightAverage(LossWeighting):
    """Weights that grow with the rate L_t(last epoch) / L_t(the one before): a loss that falls slowly weighs more.

    The weights are softmax(rates / temperature) times the number of tasks. A task weighs 1 until it has had two epochs.
    In an epoch without a loss of its own (absent or NaN), a task keeps its last two. A step with fewer tasks takes
    their weights as they are. A rate of 0 / 0 counts as 1.

    Args:
        tasks: The tasks.
        temperature: The higher, the more equal the weights. Positive.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> from tsbn_hub.training.balancing import DynamicWeightAverage
        >>> weighting = DynamicWeightAverage(["seg", "depth"])
        >>> weighting.after_epoch({"seg": 2.0, "depth": 2.0})
        >>> weighting.weights(["seg", "depth"])
        tensor([1., 1.])
        >>> weighting.after_epoch({"seg": 2.0, "depth": 1.0})
        >>> weighting.weights(["seg", "depth"])
        tensor([1.1244, 0.8756])

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv 1803.10704, equation 7.
    """

    last: Tensor
    before: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature} must be positive and finite.")
        self.temperature = temperature
        self.register_buffer("last", torch.full((len(tasks),), math.nan))
        self.register_buffer("before", torch.full((len(tasks),), math.nan))

    def weights(self, active: Sequence[str]) -> Tensor:
        rated = ~self.before.isnan()
        # A loss that was 0 has an infinite rate: the largest number in its place gives softmax its limit, not NaN.
        logits = (self.last / self.before / self.temperature).nan_to_num(nan=1 / self.temperature)
        shares = logits.where(rated, -math.inf).softmax(dim=0)
        return (shares * rated.sum()).where(rated, 1.0)[self._rows(active)]

    def after_epoch(self, losses: Mapping[str, float]) -> None:
        for row, loss in zip(self._rows(losses), losses.values(), strict=True):
            if not math.isnan(loss):
                self.before[row] = self.last[row]
                self.last[row] = loss


class RandomWeighting(LossWeighting):
    """Weights drawn anew in each step: the softmax, over the step's tasks, of standard normal numbers.

    They sum to 1, as in the paper, LibMTL and TorchJD, and not to the number of tasks as equal weights do.

    Args:
        tasks: The tasks.
        seed: The draws depend on it and on the number of steps so far alone.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import RandomWeighting
        >>> weighting = RandomWeighting(["seg", "depth"], seed=0)
        >>> weighting.weights(["seg", "depth"])
        tensor([0.2563, 0.7437])
        >>> weighting.after_step({"seg": torch.tensor(0.7), "depth": torch.tensor(1.2)})
        >>> weighting.weights(["seg", "depth"])
        tensor([0.8333, 0.1667])

    Source: Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", arXiv 2111.10603, algorithm 2.
    """

    steps: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks)
        self.seed = seed
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self, active: Sequence[str]) -> Tensor:
        # Hashed: a generator takes only 32 bits of its seed, and seed + steps would repeat the draws of another seed.
        digest = hashlib.sha256(f"{self.seed} {self.steps.item()}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        draws = torch.randn(len(self.tasks), generator=generator, dtype=torch.float32)
        return draws[self._rows(active)].softmax(dim=0).to(self.steps.device)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        self.steps += 1


_BY_NAME: dict[str, type[LossWeighting]] = {
    "fixed": FixedWeights,
    "uncertainty": UncertaintyWeighting,
    "dynamic": DynamicWeightAverage,
    "random": RandomWeighting,
}


def loss_weighting(name: str, tasks: Sequence[str], seed: int = 0, **options: Any) -> LossWeighting:
    """A loss weighting by its name.

    Args:
        name: "fixed" (without options: equal weights), "uncertainty", "dynamic" or "random".
        tasks: The tasks.
        seed: Of what is drawn at random.
        options: `weights` of "fixed", `temperature` of "dynamic".

    Raises:
        ValueError: if the name or an option is unknown, or an option's value is not possible.

    Example:
        >>> from tsbn_hub.training.balancing import loss_weighting
        >>> loss_weighting("fixed", ["seg", "depth"], weights={"seg": 2}).weights(["seg", "depth"])
        tensor([2., 1.])
    """
    if name not in _BY_NAME:
        raise ValueError(f"The loss weighting {name!r} is unknown. Known: {', '.join(_BY_NAME)}.")
    keywords = inspect.signature(_BY_NAME[name]).parameters
    known = [keyword for keyword in keywords if keyword not in ("tasks", "seed")]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"The loss weighting {name!r} has no options {unknown}. It has {known}.")
    return _BY_NAME[name](tasks, **options, **({"seed": seed} if "seed" in keywords else {}))
