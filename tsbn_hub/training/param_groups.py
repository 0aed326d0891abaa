"""Discriminative learning rates: gates learn faster than the trunk."""

from typing import Any

from torch import nn

from ..norms import TaskBatchNorm, TaskNorm

GATE_LR_SCALE_BATCH_NORM = 100.0
GATE_LR_SCALE_OTHERS = 10.0


def param_groups(
    model: nn.Module, lr: float = 1e-4, weight_decay: float = 1e-4, gate_lr_scale: float | None = None
) -> list[dict[str, Any]]:
    """The trainable parameters of a model as groups for an optimizer.

    What belongs to single tasks inside norms, gates as well as TSBN's weights and biases, learns faster and without
    weight decay. Biases, norms and what the model's `no_weight_decay()` names are not decayed either.

    Args:
        model: A model with task norms, or a plain one.
        lr: The learning rate of everything else.
        weight_decay: The weight decay of the other weights.
        gate_lr_scale: How much faster gates learn. None: 100 times for BatchNorms, 10 times for other norms.

    Returns:
        Groups with `name`, `params`, `lr` and `weight_decay`; none is empty.

    Raises:
        ValueError: if nothing is trainable, or a number is negative.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> groups = tsbn_hub.param_groups(model, lr=1e-3, weight_decay=1e-4)
        >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        [('weights', 0.001, 0.0001), ('biases and norms', 0.001, 0.0), ('gates of BatchNorms', 0.1, 0.0)]
        >>> optimizer = torch.optim.AdamW(groups)

    Source: arXiv 2512.20420, section 3 (discriminative learning rates) and its appendix for the factors.
    """
    for name, value in (("lr", lr), ("weight_decay", weight_decay), ("gate_lr_scale", gate_lr_scale)):
        if value is not None and value < 0:
            raise ValueError(f"{name}={value} is negative.")
    of_gates: dict[int, str] = {}
    for module in model.modules():
        if isinstance(module, TaskNorm):
            group = "gates of BatchNorms" if isinstance(module, TaskBatchNorm) else "gates of other norms"
            of_gates.update({id(getattr(module, name)): group for name in module.stacked_names()})
    scales = (GATE_LR_SCALE_BATCH_NORM, GATE_LR_SCALE_OTHERS) if gate_lr_scale is None else (gate_lr_scale,) * 2
    undecayed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    groups: dict[str, dict[str, Any]] = {
        "weights": {"lr": lr, "weight_decay": weight_decay},
        "biases and norms": {"lr": lr, "weight_decay": 0.0},
        "gates of BatchNorms": {"lr": lr * scales[0], "weight_decay": 0.0},
        "gates of other norms": {"lr": lr * scales[1], "weight_decay": 0.0},
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in of_gates:
            group = of_gates[id(parameter)]
        elif parameter.ndim <= 1 or name in undecayed:
            group = "biases and norms"
        else:
            group = "weights"
        groups[group].setdefault("params", []).append(parameter)
    filled = [{"name": name, **group} for name, group in groups.items() if "params" in group]
    if not filled:
        raise ValueError(f"{type(model).__name__} has no trainable parameter: all have requires_grad=False.")
    return filled
