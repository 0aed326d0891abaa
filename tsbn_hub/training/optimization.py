"""The optimizer and its learning rate, step by step."""

import inspect
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, get_args

import timm.optim
import torch
from timm.optim import MADGRAD, RMSpropTF
from torch import Tensor, nn
from torch.optim import Optimizer

from ..norms import TaskParameters
from .param_groups import param_groups

ScheduleName = Literal["cosine", "step", "constant"]

_TRIAL_SHAPE = (64, 128, 1, 1)  # of a parameter that is large enough for optimizers to treat it as a matrix
_TRIAL_GRADIENTS = (0.001, 0.001, 0.1, 0.1, 10.0, 10.0)  # what is clipped by its norm shows when it is large


def create_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float = 1e-4,
    gate_lr_scale: float | None = None,
    layer_decay: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Optimizer:
    """One of timm's optimizers, on our `param_groups`.

    With several tasks, refuses an optimizer that would not leave them apart. Their gates, and their classifiers in a
    timm model, are stacked along the first dimension of one parameter. An optimizer that scales, factors or
    orthogonalises a parameter as a whole (Adafactor, LAMB, Muon, the cautious ones) makes a task's step depend on
    the other tasks'. Each is tried out on stand-ins for the parameters, with the options that are given.

    Args:
        model: A model with task norms, or a plain one.
        name: One of `timm.optim.list_optimizers()`.
        lr: The trunk's learning rate.
        weight_decay: The weight decay of the trunk's and heads' weights.
        gate_lr_scale: See `param_groups`.
        layer_decay: See `param_groups`.
        options: Further keywords of the optimizer, such as `{"betas": (0.9, 0.99)}`.

    Raises:
        ValueError: if the optimizer or an option is unknown; the optimizer cannot be built here, mixes tasks, or needs
            second derivatives; and as `param_groups` does.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.training.optimization import create_optimizer
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> optimizer = create_optimizer(model, "sgd", lr=0.1, options={"momentum": 0.95})
        >>> [(group["name"], group["lr"], group["momentum"]) for group in optimizer.param_groups]
        [('weights', 0.1, 0.95), ('biases and norms', 0.1, 0.95), ('gates of BatchNorms', 10.0, 0.95)]
        >>> create_optimizer(model, "adafactor", lr=0.1)
        Traceback (most recent call last):
        ValueError: optimizer='adafactor' mixes the tasks: ...
    """
    options = dict(options or {})
    _check_name_and_options(name, options)
    build: Callable[..., Optimizer] = partial(timm.optim.create_optimizer_v2, opt=name, lr=lr, **options)
    groups = param_groups(model, lr, weight_decay, gate_lr_scale, layer_decay)
    optimizer = build(groups)
    if len(getattr(model, "tasks", ())) > 1:
        if isinstance(optimizer, MADGRAD | RMSpropTF):
            raise ValueError(
                f"optimizer={name!r} does not start its state at zero, as a task must that joins after the first step. "
                "Take another one, such as adamw, adam, sgd, rmsprop or lion."
            )
        _check_tasks_stay_apart(model, groups, build, name)
    return optimizer


def _check_name_and_options(name: str, options: dict[str, Any]) -> None:
    known = timm.optim.list_optimizers()
    if name.lower() not in known:
        near = get_close_matches(name.lower(), known, n=5)
        raise ValueError(
            f"optimizer={name!r} is unknown. {f'Do you mean one of {near}? ' if near else ''}Known: "
            f"timm.optim.list_optimizers(), {len(known)} names such as adamw, sgd and lion."
        )
    if timm.optim.get_optimizer_info(name).second_order:
        raise ValueError(f"optimizer={name!r} needs second derivatives, which a plain backward pass does not keep.")
    try:
        parameters = inspect.signature(timm.optim.get_optimizer_class(name, bind_defaults=False)).parameters
    except (AssertionError, ImportError) as error:
        raise ValueError(f"optimizer={name!r} cannot be built here: {error}.") from error
    possible = [option for option in parameters if option not in ("params", "lr", "weight_decay")]
    unknown = [option for option in options if option not in possible]
    if unknown:
        raise ValueError(f"optimizer={name!r} has no options {unknown}. It has {possible}.")


def _check_tasks_stay_apart(
    model: nn.Module, groups: list[dict[str, Any]], build: Callable[..., Optimizer], name: str
) -> None:
    modules = (module for module in model.modules() if isinstance(module, TaskParameters))
    stacked = {id(parameter) for module in modules for parameter in module.stacked_parameters()}
    for group in groups:
        for dimensions in {parameter.ndim for parameter in group["params"] if id(parameter) in stacked}:
            alone, together = (_try_out(build, group, dimensions, others) for others in (0.0, 1.0))
            if not torch.equal(alone, together):
                raise ValueError(
                    f"optimizer={name!r} mixes the tasks: in the group {group['name']!r}, a task's step depends on "
                    "the other tasks' gradients. Take one that treats each value by itself, such as adamw, adam, sgd, "
                    "rmsprop or lion, without caution."
                )


def _try_out(build: Callable[..., Optimizer], group: dict[str, Any], dimensions: int, others: float) -> Tensor:
    """Where some steps take the first row of a stand-in, with the gradients of the other rows times `others`."""
    generator = torch.Generator().manual_seed(0)
    shape, device = _TRIAL_SHAPE[:dimensions], group["params"][0].device
    stand_in = nn.Parameter(0.01 * torch.randn(shape, generator=generator).to(device))
    optimizer = build([{**group, "params": [stand_in], "lr": 0.01}])
    for size in _TRIAL_GRADIENTS:
        gradient = size * torch.randn(shape, generator=generator)
        gradient[1:] *= others
        stand_in.grad = gradient.to(device)
        optimizer.step()
    return stand_in.detach()[0]


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
        steps_per_epoch: Steps of the optimizer an epoch.
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
