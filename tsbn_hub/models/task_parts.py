"""What of a model belongs to one task, as tensors without the task's name: out of one model, into another."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..norms.merging import refuse_to_save
from ..tasks import Task
from .surface import Surface

NORMS, HEAD = "norms.", "head."


def task_state_dict(surface: Surface, task: str) -> dict[str, Tensor]:
    """The gates, statistics and head of a task, under names that do not hold the task's.

    Args:
        surface: Of a model that can part with its tasks.
        task: One of them.

    Returns:
        `norms.<the norm>.gate_logits` (C,), its statistics, and `head.…`. They share the model's memory.

    Raises:
        ValueError: if there is no such task.
        RuntimeError: if there are layers of PEFT in the model that are not merged, or quantized ones.
    """
    refuse_to_save(surface.model, "taking out a task")
    if task not in surface.tasks:
        raise ValueError(f"Unknown task {task!r}. The tasks of this model are {surface.tasks}.")
    return _entries(surface, surface.tasks.index(task), surface.head_state(task))


def differences(surface: Surface, task: Task, tensors: Mapping[str, Tensor]) -> list[str]:
    """Why the tensors of a task do not fit a model, in words; an empty list: they fit.

    The task's head is built for that. What a task of anybody's asks for is not known: call it within `sketched`.

    Raises:
        ValueError: if there is no such kind or head, or it does not take what the task says.
    """
    if objection := surface.objection_to(task):
        return [objection]
    needed = _entries(surface, 0, surface.new_head_state(task))
    return [
        *_some(f"it lacks {name}" for name in sorted(needed.keys() - tensors.keys())),
        *_some(f"it has {name} besides" for name in sorted(tensors.keys() - needed.keys())),
        *_some(
            f"{name} is {_described(tensors[name])}, and {_described(tensor)} in the model"
            for name, tensor in needed.items()
            if name in tensors and _described(tensors[name]) != _described(tensor)
        ),
    ]


@torch.no_grad()
def add_task_with(surface: Surface, task: Task, tensors: Mapping[str, Tensor]) -> None:
    """Add a task at the end, in place, with its gates, statistics and head.

    Args:
        surface: Of the model.
        task: What it is.
        tensors: Of `task_state_dict`, without `differences`.

    Raises:
        ValueError: if the name is taken.
    """
    surface.add_task(task)
    for name, tensor in task_state_dict(surface, task.name).items():
        tensor.copy_(tensors[name])


def trunk_sha256(surface: Surface) -> str:
    """A fingerprint of what the tasks of a model share: of names, types, shapes and values.

    Two models in which a task computes the same have the same one. How many batches a norm has seen does not count,
    nor what no head is reached by: a checkpoint may lack that, and then it is another one each time.
    """
    norms = surface.task_norms().items()
    left_out = {f"{name}.{entry}" for name, norm in norms for entry in norm.stacked_names()}
    left_out |= surface.names_outside_fingerprint()
    digest = hashlib.sha256()
    for name, tensor in sorted(surface.trunk.state_dict().items()):
        if name not in left_out and not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _entries(surface: Surface, row: int, head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A row of every norm, and the tensors of a head."""
    rows = {
        f"{NORMS}{name}.{entry}": getattr(norm, entry).detach()[row]
        for name, norm in surface.task_norms().items()
        for entry in norm.stacked_names()
    }
    return rows | {f"{HEAD}{name}": tensor for name, tensor in head.items()}


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _some(differences: Iterable[str], shown: int = 3) -> list[str]:
    every = list(differences)
    return every if len(every) <= shown else [*every[:shown], f"… ({len(every)} in all)"]
