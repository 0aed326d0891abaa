"""Tables of records: JSON lines, and folders with a folder of images for each class."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from ....files.parsing import parse_json
from .rows import ColumnBuilder, Rows, check_names, column_of

_AT_ONCE = 50_000
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_json_lines(path: Path) -> Rows:
    """A table with an object in each line; of a file `.json` also a list of objects.

    A key that an object lacks, and null, is an empty cell.

    Raises:
        ValueError: if a line is no object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error
    if text.lstrip().startswith("["):
        records: Iterator[tuple[int, object]] = iter(enumerate(parse_json(text), 1))
    else:
        records = (
            (number, _parsed(path, number, line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()
        )
    builders: dict[str, ColumnBuilder] = {}
    size = 0
    while piece := [_object(path, number, record) for number, record in islice(records, _AT_ONCE)]:
        for key in dict.fromkeys(key for record in piece for key in record):
            if key not in builders:
                builders[key] = ColumnBuilder()
                builders[key].add([""] * size)
        for key, builder in builders.items():
            builder.add([cell_text(record.get(key)) for record in piece])
        size += len(piece)
    if not builders:
        raise ValueError(f"{path} is empty.")
    named = dict(zip(check_names(str(path), builders), builders.values(), strict=True))
    return Rows(str(path), path.parent, {name: builder.column() for name, builder in named.items()}, size=size)


def _parsed(path: Path, number: int, line: str) -> object:
    try:
        return parse_json(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}") from error


def _object(path: Path, number: int, record: object) -> dict[str, object]:
    if not isinstance(record, dict):
        raise ValueError(f'{path}, line {number}: {str(record)[:60]} is no object, as in {{"file": "a.jpg"}}.')
    return record


def cell_text(value: object) -> str:
    """A plain value as the text of a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def read_image_folder(folder: Path) -> Rows:
    """A table of the images in a folder's folders, each named by its class: the columns `file` and `label`.

    Raises:
        ValueError: if there is no image, or the folders are those of splits.
    """
    classes = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if classes and {name.lower() for name in classes} <= _SPLITS:
        raise ValueError(f"{folder} has the folders {', '.join(classes)}: give each, as train: {folder / classes[0]}.")
    known = tuple(Image.registered_extensions())
    files = [
        str(path.relative_to(folder))
        for name in classes
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in known and not path.name.startswith(".")
    ]
    if not files:
        raise ValueError(
            f"{folder} has no images in folders named by their classes, as in {folder}/cat/1.jpg. Of another folder "
            "give a table of its files."
        )
    columns = {"file": column_of(files), "label": column_of([Path(file).parts[0] for file in files])}
    return Rows(str(folder), folder, columns, size=len(files))
