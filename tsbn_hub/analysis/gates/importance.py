"""The task-filter importance matrix: which filter each task uses."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...norms import TaskModule, TaskNorm, unwrapped


@dataclass(frozen=True)
class Importance:
    """What the gates of a model say.

    Args:
        matrix: (T, F), in (0, 1): the gate of each task and filter.
        tasks: Names of the rows.
        layers: Names of the gated norms, in the order of the network, and their columns.
    """

    matrix: Tensor
    tasks: list[str]
    layers: dict[str, slice]


def importance_matrix(model: nn.Module) -> Importance:
    r"""The matrix :math:`I[t, i] = \sigma(a_t)[i]` over all filters i of all gated norms.

    Args:
        model: A model with gates, or what is wrapped around it.

    Returns:
        The matrix (T, F), float32 on the CPU, with the names of its rows and columns.

    Raises:
        ValueError: if the model has no gates.

    Example:
        >>> import timm, tsbn_hub
        >>> importance = tsbn_hub.importance_matrix(timm.create_model("test_resnet_tsbn", tasks=["left", "right"]))
        >>> importance.matrix.shape[0], list(importance.layers)[0], importance.matrix.unique()
        (2, 'conv1.1', tensor([0.5000]))

    Source: arXiv 2512.20420, section 4 (task-filter importance).
    """
    model = unwrapped(model)
    norms = {
        name: norm
        for name, norm in model.named_modules()
        if isinstance(norm, TaskNorm) and norm.gate_logits is not None
    }
    if not norms or not isinstance(model, TaskModule):
        raise ValueError(f"{type(model).__name__} has no gates: only norm='sigmoid' (TSσBN) has.")
    gates = {name: norm.gates.detach().float().cpu() for name, norm in norms.items()}
    layers, start = {}, 0
    for name, gate in gates.items():
        layers[name] = slice(start, start + gate.shape[1])
        start += gate.shape[1]
    return Importance(torch.cat(list(gates.values()), dim=1), model.tasks, layers)
