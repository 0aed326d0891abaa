"""The columns that a task has in a CSV of predictions."""

import json
from collections.abc import Mapping

from ...tasks import Attributes, Classification, Kind, Regression, Segmentation
from ...tasks.task import Json


def columns_of(task: str, kind: Kind) -> list[str]:
    """The names of a task's columns.

    They are TASK and TASK.score of classification; TASK.LABEL with a probability for each attribute, and with the share
    of the pixels for each class of a segmentation; TASK of a regression, of several numbers TASK.0, TASK.1, …. Of any
    other kind there is one, TASK, with the description in JSON.

    Example:
        >>> from tsbn_hub.deploy.batch_prediction.columns import columns_of
        >>> from tsbn_hub.tasks import Attributes, Classification
        >>> columns_of("shape", Classification(labels=["mug", "box"]))
        ['shape', 'shape.score']
        >>> columns_of("look", Attributes(2, ["red", "new"]))
        ['look.red', 'look.new']
    """
    if isinstance(kind, Classification):
        return [task, f"{task}.score"]
    if isinstance(kind, Attributes | Segmentation):
        return [f"{task}.{kind.label(index)}" for index in range(kind.outputs)]
    if isinstance(kind, Regression) and kind.size > 1:
        return [f"{task}.{index}" for index in range(kind.size)]
    return [task]


def cells_of(task: str, kind: Kind, described: Json) -> dict[str, object]:
    """The cells of a task's columns, by their names.

    Args:
        task: Its name.
        kind: Its kind.
        described: Of `Kind.describe`.
    """
    assert isinstance(described, Mapping)
    names = columns_of(task, kind)
    if isinstance(kind, Classification):
        return dict(zip(names, (described["class"], described["score"]), strict=True))
    if isinstance(kind, Attributes | Segmentation):
        values = described["scores"] if isinstance(kind, Attributes) else described
        assert isinstance(values, Mapping)
        return {f"{task}.{kind.label(index)}": values.get(kind.label(index), 0) for index in range(kind.outputs)}
    if isinstance(kind, Regression):
        numbers = described["values"]
        assert isinstance(numbers, list)
        return dict(zip(names, numbers, strict=True))
    return {task: json.dumps(described, ensure_ascii=False)}
