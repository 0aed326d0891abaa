"""What a data set says of its tasks, and what it yields."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from torch import Tensor

from ..tasks import Task
from .images import check_image


def tasks_of(data: Any) -> list[Task]:
    """The tasks of a data set: its `tasks`, or `num_classes = {task: number}` where all are classification.

    Args:
        data: A data set, or its class.

    Raises:
        ValueError: if it says neither.

    Example:
        >>> from tsbn_hub.data import MultiDigits, Scenes, tasks_of
        >>> [task.name for task in tasks_of(MultiDigits)], [task.kind for task in tasks_of(Scenes)]
        (['left', 'right'], ['segmentation', 'depth', 'normals', 'edges'])
    """
    tasks, num_classes = getattr(data, "tasks", None), getattr(data, "num_classes", None)
    if isinstance(tasks, Sequence) and tasks and all(isinstance(task, Task) for task in tasks):
        return list(tasks)
    if isinstance(num_classes, Mapping) and num_classes:
        return [Task(name, num_classes=number) for name, number in num_classes.items()]
    raise ValueError(
        f"{type(data).__name__} must say its tasks: tasks = [Task(…), …], or, of classification, num_classes = "
        "{task: number}."
    )


class Sample(TypedDict):
    """What every data set yields: an image, and the targets that it has (a missing one is absent).

    The image is (C, H, W): uint8, or floating-point numbers from 0 to 1.
    """

    image: Tensor
    targets: dict[str, Tensor]


def check_sample(sample: object, finite: bool = True) -> None:
    """Raise ValueError unless this is a sample, with an image as `check_image` wants it.

    Args:
        sample: What a data set has yielded.
        finite: Refuse an image with values that are NaN or infinite.
    """
    if not isinstance(sample, Mapping) or not {"image", "targets"} <= sample.keys():
        given = f"has the keys {list(sample)}" if isinstance(sample, Mapping) else f"is a {type(sample).__name__}"
        raise ValueError(f"A sample {given}; expected is {{'image': (C, H, W), 'targets': {{task: …}}}}.")
    if not isinstance(sample["targets"], Mapping):
        raise ValueError(f"The targets of a sample are a {type(sample['targets']).__name__}, no dict by task.")
    check_image(sample["image"], finite)


class Batch(TypedDict):
    """Samples, stacked: images (B, C, H, W), and the targets of the tasks that at least one sample has a target for.

    Images are floating-point numbers, which the model takes as they are, or bytes (uint8), which are divided by 255.
    """

    image: Tensor
    targets: dict[str, Tensor]
