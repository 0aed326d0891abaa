"""What kinds of task share that have classes or attributes, with names."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from ..files.registry import did_you_mean
from .checks import whole_number
from .kind import Kind

K = TypeVar("K")
V = TypeVar("V")

_MOST_LISTED = 50


class LabelledKind(Kind):
    """A kind whose head has a channel for each class or attribute.

    Args:
        num_classes: The number of classes or attributes.
        labels: Their names; None: "0", "1", …

    Raises:
        ValueError: if there is no class, or the labels are not as many as the classes.
    """

    missing = -100

    def __init__(self, num_classes: int, labels: Sequence[str] | None = None) -> None:
        self.num_classes = whole_number(num_classes, "num_classes", least=1)
        self.labels = class_labels(num_classes, labels)

    @property
    def outputs(self) -> int:
        """The number of classes or attributes.

        Raises:
            ValueError: if it is not known.
        """
        if self.num_classes is None:
            raise ValueError("The number of classes is not known: give num_classes or labels.")
        return self.num_classes

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """The same classes or attributes."""
        return target

    def label(self, index: int) -> str:
        """The name of a class or attribute."""
        return str(index) if self.labels is None else self.labels[index]

    def by_label(self, values: Sequence[V]) -> dict[str, V]:
        """The values of all classes or attributes, by their names.

        Raises:
            ValueError: if they are not as many.
        """
        return {self.label(index): value for index, value in zip(range(self.outputs), values, strict=True)}


def class_labels(num_classes: int, labels: Sequence[str] | None) -> list[str]:
    """The labels as given, or "0", "1", … where there are none.

    Raises:
        ValueError: if there is no class, or the labels are not as many as the classes.

    Example:
        >>> from tsbn_hub.tasks.labels import class_labels
        >>> class_labels(3, None)
        ['0', '1', '2']
    """
    whole_number(num_classes, "num_classes", least=1)
    if labels is None:
        return [str(index) for index in range(num_classes)]
    if len(labels) != num_classes:
        raise ValueError(f"num_classes={num_classes}, but there are {len(labels)} labels: {list(labels)}.")
    return list(labels)


def in_order(name: str, given: Mapping[K, V], labels: Sequence[str] | None) -> list[V]:
    """Values by label, as a list in the order of the labels.

    Args:
        name: What they are, for messages.
        given: By label, one for each. A label that is a number may be given as one.
        labels: In order; None: they are not known.

    Raises:
        ValueError: if a label is unknown or missing, or there are none.

    Example:
        >>> from tsbn_hub.tasks.labels import in_order
        >>> in_order("class_weights", {"dog": 3.0, "cat": 1.0}, ["cat", "dog"])
        [1.0, 3.0]
        >>> in_order("class_weights", {"dgo": 3.0, "cat": 1.0}, ["cat", "dog"])
        Traceback (most recent call last):
        ValueError: class_weights has no label 'dgo'. Did you mean 'dog'? The labels are cat, dog.
    """
    if labels is None:
        raise ValueError(f"{name}={dict(given)} is by label, and the task has no labels: give them, or a list.")
    known, by_label = list(labels), {str(label): value for label, value in given.items()}
    more = ", …" if len(known) > _MOST_LISTED else ""
    listed = f"The labels are {', '.join(known[:_MOST_LISTED])}{more}."
    for label in by_label:
        if label not in known:
            hint = " YAML reads yes and no as true and false: write 'yes'." if label in ("True", "False") else ""
            raise ValueError(f"{name} has no label {label!r}.{did_you_mean(label, known)}{hint} {listed}")
    missing = [label for label in known if label not in by_label]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}: give a value for each label. {listed}")
    return [by_label[label] for label in known]
