"""What kinds of task take from the training targets, as the units of a regression, before there is a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...data import Draw, Mixture, SeededSamples
from ...data.sample import check_sample
from ...models.surface import Surface
from ...tasks import Kind, Task, make_kind
from ...tasks.task import Json

TargetOptions = dict[str, dict[str, Json]]
"""Keywords of a task's kind, by the task's name."""

_MOST_SAMPLES = 1000


def options_from_targets(kinds: Mapping[str, Kind], data: Mixture) -> TargetOptions:
    """What the kinds of the tasks take from the training targets, read from at most 1,000 samples, evenly spread.

    Args:
        kinds: The kind of each task that is trained.
        data: The training data, without what is held out. Nothing is read if no kind takes anything.

    Returns:
        The keywords, for the tasks that have any.
    """
    taking = {name: kind for name, kind in kinds.items() if kind.taken_from_targets}
    if not taking:
        return {}
    targets: dict[str, list[Tensor]] = {name: [] for name in taking}
    samples = SeededSamples(data, check_sample)  # an error names the sample
    for index in range(0, len(data), -(-len(data) // _MOST_SAMPLES)):
        given = samples[Draw(index, 0)]["targets"]
        for name in taking:
            if name in given:
                targets[name].append(torch.as_tensor(given[name]))
    found = {name: kind.options_from(targets[name]) for name, kind in taking.items()}
    return {name: options for name, options in found.items() if options}


def with_options(tasks: Sequence[Task], options: Mapping[str, Mapping[str, Json]]) -> list[Task]:
    """The tasks, with further keywords of their kinds."""
    return [replace(task, kind_args={**task.kind_args, **options.get(task.name, {})}) for task in tasks]


def with_options_of(surface: Surface, tasks: Sequence[Task]) -> list[Task]:
    """The tasks, with what the kinds of a model's tasks took from the data that they were trained and validated on."""
    own = {task.name: surface.described(task.name).kind_args for task in tasks if task.name in surface.tasks}
    kinds = {task.name: make_kind(task) for task in tasks}
    taken = {name: (*kind.taken_from_targets, *kind.taken_from_validation) for name, kind in kinds.items()}
    options = {name: {key: value for key, value in each.items() if key in taken[name]} for name, each in own.items()}
    return with_options(tasks, options)
