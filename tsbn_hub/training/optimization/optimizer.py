"""The optimizer and its learning rate, step by step."""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial

import timm.optim
import torch
from timm.optim import MADGRAD, RMSpropTF
from torch import Tensor, nn
from torch.optim import Optimizer

from ...norms import TaskParameters, unwrapped
from .param_groups import ParamGroup, param_groups

_TRIAL_SHAPE = (64, 128, 1, 1)  # of a parameter that is large enough for optimizers to treat it as a matrix
_TRIAL_GRADIENTS = (0.001, 0.001, 0.1, 0.1, 10.0, 10.0)  # what is clipped by its norm shows when it is large


def create_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float = 1e-4,
    gate_lr_scale: float | None = None,
    layer_decay: float | None = None,
    gate_weight_decay: float = 0.0,
    options: Mapping[str, object] | None = None,
) -> Optimizer:
    """One of timm's optimizers, on our `param_groups`.

    With several tasks, refuses an optimizer that would not leave them apart. Their gates, and their classifiers in a
    timm model, are stacked along the first dimension of one parameter. An optimizer that scales, factors or
    orthogonalises a parameter as a whole (Adafactor, LAMB, Muon, the cautious ones) makes a task's step depend on
    the other tasks'. Each is tried out on stand-ins for the parameters, with the options that are given.

    Args:
        model: A model with task norms, or a plain one, or what is wrapped around it.
        name: One of `timm.optim.list_optimizers()`.
        lr: The trunk's learning rate.
        weight_decay: The weight decay of the trunk's and heads' weights.
        gate_lr_scale: See `param_groups`.
        layer_decay: See `param_groups`.
        gate_weight_decay: See `param_groups`.
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
    model, options = unwrapped(model), dict(options or {})
    _check_name_and_options(name, options)
    create: Callable[..., Optimizer] = timm.optim.create_optimizer_v2
    build = partial(create, opt=name, lr=lr, **options)
    groups = param_groups(model, lr, weight_decay, gate_lr_scale, layer_decay, gate_weight_decay)
    optimizer = build(groups)
    if len(getattr(model, "tasks", ())) > 1:
        if isinstance(optimizer, MADGRAD | RMSpropTF):
            raise ValueError(
                f"optimizer={name!r} does not start its state at zero, as a task must that joins after the first step. "
                "Take another one, such as adamw, adam, sgd, rmsprop or lion."
            )
        check_tasks_stay_apart(model, groups, build, name)
    return optimizer


def _check_name_and_options(name: str, options: Mapping[str, object]) -> None:
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


def check_tasks_stay_apart(
    model: nn.Module, groups: list[ParamGroup], build: Callable[..., Optimizer], name: str
) -> None:
    """Refuse an optimizer in which a task's step depends on the other tasks' gradients. It is tried on stand-ins.

    Args:
        model: A model with tasks.
        groups: Its `param_groups`.
        build: Makes the optimizer of such groups.
        name: Of the optimizer.

    Raises:
        ValueError: if it mixes the tasks.
    """
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


def _try_out(build: Callable[..., Optimizer], group: ParamGroup, dimensions: int, others: float) -> Tensor:
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
