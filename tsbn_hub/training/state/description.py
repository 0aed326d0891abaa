"""What a run's data and model say of themselves: a state is for these alone, and all processes must see the same."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from ...data import Mixture
from ...models.surface import ImageShape
from ...tasks import Task
from ..recipe.target_options import TargetOptions

Description = dict[str, Any]
"""Plain values, by what they are of."""

_SHORT, _SHOWN = 10, 200


OPTIONS = "taken from the targets"


def describe(
    data: Mixture, tasks: Sequence[str], image_shape: ImageShape, rows: Sequence[str], options: TargetOptions
) -> Description:
    """What the training data and the model say.

    Args:
        data: The training data, with what is held out.
        tasks: The names of those that are trained, in order.
        image_shape: Of the data's first image.
        rows: All tasks of the model, in the order of its rows.
        options: What the kinds of the tasks have taken from the training targets.
    """
    return _plain(
        {
            "tasks of the model": list(rows),
            "tasks": list(tasks),
            OPTIONS: options,
            **_by_name(task for task in data.tasks if task.name in tasks),
            "image": list(image_shape),
            "samples": [[type(part).__name__, size] for part, size in zip(data.datasets, data.sizes, strict=True)],
        }
    )


def _by_name(tasks: Iterable[Task]) -> Description:
    return {f"task {task.name!r}": task.to_dict() for task in tasks}


def _plain(described: Description) -> Description:
    """As JSON has it, for a state holds nothing else: numbers of numpy become text."""
    plain: Description = json.loads(json.dumps(described, default=str))
    return plain


def differences(theirs: Description, ours: Description) -> list[str]:
    """What differs between two descriptions, as "name: theirs, here ours". Of long lists, where they first differ."""
    return list(_differences(theirs, ours, ""))


def _differences(theirs: object, ours: object, where: str) -> Iterator[str]:
    if theirs == ours:
        return
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in dict.fromkeys([*ours, *theirs]):
            yield from _differences(theirs.get(name), ours.get(name), f"{where} {name}".strip())
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours) > _SHORT:
        index = next(index for index, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        yield from _differences(theirs[index], ours[index], f"{where}[{index}]")
    else:
        yield f"{where}: {str(theirs)[:_SHOWN]}, here {str(ours)[:_SHOWN]}"


def agreed_order(tasks: list[str], earlier: object) -> list[str]:
    """The order of the data's tasks in this run: data that name them from a set have another one in each process.

    Args:
        tasks: As this process's data name them.
        earlier: The tasks of the state that the run goes on from, in order; None: it starts.

    Returns:
        The order of that state, else that of the main process, if the names are the same; else the tasks as they are.
    """
    (order,) = broadcast_object_list([earlier if _same_names(earlier, tasks) else tasks])
    return list(order) if _same_names(order, tasks) else tasks


def _same_names(names: object, tasks: list[str]) -> bool:
    return isinstance(names, list) and sorted(map(str, names)) == sorted(tasks)


def check_agreement(description: Description) -> None:
    """Refuse, on every process, data that are not the same on all.

    Raises:
        ValueError: if they differ; it names the process and what differs.
    """
    first, *others = gather_object([description])
    for process, other in enumerate(others, 1):
        if found := differences(first, other):
            raise ValueError(f"Process {process} has other data than process 0 ({'; '.join(found)}).")
