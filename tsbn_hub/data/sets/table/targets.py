"""What the cells of a column are as targets of its task."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ....tasks import Kind, Task, make_kind
from .fitting import Fit
from .maps import read_array, target_of
from .rows import Codes, Files, Pictures, Rows

_SHOWN = 5

Reader = Callable[[int, tuple[int, int]], Tensor | None]
"""From a row, and the width and height of its picture, to the row's target; None: it has none."""


@dataclass(frozen=True)
class OfTexts:
    """Targets that are written in the cells.

    Args:
        column: Its name.
        task: Of the column.
        values_of: The target of each distinct text, NaN where it stands for none; None: it can be no target.
        expected: What the texts should be, for messages.
        dtype: Of a target.
        shape: Of a target.
    """

    column: str
    task: Task
    values_of: Callable[[list[str]], list[float | None]]
    expected: str
    dtype: torch.dtype
    shape: tuple[int, ...] = (1,)

    def pictures(self, rows: Rows) -> None:
        """None."""

    def reader(self, rows: Rows, fit: Fit) -> Reader:
        """What reads the targets of a table's rows; none has one where the table lacks the column.

        Raises:
            ValueError: if a cell can be no target; it names the first ones.
        """
        column = rows.columns.get(self.column)
        if column is None:
            return _no_target
        values = self.values_of(column.values)
        wrong = [text for text, value in zip(column.values, values, strict=True) if value is None]
        if wrong:
            counts = dict(zip(column.values, column.counts().tolist(), strict=True))
            cells = sum(counts[text] for text in wrong)
            shown = ", ".join(repr(text[:40]) for text in wrong[:_SHOWN]) + ", …" * (len(wrong) > _SHOWN)
            raise ValueError(
                f"{rows.called}, column {self.column!r}: {cells:,} cell{'s have' if cells > 1 else ' has'} {shown}; "
                f"expected {self.expected}."
            )
        by_code = np.array([*values, np.nan], dtype=np.float64)  # the last is of empty cells

        return _CellReader(column.codes, by_code, self.dtype, self.shape)


@dataclass(frozen=True)
class OfFiles:
    """Targets for every pixel, in files that the cells name or hold.

    Args:
        column: Its name.
        task: Of the column.
        folder: Where names of files lead from; None: the table's folder.
        unit: As `target_of` takes it.
        ignore: The same.
    """

    column: str
    task: Task
    folder: Path | None
    unit: float | None = None
    ignore: int = 255

    def pictures(self, rows: Rows) -> Pictures | None:
        """The column's files; None: the table lacks the column."""
        return pictures_of(rows, self.column, self.folder)

    def reader(self, rows: Rows, fit: Fit) -> Reader:
        """What reads the targets of a table's rows."""
        return _FileReader(self.pictures(rows), make_kind(self.task), fit, self.unit, self.ignore)


Target = OfTexts | OfFiles
"""A task, and the column that has its targets."""


def pictures_of(rows: Rows, column: str, folder: Path | None) -> Pictures | None:
    """The files that a column names or holds; None: there is no such column."""
    if column in rows.pictures or column not in rows.columns:
        return rows.pictures.get(column)
    return Files(rows.columns[column], folder or rows.folder)


# Readers go to worker processes, which need not be forks of this one: they are no closures.


def _no_target(row: int, size: tuple[int, int]) -> None:
    """Of a table that lacks the column."""


@dataclass(frozen=True)
class _CellReader:
    """Reads targets that are written in the cells: which text each row has, and the number of each text."""

    codes: Codes
    by_code: npt.NDArray[np.float64]
    dtype: torch.dtype
    shape: tuple[int, ...]

    def __call__(self, row: int, size: tuple[int, int]) -> Tensor | None:
        value = self.by_code[self.codes[row]]
        return None if np.isnan(value) else torch.full(self.shape, value, dtype=self.dtype)


@dataclass(frozen=True)
class _FileReader:
    """Reads targets for every pixel."""

    pictures: Pictures | None
    kind: Kind
    fit: Fit
    unit: float | None
    ignore: int

    def __call__(self, row: int, size: tuple[int, int]) -> Tensor | None:
        source: Path | BytesIO | None = None if self.pictures is None else self.pictures.source(row)
        if source is None:
            return None
        return self.fit.map(target_of(self.kind, read_array(source), self.unit, self.ignore), size)
