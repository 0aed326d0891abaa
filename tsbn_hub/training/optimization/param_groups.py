"""Discriminative learning rates: gates learn faster than the trunk, and early layers, if so wished, slower."""

import math
from collections.abc import Callable
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

from ...norms import TaskBatchNorm, TaskNorm, unwrapped

GATE_LR_SCALE_BATCH_NORM = 100.0
GATE_LR_SCALE_OTHERS = 10.0

ParamGroup = dict[str, Any]


def param_groups(
    model: nn.Module,
    lr: float = 1e-4,
    weight_decay: float = 1e-4,
    gate_lr_scale: float | None = None,
    layer_decay: float | None = None,
    gate_weight_decay: float = 0.0,
) -> list[ParamGroup]:
    """The trainable parameters of a model as groups for an optimizer.

    What belongs to single tasks inside norms, gates as well as TSBN's weights and biases, learns faster and has a
    weight decay of its own, by default none. What is in a module with an attribute `lr_scale`, which says how much
    faster, learns faster, too, as the units of cross-stitch networks do. Biases, norms and what the model's
    `no_weight_decay()` names are not decayed. With `layer_decay`, each layer learns slower than the next one; the
    heads, and what else comes last, learn at `lr`.

    Args:
        model: A model with task norms, or a plain one, or what is wrapped around it.
        lr: The learning rate of everything else.
        weight_decay: The weight decay of the other weights.
        gate_lr_scale: How much faster gates learn. None: 100 times for BatchNorms, 10 times for other norms.
        layer_decay: The learning rate of a layer over the next one's, in (0, 1], for gates and weights alike. The
            layers are those of the model's `group_matcher`, as in timm. None: all layers learn alike.
        gate_weight_decay: Of the gates: it draws them to one half, and TSBN's weights and biases to 0.

    Returns:
        Groups with `name`, `params`, `lr` and `weight_decay`; none is empty. Those of gates have `use_fallback`, too:
        timm's Muon would else take the gates of all tasks for one weight matrix, and mix the tasks.

    Raises:
        ValueError: if nothing is trainable, a number is out of its range, or the model does not say its layers.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> groups = tsbn_hub.param_groups(model, lr=1e-3, weight_decay=1e-4)
        >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        [('weights', 0.001, 0.0001), ('biases and norms', 0.001, 0.0), ('gates of BatchNorms', 0.1, 0.0)]
        >>> optimizer = torch.optim.AdamW(groups)
        >>> groups = tsbn_hub.param_groups(model, lr=1e-3, layer_decay=0.5)
        >>> [(group["name"], group["lr"]) for group in groups if group["name"].endswith(("layer 4", "layer 5"))]
        [('weights, layer 4', 0.0005), ('weights, layer 5', 0.001), ('biases and norms, layer 5', 0.001),
         ('gates of BatchNorms, layer 4', 0.05)]

    Source: arXiv 2512.20420, section 3 (discriminative learning rates) and its appendix for the factors; arXiv
    2106.08254 (BEiT) for the decay by layer, as `timm.optim.param_groups_layer_decay` has it.
    """
    for name, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("gate_lr_scale", gate_lr_scale),
        ("gate_weight_decay", gate_weight_decay),
    ):
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} is {'negative' if value < 0 else 'not finite'}.")
    model = unwrapped(model)
    of_gates: dict[int, str] = {}
    own_scales: dict[str, float] = {}
    for module in model.modules():
        if isinstance(module, TaskNorm):
            kind = "gates of BatchNorms" if isinstance(module, TaskBatchNorm) else "gates of other norms"
            of_gates.update({id(parameter): kind for parameter in module.stacked_parameters()})
        elif (scale := getattr(module, "lr_scale", None)) is not None:
            own_scales[f"at {scale:g} times the rate"] = scale
            of_gates.update({id(each): f"at {scale:g} times the rate" for each in module.parameters()})
    scales = (GATE_LR_SCALE_BATCH_NORM, GATE_LR_SCALE_OTHERS) if gate_lr_scale is None else (gate_lr_scale,) * 2
    kinds: dict[str, ParamGroup] = {
        "weights": {"lr": lr, "weight_decay": weight_decay},
        "biases and norms": {"lr": lr, "weight_decay": 0.0},
        "gates of BatchNorms": {"lr": lr * scales[0], "weight_decay": gate_weight_decay, "use_fallback": True},
        "gates of other norms": {"lr": lr * scales[1], "weight_decay": gate_weight_decay, "use_fallback": True},
        **{kind: {"lr": lr * scale, "weight_decay": 0.0, "use_fallback": True} for kind, scale in own_scales.items()},
    }
    undecayed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    layers = {} if layer_decay is None else _layers(model, layer_decay)
    members: dict[tuple[str, int], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in of_gates:
            kind = of_gates[id(parameter)]
        elif parameter.ndim <= 1 or name in undecayed:
            kind = "biases and norms"
        else:
            kind = "weights"
        members.setdefault((kind, layers.get(name, 0)), []).append(parameter)
    if not members:
        raise ValueError(f"{type(model).__name__} has no trainable parameter: all have requires_grad=False.")
    groups = []
    for kind, options in kinds.items():
        for layer in sorted(layer for other, layer in members if other == kind):
            group = {"name": kind, **options, "params": members[kind, layer]}
            if layer_decay is not None:
                group["name"] += f", layer {layer}"
                group["lr"] *= layer_decay ** (max(layers.values()) - layer)
            groups.append(group)
    return groups


def _layers(model: nn.Module, layer_decay: float) -> dict[str, int]:
    """The layer of every parameter, by name: 0 is next to the image."""
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay={layer_decay} must lie in (0, 1]; None lets all layers learn alike.")
    if not hasattr(model, "group_matcher"):
        raise ValueError(
            f"layer_decay={layer_decay}: {type(model).__name__} has no group_matcher() that says its layers. Give the "
            "class one, as timm's models have, or leave layer_decay out."
        )
    matcher = cast(Callable[..., object], model.group_matcher)(coarse=False)
    layers: dict[str, int] = group_parameters(model, matcher, reverse=True)
    return layers
