"""A trained model of ours to go on from, with the tasks of new data."""

from dataclasses import replace

from torch import nn

from ...models import from_pretrained, surface_of
from ...models.surface import ImageShape, NormStyle, Surface
from ...norms import TaskModule
from ...tasks import Kind, Task, make_kind
from ..optimization.gate_start import scatter_gates
from .config import TrainingConfig


def model_of_checkpoint(
    config: TrainingConfig, tasks: list[Task], image_shape: ImageShape, trust: bool = False
) -> nn.Module:
    """The checkpoint of a config: its own tasks, in their order, and after them those of the data that it lacks.

    A new task starts with fresh gates, statistics and head. (They learn faster than copies of the first task's: on
    digits, after two epochs on a frozen ResNet, 93.9-94.4% against 92.3-93.7%.) Of TSBN, whose weights and biases per
    task hold those of a pretrained trunk, it starts with the first task's.

    Args:
        config: With a `checkpoint`.
        tasks: Those of the data, with the heads that the config gives them.
        image_shape: Channels, height and width of the data's images.
        trust: As `from_pretrained` takes it.

    Raises:
        ValueError: if the checkpoint has no tasks, does not fit the images, has a task of the same name that is
            another, or cannot get a task, or its norms cannot become the config's.
        OSError: if there is no such folder or repo.
    """
    checkpoint = str(config.checkpoint)
    model = from_pretrained(checkpoint, trust=trust)
    if not isinstance(model, TaskModule):
        raise ValueError(f"checkpoint={checkpoint!r} is a plain {type(model).__name__}, without tasks.")
    surface = surface_of(model)
    known = surface.kinds()
    given, expected = image_shape[0], surface.image_shape[0]
    if given != expected:
        raise ValueError(
            f"checkpoint={checkpoint!r} takes images of {expected} channels, those of the data have {given}."
        )
    _open(surface, config)
    for task in tasks:
        if task.name not in known:
            _add(task, surface, checkpoint)
        elif task.name in config.heads:
            raise ValueError(f"heads={config.heads}: the task {task.name!r} of checkpoint={checkpoint!r} has its head.")
        else:
            _check_same(task, surface, known[task.name], checkpoint)
            _train_as(task, surface, known[task.name])
    return model


def _open(surface: Surface, config: TrainingConfig) -> None:
    """Give a model of hard sharing the task norms that the config asks for; its function stays."""
    own = "none" if surface.method is not None else surface.norm_style().norm
    if config.norm is None or (config.norm == own and not (config.model_args or config.gate_noise)):
        return
    if own != "shared":
        raise ValueError(
            f"norm={config.norm!r}: the norms of checkpoint={config.checkpoint!r} are {own!r}, and those of hard "
            "sharing alone become others. Leave out norm, method, model_args and gate_noise to go on with its own."
        )
    gated, gate_init = config.model_args.get("gated"), config.model_args.get("gate_init", 0.5)
    surface.make_norms_task_specific(NormStyle(config.norm, True, gate_init, gated))
    scatter_gates(surface.model, config.gate_noise)


def _add(task: Task, surface: Surface, checkpoint: str) -> None:
    if objection := surface.objection_to(task):
        raise ValueError(
            f"checkpoint={checkpoint!r} is a model of {surface.library}, and cannot get {task.to_dict()}: {objection}. "
            "A model of transformers can: start with one whose tasks have other kinds, or heads of their own."
        )
    of_single_tasks = surface.norm_style().norm == "affine"
    surface.add_task(task, like=surface.tasks[0] if of_single_tasks else None)


def _train_as(task: Task, surface: Surface, kind: Kind) -> None:
    """Let a task say how it is trained from now on. Thresholds that were tuned for other weights are gone."""
    described = surface.described(task.name)
    kept, new = (
        {key: value for key, value in each.kind_args.items() if (key in kind.only_for_training) == trained}
        for each, trained in ((described, False), (task, True))
    )
    surface.describe_anew(replace(described, kind_args={**kept, **new}))


def _check_same(task: Task, surface: Surface, known: Kind, checkpoint: str) -> None:
    """Refuse another task of the same name. Where one of them does not say how its classes are called, any fit."""
    given, described = make_kind(task), surface.described(task.name)
    options, wanted = (
        {key: value for key, value in each.items() if key not in (*given.taken_from_targets, *given.only_for_training)}
        for each in (described.kind_args, task.kind_args)
    )
    differ = None not in (described.labels, task.labels) and described.labels != task.labels
    if type(known) is not type(given) or known.outputs != given.outputs or differ:
        one, other = (
            f"{type(kind).__name__} of {kind.outputs} outputs{f', {kind.labels}' if differ else ''}"
            for kind in (known, given)
        )
    elif options != wanted:
        one, other = (f"{type(known).__name__} with {dict(each)}" for each in (options, wanted))
    else:
        return
    raise ValueError(
        f"The task {task.name!r} of checkpoint={checkpoint!r} is a {one}, that of the data a {other}. Under another "
        "name it is a new task."
    )
