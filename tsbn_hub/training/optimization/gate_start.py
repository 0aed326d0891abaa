"""Gates that differ between channels and tasks from the start."""

import torch
from torch import nn

from ...norms import TaskNorm


@torch.no_grad()
def scatter_gates(model: nn.Module, std: float) -> None:
    r"""Add normal noise to the gate logits of a model, in place: :math:`a \leftarrow a + s \epsilon`.

    With `gate_init=0.5`, whose logit is 0, and a standard deviation of 1 this is the start N(0, 1) of the paper that
    the gate is from. The tasks then differ before the first step, and the function of pretrained weights is not kept.
    Norms of other styles stay as they are.

    Args:
        model: A model with task norms, or what holds one. The draws come from torch's global generator.
        std: The standard deviation s of the noise, in logits, at least 0. With 0 nothing is drawn.

    Raises:
        ValueError: if it is negative or not finite.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.training.optimization import scatter_gates
        >>> _ = torch.manual_seed(0)
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> scatter_gates(model, std=1.0)
        >>> logits = tsbn_hub.importance_matrix(model).matrix.logit()
        >>> round(logits.mean().item(), 2), round(logits.std().item(), 2)
        (-0.01, 0.98)

    Source: Suteu and Guo, arXiv 2204.06404. There one task has gates; here each task has draws of its own.
    """
    if not 0 <= std < float("inf"):
        raise ValueError(f"std={std} must be at least 0, and finite.")
    if std == 0:
        return
    for module in model.modules():
        if isinstance(module, TaskNorm) and module.gate_logits is not None:
            # Drawn on the CPU, as weights are: the same numbers on every device.
            noise = torch.randn(module.gate_logits.shape) * std
            module.gate_logits.add_(noise.to(module.gate_logits))
