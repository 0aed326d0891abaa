"""A table in memory: columns of text, each value held once, and columns of pictures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ....files.paths import is_file

Codes = npt.NDArray[np.int32]

_NO_VALUE = frozenset({"", "nan", "null", "n/a", "#n/a", "<na>"})


@dataclass(frozen=True)
class Column:
    """The cells of a column: their distinct texts, without spaces around them, and for each row which one it has.

    Args:
        values: The distinct texts, in the order in which they first occur.
        codes: For each row its place in `values`; -1: the cell is empty.
    """

    values: list[str]
    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)

    def cell(self, row: int) -> str | None:
        """The text of a row; None: it is empty."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def counts(self) -> npt.NDArray[np.int64]:
        """How often each value occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    def spread(self, number: int) -> list[str]:
        """At most so many of the values, evenly spread."""
        return self.values[:: max(1, -(-len(self.values) // number))]


class ColumnBuilder:
    """Makes a column of cells that come in pieces, so that a repeated text is held once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._pieces: list[Codes] = []

    def add(self, cells: Sequence[str]) -> None:
        """Add the cells of further rows."""
        for cell in dict.fromkeys(cells):
            self._index.setdefault(cell, len(self._index))
        self._pieces.append(np.fromiter(map(self._index.__getitem__, cells), np.int32, len(cells)))

    def column(self) -> Column:
        """The column; what stands for no value is empty."""
        codes = np.concatenate(self._pieces) if self._pieces else np.empty(0, np.int32)
        stripped: dict[str, int] = {}
        new = np.full(len(self._index) + 1, -1, np.int32)  # the last is for -1
        for place, cell in enumerate(self._index):
            text = cell.strip()
            if text.casefold() not in _NO_VALUE:
                new[place] = stripped.setdefault(text, len(stripped))
        return Column(list(stripped), new[codes])


def column_of(cells: Sequence[str]) -> Column:
    """A column of all its cells.

    Example:
        >>> from tsbn_hub.data.sets.table.rows import column_of
        >>> column_of(["mug", "", "plate ", "mug"])
        Column(values=['mug', 'plate'], codes=array([ 0, -1, 1, 0], dtype=int32))
    """
    builder = ColumnBuilder()
    builder.add(cells)
    return builder.column()


class Pictures(Protocol):
    """What the cells of a column of pictures hold."""

    def source(self, row: int) -> Path | BytesIO | None:
        """A file, or its content; None: the cell is empty."""

    def name(self, row: int) -> str:
        """What to call it in messages."""


@dataclass(frozen=True)
class Files:
    """A column of file names. A name may be absolute, lead out of the folder, or be written with backslashes."""

    column: Column
    folder: Path

    def path_of(self, value: str) -> Path:
        """The file that a value names, be it there or not."""
        path = self.folder / value
        return self.folder / value.replace("\\", "/") if "\\" in value and not is_file(path) else path

    def source(self, row: int) -> Path | None:
        """The file of a row; None: the cell is empty."""
        value = self.column.cell(row)
        return None if value is None else self.path_of(value)

    def name(self, row: int) -> str:
        """The path of a row's file."""
        return str(self.source(row))


@dataclass(frozen=True)
class Embedded:
    """Files that are held in the table, as Parquet files and Hugging Face data sets hold them.

    Args:
        called: What the table is called.
        fetch: For a row what its cell has: bytes, or the name of a file.
        folder: Where such names lead from.
    """

    called: str
    fetch: Callable[[int], tuple[bytes | None, str | None]]
    folder: Path

    def source(self, row: int) -> Path | BytesIO | None:
        """The content or file of a row; None: the cell is empty."""
        content, path = self.fetch(row)
        if content is not None:
            return BytesIO(content)
        return None if path is None else self.folder / path

    def name(self, row: int) -> str:
        """The table and the row's number."""
        return f"{self.called}, row {row + 1}"


@dataclass(frozen=True)
class Rows:
    """A table.

    Args:
        called: Its name in messages.
        folder: Where the names of files lead from, unless it is said.
        columns: Those of text, by name.
        pictures: Those of embedded pictures, by name.
        labels: Names of classes that the table declares, by column.
        decimal: The decimal mark, where the way the table is written leaves no doubt.
    """

    called: str
    folder: Path
    columns: dict[str, Column]
    pictures: dict[str, Pictures] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    decimal: str | None = None
    size: int = 0

    def __len__(self) -> int:
        return self.size

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [*self.columns, *self.pictures]


def check_names(called: str, names: Iterable[str]) -> list[str]:
    """The names of columns, those that are empty numbered.

    Raises:
        ValueError: if a name occurs twice.
    """
    named = [name.strip() or f"column {number}" for number, name in enumerate(names, 1)]
    repeated = [name for place, name in enumerate(named) if name in named[:place]]
    if repeated:
        raise ValueError(f"{called} has two columns {repeated[0]!r}: rename one.")
    return named
