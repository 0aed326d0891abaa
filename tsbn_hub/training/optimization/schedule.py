"""The learning rate of every step."""

import math
from collections.abc import Callable
from typing import Literal, get_args

from torch.optim import Optimizer

ScheduleName = Literal["cosine", "step", "constant"]


class Schedule:
    """The learning rate of every step, as a function of the step's number alone: a resumed run needs nothing else.

    All groups are scaled by the same factor, so that gates stay as much faster than the trunk as they were.

    Args:
        optimizer: Its groups' learning rates are those that are scaled.
        factor: The factor of a step, counted from 0.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self._optimizer = optimizer
        self._factor = factor
        self._full = [group["lr"] for group in optimizer.param_groups]

    def set_lr(self, step: int) -> None:
        """Set the learning rates for a step, before it is made.

        Args:
            step: Its number, 0 for the first one.
        """
        for group, lr in zip(self._optimizer.param_groups, self._full, strict=True):
            group["lr"] = lr * self._factor(step)


def create_schedule(
    optimizer: Optimizer,
    name: ScheduleName,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    decay_epochs: float = 30.0,
    decay_rate: float = 0.1,
) -> Schedule:
    r"""The learning rate of every step: a warm-up, times a curve.

    The factor of step i, of n in all and w in the warm-up, is :math:`\min(1, (i + 1) / w)` times

    - "cosine": :math:`\frac{1}{2} (1 + \cos(\pi \max(0, i - w) / (n - w)))`,
    - "step": `decay_rate ** (epoch // decay_epochs)`, epochs counted from 0 and with the warm-up,
    - "constant": 1.

    No step is made with a learning rate of 0, neither the first nor the last one.

    Args:
        optimizer: With all its groups, at their full learning rates.
        name: "cosine", "step" or "constant".
        epochs: Of the whole run, with the warm-up.
        steps_per_epoch: Optimizer steps in an epoch.
        warmup_epochs: Length of the warm-up; need not be whole.
        decay_epochs: Of "step": epochs between two decays.
        decay_rate: Of "step": the factor of a decay, in (0, 1].

    Raises:
        ValueError: if the name is unknown, or a number is out of its range.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.optimization import create_schedule
        >>> trunk, gates = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
        >>> groups = [{"params": [trunk], "lr": 0.1}, {"params": [gates], "lr": 10.0}]
        >>> optimizer = torch.optim.SGD(groups)
        >>> schedule = create_schedule(optimizer, "cosine", epochs=3, steps_per_epoch=4, warmup_epochs=1)
        >>> for step in (0, 3, 8):
        ...     schedule.set_lr(step)
        ...     print([round(group["lr"], 4) for group in optimizer.param_groups])
        [0.025, 2.5]
        [0.1, 10.0]
        [0.05, 5.0]

    Source: the cosine without restarts, Loshchilov and Hutter, arXiv 1608.03983, equation 5.
    """
    if name not in get_args(ScheduleName):
        raise ValueError(f"schedule={name!r} is unknown. Known: {', '.join(get_args(ScheduleName))}.")
    for key, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch), ("decay_epochs", decay_epochs)):
        if value <= 0:
            raise ValueError(f"{key}={value} must be positive.")
    if not 0 <= warmup_epochs <= epochs:
        raise ValueError(f"warmup_epochs={warmup_epochs} must lie between 0 and the run's {epochs} epochs.")
    if not 0 < decay_rate <= 1:
        raise ValueError(f"decay_rate={decay_rate} must lie in (0, 1].")
    warmup, steps = warmup_epochs * steps_per_epoch, epochs * steps_per_epoch

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if name == "cosine":
            progress = (step - warmup) / (steps - warmup) if step > warmup else 0.0
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if name == "step":
            return rise * decay_rate ** (step / steps_per_epoch // decay_epochs)
        return rise

    return Schedule(optimizer, factor)
