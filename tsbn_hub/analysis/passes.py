"""How many passes of one task a forward for all tasks costs, where what is before the fork is computed once."""

from functools import partial

import torch
from torch import nn

from ..models import surface_of
from ..models.outputs import outputs_by_task
from ..norms import TaskNorm
from ..norms.execution.operations import OperationCounter

PARTS = (1, 1 / 2, 1 / 3, 1 / 4)
"""Of the gated norms, in the order in which they run."""


@torch.no_grad()
def passes_by_fork(model: nn.Module) -> dict[str, float]:
    """How many passes all tasks cost, in floating-point operations, by the norm that the gates begin at.

    The first entry is the model as it is. The others say what a narrower `gated` would cost: gates in the last half,
    third and quarter of the norms that are gated.

    Args:
        model: Of timm, or a `TsbnForMultiTask`. It is put into evaluation mode.

    Returns:
        By the name of the first gated norm: from 1 to the number of tasks. Empty where there is one task, or no gate.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.analysis import passes_by_fork
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"], num_classes=10)
        >>> {norm: round(passes, 2) for norm, passes in passes_by_fork(model).items()}
        {'conv1.1': 1.97, 'layer2.0.downsample.2': 1.11, 'layer3.0.bn3': 1.07, 'layer3.0.downsample.2': 1.07}
    """
    surface = surface_of(model)
    model = surface.model.eval()
    norms = {name: norm for name, norm in model.named_modules() if isinstance(norm, TaskNorm)}
    if len(surface.tasks) < 2 or not norms:
        return {}
    before: dict[str, int] = {}
    parameter = next(model.parameters())
    image = torch.zeros(1, *surface.image_shape, device=parameter.device, dtype=parameter.dtype)
    with OperationCounter() as counter:

        def note(name: str, *_: object) -> None:
            before.setdefault(name, counter.get_total_flops())

        hooks = [norm.register_forward_pre_hook(partial(note, name)) for name, norm in norms.items()]
        try:
            outputs_by_task(model, image, surface.tasks[:1])
        finally:
            for hook in hooks:
                hook.remove()
    names, total, tasks = list(before), counter.get_total_flops(), len(surface.tasks)
    forks = dict.fromkeys(names[len(names) - max(1, round(part * len(names)))] for part in PARTS)
    return {name: (before[name] + tasks * (total - before[name])) / total for name in forks}
