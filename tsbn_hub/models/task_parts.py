"""What of a model belongs to one task, as tensors without the task's name: out of one model, into another."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..norms import TaskModule, TaskNorm
from ..tasks import Task, make_kind
from .surface import is_timm
from .timm.classifiers import TaskClassifier
from .timm.model import TimmTaskModel

NORMS, HEAD = "norms.", "head."


def has_task_heads(model: nn.Module) -> bool:
    """Whether it is a timm model with task norms, or a `TsbnForMultiTask`: what adapters are of, and for."""
    return isinstance(model, TimmTaskModel) or (isinstance(model, TaskModule) and hasattr(model, "heads"))


def described_task(model: Any, task: str) -> Task:
    """What a task of a model is."""
    row = model.task_selector.row(task)
    if isinstance(model, TimmTaskModel):
        return Task(task, num_classes=model.task_classes[row])
    described: Task = model.config.tasks[row]
    return described


def norm_options(model: Any) -> dict[str, Any]:
    """How the norms of a model are task-specific: the keywords `norm`, `keep_affine`, `gate_init` and `gated`."""
    if isinstance(model, TimmTaskModel):
        options = model.recipe.options
        gated = model.recipe.gated
        values = {"norm": options.style, "keep_affine": options.keep_affine, "gate_init": options.gate_init}
    else:
        gated = model.config.gated
        values = {name: getattr(model.config, name) for name in ("norm", "keep_affine", "gate_init")}
    return {**values, "gated": gated if gated is None or isinstance(gated, str) else list(gated)}


def build_args(model: Any) -> dict[str, Any]:
    """The further keywords that a timm model was built with, but those of its tasks."""
    if not isinstance(model, TimmTaskModel):
        return {}
    of_tasks = {*model.recipe.model_args(), "num_classes", "task_classes", "gated"}
    return {name: value for name, value in getattr(model, "_model_args", {}).items() if name not in of_tasks}


def architecture_of(model: Any) -> str:
    """The plain backbone's name, as timm or transformers has it."""
    if isinstance(model, TimmTaskModel):
        return model.recipe.architecture
    config = model.config.backbone_config
    return f"timm/{config.architecture}" if config.model_type == "timm_wrapper" else config.model_type


def task_state_dict(model: Any, task: str) -> dict[str, Tensor]:
    """The gates, statistics and head of a task, under names that do not hold the task's.

    Args:
        model: A timm model with task norms, or a `TsbnForMultiTask`.
        task: One of its tasks.

    Returns:
        `norms.<the norm>.gate_logits` (C,), its statistics, and `head.…`. They share the model's memory.

    Raises:
        ValueError: if there is no such task.
    """
    row = model.task_selector.row(task)
    tensors = {
        f"{NORMS}{name}.{entry}": getattr(norm, entry).detach()[row]
        for name, norm in _norms(model)
        for entry in norm.stacked_names()
    }
    if not isinstance(model, TimmTaskModel):
        return tensors | {f"{HEAD}{name}": tensor for name, tensor in model.head(task).state_dict().items()}
    for name, classifier in _classifiers(model):
        rows = classifier.rows(row) if isinstance(classifier, TaskClassifier) else slice(None)
        for entry, tensor in classifier.named_parameters():
            tensors[f"{HEAD}{name}.{entry}"] = tensor.detach()[rows]
    return tensors


