"""What a model and each of its tasks cost: parameters, buffers, FLOPs."""

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich import box
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models import surface_of
from ..models.outputs import outputs_by_task
from ..models.surface import Surface
from ..norms import TaskModule
from ..norms.execution.operations import OperationCounter
from ..tasks import Kind, Task
from .passes import passes_by_fork


@dataclass(frozen=True)
class TaskCost:
    """What a task costs.

    Args:
        name: Its name.
        kind: Its kind.
        classes: The number of classes or attributes; None where there are none.
        head: Its head, and the head's keywords.
        head_parameters: Numbers that are trained, of its head.
        norm_parameters: Of its norms: gates, or weights and biases; with another method, of all that it has of its own
            in the trunk.
        buffers: Numbers that are saved and not trained: its statistics, and buffers of its head.
        flops: Of this task alone, for one image.
    """

    name: str
    kind: str
    classes: int | None
    head: str
    head_parameters: int
    norm_parameters: int
    buffers: int
    flops: int


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Args:
        image_shape: Channels, height and width of the image that FLOPs are counted for.
        tasks: The tasks, in order.
        shared_parameters: Numbers that are trained, of all tasks together.
        shared_buffers: Numbers that are saved and not trained, of all tasks together.
        parameters: All of them: the shared ones and the tasks'.
        buffers: The same.
        flops: Of all tasks, in one call of the model, for one image, one task after another.
        passes: How many passes of one task they cost where what is before the fork is computed once: see
            `passes_by_fork`.
    """

    image_shape: tuple[int, int, int]
    tasks: list[TaskCost]
    shared_parameters: int
    shared_buffers: int
    parameters: int
    buffers: int
    flops: int
    passes: dict[str, float]

    @property
    def batched_flops(self) -> float:
        """Of all tasks, in one call for one image, where what is before the fork is computed once."""
        return self.flops * (next(iter(self.passes.values())) / len(self.tasks) if self.passes else 1.0)


def model_cost(model: nn.Module) -> Cost:
    """What a model and each of its tasks cost.

    FLOPs are those of convolutions, matrix products and attention, a multiplication and an addition being two. Norms,
    activations and interpolations are not counted: they are few, and cost memory traffic, not arithmetic.

    Args:
        model: Of timm, or a `TsbnForMultiTask`. It is put into evaluation mode.

    Returns:
        The cost, for one image of the model's size.

    Raises:
        ValueError: if the model has no heads.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.analysis import model_cost
        >>> cost = model_cost(timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}))
        >>> [(task.name, task.head_parameters, task.norm_parameters) for task in cost.tasks]
        [('gender', 194, 1040), ('age', 776, 1040)]
        >>> cost.image_shape, cost.flops == sum(task.flops for task in cost.tasks)
        ((3, 160, 160), True)

    Source: `torch.utils.flop_counter` counts the FLOPs.
    """
    surface = surface_of(model)
    model = surface.model
    kinds, shape = surface.kinds(), surface.image_shape
    counted: dict[Hashable, int] = {}
    tasks = [_task_cost(surface, row, name, kind, counted) for row, (name, kind) in enumerate(kinds.items())]
    parameters, buffers = _size(model.parameters()), _size(_saved_buffers(model))
    return Cost(
        shape,
        tasks,
        parameters - sum(task.head_parameters + task.norm_parameters for task in tasks),
        buffers - sum(task.buffers for task in tasks),
        parameters,
        buffers,
        _flops(model, shape, list(kinds)),
        passes_by_fork(model),
    )


def cost_table(cost: Cost) -> Table:
    """The cost as a table with a row a task; what they share, and all together, is below it."""
    channels, height, width = cost.image_shape
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left", caption_style="")
    for column in ("task", "kind", "head"):
        table.add_column(column, overflow="fold")
    for column in ("head's\nparameters", "norms'\nparameters", "% of\nshared", "buffers", "GFLOPs"):
        table.add_column(column, justify="right", no_wrap=True)
    for task in cost.tasks:
        table.add_row(
            task.name,
            task.kind if task.classes is None else f"{task.kind} ({task.classes})",
            task.head,
            f"{task.head_parameters:,}",
            f"{task.norm_parameters:,}",
            f"{task.norm_parameters / max(cost.shared_parameters, 1):.2%}",
            f"{task.buffers:,}",
            f"{task.flops / 1e9:.4g}",
        )
    shape, gigaflops = f"{channels}x{height}x{width}", f"{cost.flops / 1e9:.4g}"
    table.caption = (
        f"Shared: {cost.shared_parameters:,} parameters, {cost.shared_buffers:,} buffers.\n"
        f"Together: {cost.parameters:,} parameters, {cost.buffers:,} buffers, {gigaflops} GFLOPs in one call.\n"
        f"FLOPs of convolutions, matrix products and attention (not of norms, activations) for one image of {shape}."
    )
    if cost.passes:
        (fork, passes), *narrower = cost.passes.items()
        table.caption += (
            f"\nBatched, {len(cost.tasks)} tasks cost {passes:.2f} passes of one: what is before {fork}, the first "
            "gate, is computed once."
        )
        if narrower:
            others = ", ".join(f"{name} {passes:.2f}" for name, passes in narrower)
            table.caption += f" With a narrower gated=, by the first gated norm: {others}."
    return table


def _task_cost(surface: Surface, row: int, name: str, kind: Kind, counted: dict[Hashable, int]) -> TaskCost:
    """What a task costs; `counted` holds the FLOPs of tasks before it that have the same head."""
    described = surface.described(name) if surface.tasks else Task(name, num_classes=kind.num_classes)
    head = [described.head or kind.head, *(f"{key}={value}" for key, value in described.head_args.items())]
    head_parameters = _size(surface.head_parameters(name))
    head_buffers = _size(surface.head_state(name).values()) - head_parameters
    norm_parameters, statistics = _of_task_in_trunk(surface, row, name)
    # Tasks with one trunk and one kind of head cost the same. A trunk may also have a part for each task.
    like = (name if _own_modules(surface, name) else None, *head, kind.outputs, kind.dense)
    if like not in counted:
        counted[like] = _flops(surface.model, surface.image_shape, [name])
    return TaskCost(
        name,
        described.kind,
        kind.num_classes,
        " ".join(head),
        head_parameters,
        _size(norm_parameters),
        _size(statistics) + head_buffers,
        counted[like],
    )


def _of_task_in_trunk(surface: Surface, row: int, task: str) -> tuple[list[Tensor], list[Tensor]]:
    """A task's parameters and saved buffers in the trunk: rows of its norms, and modules that no other task has."""
    parameters: list[Tensor] = []
    buffers: list[Tensor] = []
    for norm in surface.task_norms().values():
        for name in norm.stacked_names():
            (parameters if name in norm._parameters else buffers).append(getattr(norm, name)[norm.rows(row)])
    for module in _own_modules(surface, task):
        parameters += module.parameters()
        buffers += _saved_buffers(module)
    return parameters, buffers


def _own_modules(surface: Surface, task: str) -> list[nn.Module]:
    """The modules of the trunk that no other task has."""
    return list(surface.trunk.modules_of(task)) if isinstance(surface.trunk, TaskModule) else []


def _saved_buffers(module: nn.Module) -> list[Tensor]:
    saved = module.state_dict().keys()
    return [buffer for name, buffer in module.named_buffers() if name in saved]


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


@torch.no_grad()
def _flops(model: nn.Module, shape: tuple[int, int, int], tasks: list[str]) -> int:
    parameter = next(model.parameters())
    image = torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype)
    # torch counts attention by the kernel that runs, and not each kernel: that of plain matrix products it does.
    with sdpa_kernel(SDPBackend.MATH), _one_after_another(model), OperationCounter() as counter:
        outputs_by_task(model.eval(), image, tasks)
    return counter.get_total_flops()


@contextmanager
def _one_after_another(model: nn.Module) -> Iterator[None]:
    """Within the block, a forward for all tasks costs a pass for each, however the model is run elsewhere."""
    if not isinstance(model, TaskModule):
        yield
        return
    execution, model.execution = model.execution, "sequential"
    try:
        yield
    finally:
        model.execution = execution
