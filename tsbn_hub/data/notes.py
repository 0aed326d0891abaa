"""What a data set may say of itself to those who run it: of its columns, its broken files, the shape of its images."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnNote:
    """What became of a column of a table.

    Args:
        column: Its name.
        role: "image", the kind of its task, or "left out".
        told: What the task has, or why there is none.
        examples: Some of its cells.
    """

    column: str
    role: str
    told: str
    examples: tuple[str, ...] = ()


def column_notes_of(datasets: Iterable[object]) -> list[ColumnNote]:
    """What became of the columns of all tables among data sets, by their attribute `column_notes`."""
    return list(dict.fromkeys(note for data in datasets for note in getattr(data, "column_notes", ())))


def broken_files_of(datasets: Iterable[object]) -> dict[str, str]:
    """The files that data sets lack, or cannot read, each with the reason, by their attribute `broken_files`."""
    return {path: reason for data in datasets for path, reason in getattr(data, "broken_files", {}).items()}


def image_fit_of(datasets: Iterable[object]) -> str | None:
    """How data sets made their images one size, by their attribute `image_fit`; None: they do not say, or differ.

    Returns:
        "stretch": without regard to their shape. "crop": their middle.

    Example:
        >>> from tsbn_hub.data import MultiDigits
        >>> from tsbn_hub.data.notes import image_fit_of
        >>> image_fit_of([MultiDigits("test")]) is None
        True
    """
    ways = {getattr(data, "image_fit", None) for data in datasets}
    return ways.pop() if len(ways) == 1 else None
