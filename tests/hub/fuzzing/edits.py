"""Edits of a checkpoint's files. One that finds nothing to do, after others, does nothing; its file must be there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import tensors
from .seeds import Files

Path = tuple[str | int, ...]

OUTSIDE = "<outside>"
"""Stands for a folder outside of the checkpoint's: whatever it is called when the edits are made."""


@dataclass(frozen=True)
class Put:
    """A value of a JSON file or of a safetensors header, in the place of another, or new."""

    file: str
    path: Path
    value: Any

    def __call__(self, files: Files) -> None:
        _edit_json(files, self.file, self.path, self._put)

    def _put(self, parent: Any, key: str | int) -> None:
        parent[key] = self.value


@dataclass(frozen=True)
class Remove:
    """A key, or an item of a list, taken out."""

    file: str
    path: Path

    def __call__(self, files: Files) -> None:
        _edit_json(files, self.file, self.path, self._remove)

    def _remove(self, parent: Any, key: str | int) -> None:
        del parent[key]


@dataclass(frozen=True)
class Rename:
    """Another key for a value."""

    file: str
    path: Path
    key: str

    def __call__(self, files: Files) -> None:
        _edit_json(files, self.file, self.path, self._rename)

    def _rename(self, parent: Any, key: str | int) -> None:
        parent[self.key] = parent.pop(key)


@dataclass(frozen=True)
class Twice:
    """A key of the outermost object that is there a second time, before the first."""

    file: str
    key: str
    value: Any

    def __call__(self, files: Files) -> None:
        text = files[self.file].lstrip()
        files[self.file] = f"{{{json.dumps(self.key)}: {json.dumps(self.value)}, ".encode() + text[1:]


@dataclass(frozen=True)
class Document:
    """Another JSON document in the place of the file's."""

    file: str
    value: Any

    def __call__(self, files: Files) -> None:
        files[self.file] = json.dumps(self.value).encode()


@dataclass(frozen=True)
class Missing:
    """A file that is not there."""

    file: str

    def __call__(self, files: Files) -> None:
        files.pop(self.file, None)


@dataclass(frozen=True)
class Divided:
    """Weights under another name, and an index that says which."""

    file: str

    def __call__(self, files: Files) -> None:
        part = self.file.replace("model", "part")
        weight_map = {name: part.rpartition("/")[2] for name in _tensors(files, self.file)}
        files[part] = files.pop(self.file)
        files[f"{self.file}.index.json"] = json.dumps({"weight_map": weight_map}).encode()


@dataclass(frozen=True)
class Cut:
    """A file that ends early."""

    file: str
    share: float

    def __call__(self, files: Files) -> None:
        files[self.file] = files[self.file][: int(self.share * len(files[self.file]))]


@dataclass(frozen=True)
class Insert:
    """Bytes in the middle of a file."""

    file: str
    share: float
    content: bytes

    def __call__(self, files: Files) -> None:
        whole = files[self.file]
        at = int(self.share * len(whole))
        files[self.file] = whole[:at] + self.content + whole[at:]


@dataclass(frozen=True)
class HeaderLength:
    """Another length of a safetensors header than it has."""

    file: str
    length: int

    def __call__(self, files: Files) -> None:
        files[self.file] = self.length.to_bytes(8, "little") + files[self.file][8:]


@dataclass(frozen=True)
class Tensor:
    """A tensor of another name, type or shape, or none, in a file that is whole."""

    file: str
    name: str
    renamed: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    removed: bool = False

    def __call__(self, files: Files) -> None:
        stored = _tensors(files, self.file)
        tensor = stored.pop(self.name, tensors.Stored("F32", [], bytes(4)))
        if not self.removed:
            stored[self.renamed or self.name] = tensor.changed(
                self.dtype, None if self.shape is None else [*self.shape]
            )
        files[self.file] = tensors.write(stored)


@dataclass(frozen=True)
class Tensors:
    """All tensors whose names end alike: renamed, of so many rows, or none, in a file that is whole."""

    file: str
    ending: str
    prefix: str = ""
    rows: int | None = None
    removed: bool = False

    def __call__(self, files: Files) -> None:
        stored = {}
        for name, tensor in _tensors(files, self.file).items():
            if not name.endswith(self.ending):
                stored[name] = tensor
            elif not self.removed:
                has_rows = self.rows is not None and tensor.shape
                stored[self.prefix + name] = tensor.changed(shape=[self.rows, *tensor.shape[1:]] if has_rows else None)
        files[self.file] = tensors.write(stored)


Edit = Put | Remove | Rename | Twice | Document | Missing | Divided | Cut | Insert | HeaderLength | Tensor | Tensors


@dataclass(frozen=True)
class Case:
    """A mutated checkpoint.

    Args:
        seed: The name of the valid one.
        edits: Made one after another.
    """

    seed: str
    edits: tuple[Edit, ...]


def _tensors(files: Files, file: str) -> dict[str, tensors.Stored]:
    try:
        return tensors.read(files[file])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # an earlier edit has left none to speak of


def _edit_json(files: Files, file: str, path: Path, change: Callable[[Any, str | int], None]) -> None:
    is_header = file.endswith(".safetensors")
    try:
        text, data = tensors.split(files[file]) if is_header else (files[file], b"")
        values = json.loads(text)
        parent = values
        for key in path[:-1]:
            parent = parent[key]
        change(parent, path[-1])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # an earlier edit has left no such place
    new = json.dumps(values).encode()
    files[file] = tensors.join(new, data) if is_header else new
