"""The names of classes and attributes."""

from collections.abc import Sequence


def class_labels(num_classes: int, labels: Sequence[str] | None) -> list[str]:
    """The labels as given, or "0", "1", … where there are none.

    Raises:
        ValueError: if there is no class, or the labels are not as many as the classes.

    Example:
        >>> from tsbn_hub.tasks.labels import class_labels
        >>> class_labels(3, None)
        ['0', '1', '2']
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} must be at least 1.")
    if labels is None:
        return [str(index) for index in range(num_classes)]
    if len(labels) != num_classes:
        raise ValueError(f"num_classes={num_classes}, but there are {len(labels)} labels: {list(labels)}.")
    return list(labels)
