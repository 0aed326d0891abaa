"""What the report of every kind of task has."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ...tasks import Kind

Rows = Sequence[Sequence[object]]
"""The names of the columns, and the rows."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Of the part.
        picture: The name of a file in the report's folder.
        tables: The names of CSV files.
        shown: What is shown of them as a table in the page; empty: nothing.
    """

    title: str
    picture: str | None = None
    tables: Sequence[str] = ()
    shown: Rows = field(default=())


class TaskReport(ABC):
    """Gathers, batch by batch, what is reported of a task: in memory that does not grow with the images.

    Args:
        task: The name of the task.
        kind: Its kind.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        self.task, self.kind = task, kind

    @abstractmethod
    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            prediction: Of `Kind.predict`, on the CPU.
            target: On the CPU; what is missing is as the kind says.
        """

    @abstractmethod
    def write(self, folder: Path, stem: str) -> list[Section]:
        """Write tables and pictures.

        Args:
            folder: Where to.
            stem: What the names of the files begin with.
        """
