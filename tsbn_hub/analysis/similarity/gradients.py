"""Whether the gradients of tasks point the same way in what the tasks share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...data.images import as_input
from ...data.sample import Batch
from ...models.outputs import outputs_by_task
from ...norms import unwrapped
from ...tasks import Kind
from ...training.optimization import parameters_of_single_tasks
from .cosines import TaskCosines

_MOST_NUMBERS = 2**28  # of the gradients that are held at once: 1 GiB in float32


def gradient_cosines(model: nn.Module, batches: Sequence[Batch], kinds: Mapping[str, Kind]) -> TaskCosines:
    """The cosines of the tasks' gradients, in each layer's parameters that the tasks share.

    Below 0 two tasks conflict: a step for the one makes the other worse. The gradients are those of a training step:
    BatchNorms take the statistics of the batch, and dropout draws the same for every task. Gates and heads, which are
    of single tasks, are left out. Model, statistics, `.grad` and random generators are as before afterwards.

    It holds the gradients of all tasks for as many parameters as take 1 GiB, and passes through the network once for
    each task, batch and such part of the parameters.

    Args:
        model: Returns a dict by task, or what is wrapped around it.
        batches: Of one step, `{"image": (B, C, H, W), "targets": {task: …}}`, on the device of the model; images are
            prepared, or bytes. The loss of a task is the mean over its targets in all of them.
        kinds: The kind of each task that is compared, two or more.

    Returns:
        The cosines, (T, T) on the CPU: over all shared parameters, and by the module that holds them.

    Raises:
        ValueError: if there is one task, a task has no target, or no shared parameter is trainable.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from tsbn_hub.analysis import gradient_cosines
        >>> from tsbn_hub.tasks import Classification
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 10}, norm="shared")
        >>> batch = {"image": torch.rand(8, 3, 64, 64), "targets": {"left": torch.arange(8), "right": torch.arange(8)}}
        >>> cosines = gradient_cosines(model, [batch], {"left": Classification(10), "right": Classification(10)})
        >>> cosines.matrix.shape, list(cosines.layers)[:2]
        (torch.Size([2, 2]), ['conv1.0', 'conv1.1'])

    Source: arXiv 2001.06782 (PCGrad), definition 1: gradients conflict where their cosine is negative.
    """
    model = unwrapped(model)
    if len(kinds) < 2:
        raise ValueError(f"{list(kinds)}: cosines are of two tasks or more.")
    counts = {name: sum(_count(kind, batch, name) for batch in batches) for name, kind in kinds.items()}
    if without := [name for name, count in counts.items() if not count]:
        raise ValueError(f"The batches have no target of {without}: give more of them, or leave these tasks out.")
    of_single_tasks = {id(parameter) for parameter in parameters_of_single_tasks(model)}
    shared = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in of_single_tasks
    }
    if not shared:
        raise ValueError("No trainable parameter is shared by the tasks.")
    products: dict[str, Tensor] = {}
    with _as_it_was(model):
        for part in _parts(shared, _MOST_NUMBERS // len(kinds)):
            rows = [
                _gradients(model, batches, name, kind, counts[name], list(part.values()))
                for name, kind in kinds.items()
            ]
            for name, gradients in zip(part, zip(*rows, strict=True), strict=True):
                layer = name.rpartition(".")[0] or name
                stacked = torch.stack(gradients).flatten(1).cpu().double()
                products[layer] = products.get(layer, 0) + stacked @ stacked.T
    return TaskCosines.of_products(list(kinds), products)


def _count(kind: Kind, batch: Batch, task: str) -> int:
    return int(kind.count(batch["targets"][task])) if task in batch["targets"] else 0


def _parts(parameters: Mapping[str, nn.Parameter], most: int) -> Iterator[dict[str, nn.Parameter]]:
    """Parameters in groups of at most so many numbers, or of a single one that has more."""
    part: dict[str, nn.Parameter] = {}
    for name, parameter in parameters.items():
        if part and sum(each.numel() for each in part.values()) + parameter.numel() > most:
            yield part
            part = {}
        part[name] = parameter
    yield part


def _gradients(
    model: nn.Module, batches: Sequence[Batch], task: str, kind: Kind, count: int, parameters: list[nn.Parameter]
) -> list[Tensor]:
    """The gradient of a task's loss, the mean over all targets, for each of these parameters."""
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    torch.manual_seed(0)  # the same dropout for each task
    for batch in batches:
        if not (here := _count(kind, batch, task)):
            continue
        output = outputs_by_task(model, as_input(batch["image"], model), [task])[task]
        loss = kind.loss(output, batch["targets"][task]) * (here / count)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = [total if each is None else total + each for total, each in zip(gradients, found, strict=True)]
    return gradients


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Within the block a model is in training mode; after it, modes, buffers and random generators are as before."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    devices = {buffer.device for buffer in model.parameters() if buffer.device.type == "cuda"}
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices):
            model.train()
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
        for module, mode in modes.items():
            module.training = mode
