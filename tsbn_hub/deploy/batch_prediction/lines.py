"""Predictions as a file that grows: JSON lines, CSV, or one JSON object."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from ...tasks import Kind
from ...tasks.task import Json
from .columns import cells_of, columns_of

Record = dict[str, Json]
"""Of an image: its `file`; and `predictions` by task, with the paths of its `pictures` and `maps`, or its `error`."""


class PredictionFile(ABC):
    """A file of predictions. Until it is whole it is called NAME.partial, and has whole records.

    Args:
        path: Where it will be, in a folder that is made; or an open stream, which stays open.
        kinds: Of the tasks.
    """

    def __init__(self, path: Path | TextIO, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self.path = path if isinstance(path, Path) else None
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.partial = path.with_name(f"{path.name}.partial")
            self._stream: TextIO = self.partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        else:
            self._stream = path

    def __enter__(self) -> Self:
        self._stream.write(self.begin())
        return self

    def add(self, record: Record) -> None:
        """Write what is said of one image, and let readers see it."""
        self._stream.write(self.text(record))
        self._stream.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._stream.write(self.end())
            self._stream.flush()
        finally:
            if self.path is not None:
                self._stream.close()
        if self.path is not None and error is None:
            self.partial.replace(self.path)

    def begin(self) -> str:
        """What is before the first record."""
        return ""

    @abstractmethod
    def text(self, record: Record) -> str:
        """A record."""

    def end(self) -> str:
        """What is behind the last record, also where not all were written."""
        return ""


class JsonLines(PredictionFile):
    """An object for each image, in a line."""

    def text(self, record: Record) -> str:
        """One line."""
        return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


class JsonObject(PredictionFile):
    """One object, in which each image has its predictions, or the error. An image that is named again is left out."""

    def __init__(self, path: Path | TextIO, kinds: Mapping[str, Kind]) -> None:
        super().__init__(path, kinds)
        self._named: set[Json] = set()

    def begin(self) -> str:
        """A brace."""
        return "{"

    def text(self, record: Record) -> str:
        """A member of the object, indented."""
        if record["file"] in self._named:
            return ""
        comma = "," if self._named else ""
        self._named.add(record["file"])
        said = record.get("predictions", {"error": record.get("error")})
        member = json.dumps({record["file"]: said}, indent=2, ensure_ascii=False, allow_nan=False)
        return comma + member[1:-2]  # without the braces, and the line end before the last

    def end(self) -> str:
        """A brace."""
        return "\n}\n"


class Csv(PredictionFile):
    """A row for each image; `columns_of` says which columns a task has.

    Raises:
        ValueError: if two columns would have one name.
    """

    def __init__(self, path: Path | TextIO, kinds: Mapping[str, Kind]) -> None:
        self.columns = ["file", *(name for task, kind in kinds.items() for name in columns_of(task, kind)), "error"]
        repeated = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if repeated:
            raise ValueError(f"Two columns of the CSV would be called {repeated[0]!r}: write JSON lines (.jsonl).")
        super().__init__(path, kinds)

    def begin(self) -> str:
        """The names of the columns."""
        return self._row(dict(zip(self.columns, self.columns, strict=True)))

    def text(self, record: Record) -> str:
        """A row."""
        cells: dict[str, object] = {"file": record["file"], "error": record.get("error")}
        predictions = record.get("predictions", {})
        assert isinstance(predictions, dict)
        for task, described in predictions.items():
            cells |= cells_of(task, self.kinds[task], described)
        return self._row(cells)

    def _row(self, cells: Mapping[str, object]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(cells)
        return text.getvalue()


FORMATS: dict[str, type[PredictionFile]] = {".jsonl": JsonLines, ".ndjson": JsonLines, ".csv": Csv, ".json": JsonObject}
"""By the suffix of a file's name, in lower case."""


def format_of(path: Path) -> type[PredictionFile]:
    """The form of a file of predictions, by its name.

    Raises:
        ValueError: if its suffix says none.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: predictions are written as {', '.join(FORMATS)}; the name says which.")
    return FORMATS[path.suffix.lower()]