def differences(model: Any, task: Task, tensors: Mapping[str, Tensor]) -> list[str]:
    """Why the tensors of a task do not fit a model, in words; an empty list: they fit.

    The task's head is built for that. What a task of anybody's asks for is not known: call it within `sketched`.

    Raises:
        ValueError: if there is no such kind or head, or it does not take what the task says.
    """
    if isinstance(model, TimmTaskModel):
        if task.kind != "classification" or task.head is not None or task.head_args or task.kind_args:
            return [f"the task is {task.kind} with a head of its own, and timm's models have classifiers alone"]
        if not isinstance(task.num_classes, int) or task.num_classes < 0:
            return [f"num_classes={task.num_classes!r} is no number of classes"]
    own = {
        f"{NORMS}{name}.{entry}": getattr(norm, entry)[0]
        for name, norm in _norms(model)
        for entry in norm.stacked_names()
    } | {f"{HEAD}{name}": tensor for name, tensor in _new_head(model, task).items()}
    return [
        *_some(f"it lacks {name}" for name in sorted(own.keys() - tensors.keys())),
        *_some(f"it has {name} besides" for name in sorted(tensors.keys() - own.keys())),
        *_some(
            f"{name} is {_described(tensors[name])}, and {_described(tensor)} in the model"
            for name, tensor in own.items()
            if name in tensors and _described(tensors[name]) != _described(tensor)
        ),
    ]


def _new_head(model: Any, task: Task) -> dict[str, Tensor]:
    """The tensors that the head of a task has in a model: on the meta device, where this is called on that."""
    if not isinstance(model, TimmTaskModel):
        head: nn.Module = model._new_head(task, make_kind(task)).to(dtype=next(model.parameters()).dtype)
        return head.state_dict()
    return {
        f"{name}.{entry}": torch.empty(task.num_classes or 0, *tensor.shape[1:], dtype=tensor.dtype)
        for name, classifier in _classifiers(model)
        for entry, tensor in classifier.named_parameters()
    }


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _some(differences: Iterable[str], shown: int = 3) -> list[str]:
    every = list(differences)
    return every if len(every) <= shown else [*every[:shown], f"… ({len(every)} in all)"]


@torch.no_grad()
def add_task_with(model: Any, task: Task, tensors: Mapping[str, Tensor]) -> None:
    """Add a task at the end, in place, with its gates, statistics and head.

    Args:
        model: As `task_state_dict` takes it.
        task: What it is.
        tensors: Of `task_state_dict`, without `differences`.

    Raises:
        ValueError: if the name is taken.
    """
    if isinstance(model, TimmTaskModel):
        model.add_task(task.name, num_classes=task.num_classes)
    else:
        model.add_task(task)
    for name, tensor in task_state_dict(model, task.name).items():
        tensor.copy_(tensors[name])


def trunk_sha256(model: Any) -> str:
    """A fingerprint of what the tasks of a model share: of names, types, shapes and values.

    Two models in which a task computes the same have the same one. How many batches a norm has seen does not count,
    nor what no head is reached by: a checkpoint may lack that, and then it is another one each time.
    """
    trunk = model if is_timm(model) else model.tsbn
    left_out = {f"{name}.{entry}" for name, norm in _norms(model) for entry in norm.stacked_names()}
    if is_timm(model):
        left_out |= {f"{name}.{entry}" for name, classifier in _classifiers(model) for entry in classifier.state_dict()}
    else:
        idle = {id(parameter) for parameter in trunk.reader.idle_parameters()}
        left_out |= {name for name, parameter in trunk.named_parameters() if id(parameter) in idle}
    digest = hashlib.sha256()
    for name, tensor in sorted(trunk.state_dict().items()):
        if name not in left_out and not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _norms(model: Any) -> Iterator[tuple[str, TaskNorm]]:
    trunk = model if is_timm(model) else model.tsbn
    for name, module in trunk.named_modules():
        if isinstance(module, TaskNorm):
            yield name, module


def _classifiers(model: TimmTaskModel) -> Iterator[tuple[str, nn.Module]]:
    """The classifiers that the pretrained config names. A model of one task has plain ones."""
    names = model.pretrained_cfg.get("classifier") or ()
    modules = dict(model.named_modules())
    for name in [names] if isinstance(names, str) else names:
        if isinstance(modules.get(name), TaskClassifier | nn.Linear | nn.Conv2d):
            yield name, modules[name]
