"""What is to be learned, as data: a task's name, kind, classes and head."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..norms.task_names import check_task_name

Json: TypeAlias = "str | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""A plain value that JSON can hold."""


@dataclass(frozen=True)
class Task:
    """A task of a data set or model. It holds plain values alone, and is written into configs.

    Args:
        name: Not empty, without a dot.
        kind: What its targets are: "classification", "attributes", "regression", "segmentation", "depth",
            "disparity", "normals", "edges", "saliency", or another that is registered (see
            `tsbn_hub.tasks.register_kind`).
        num_classes: The number of classes, or of attributes, of a kind that has them; None: as many as `labels`.
        labels: Their names.
        head: The head, of `tsbn_hub.models.heads`; None: the kind's default.
        head_args: Further keywords of the head.
        kind_args: Further keywords of the kind.

    Raises:
        ValueError: if the name is not allowed, or the labels are not as many as the classes, or repeated.

    Example:
        >>> from tsbn_hub import Task
        >>> Task("seg", kind="segmentation", labels=["floor", "wall", "chair"]).num_classes
        3
    """

    name: str
    kind: str = "classification"
    num_classes: int | None = None
    labels: Sequence[str] | None = None
    head: str | None = None
    head_args: Mapping[str, Json] = field(default_factory=dict)
    kind_args: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_task_name(self.name)
        if self.labels is None:
            return
        labels = list(self.labels)
        repeated = [label for label, times in Counter(labels).items() if times > 1]
        if repeated:
            raise ValueError(f"Task {self.name!r} has labels that are repeated: {repeated[:10]}.")
        if self.num_classes not in (None, len(labels)):
            given = f"{len(labels)} labels: {labels[:10]}"
            raise ValueError(f"Task {self.name!r} has num_classes={self.num_classes}, but {given}.")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "num_classes", len(labels))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The task that `to_dict` wrote.

        Raises:
            ValueError: if a key is unknown, or there is no name.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown or "name" not in values:
            what = f"unknown are {unknown}" if unknown else "it has no name"
            raise ValueError(f"{dict(values)} is no task: {what}. Known: {known}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """What is not the default, as plain values for JSON or YAML."""
        defaults = Task(self.name)
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name == "name" or value != getattr(defaults, name)}
