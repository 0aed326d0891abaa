"""What is said of columns: from `columns` of a config, or a guess of the same form, to targets."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ....files.registry import did_you_mean
from ....tasks import Attributes, Classification, Depth, Kind, Regression, Segmentation, Task, make_kind
from ....tasks.kind import kind_classes
from ....tasks.task import Json
from .maps import Array, number_of_classes, read_array
from .rows import Pictures, Rows
from .targets import OfFiles, OfTexts, Target, pictures_of
from .values import decimal_mark, numbers_of, yes_and_no

Said = str | Mapping[str, Json]
"""A kind's name; or a mapping with `kind`, and further keys."""

_LOOKED_AT = 200  # maps


def target_as_said(column: str, said: Said, rows: Rows, folder: Path | None) -> Target:
    """The task of a column, by what is said of it.

    Args:
        column: Its name.
        said: A kind's name; or a mapping with `kind`, `labels` where there are classes, and: of attributes `yes`, the
            text that means yes; of a regression `decimal`, the decimal mark; of depth and disparity `unit`, what to
            multiply the file's values by; of a segmentation `num_classes` and `ignore`, the value of pixels without a
            class. Further keys are keywords of the kind.
        rows: The training table, which alone says what classes there are.
        folder: Where names of files lead from; None: the table's folder.

    Raises:
        ValueError: if that cannot be.
    """
    values: dict[str, Json] = (
        {"kind": said} if isinstance(said, str) else dict(said) if isinstance(said, Mapping) else {}
    )
    kind = values.pop("kind", None)
    where = f"columns: {{{column}: {said}}}"
    if not isinstance(kind, str) or kind not in kind_classes:
        known = list(kind_classes)
        raise ValueError(
            f"{where}: say its kind, or null to leave it out.{did_you_mean(kind, known)} Known: {', '.join(known)}."
        )
    try:
        target = _target(column, kind_classes[kind], values, rows, folder)
        make_kind(target.task)  # raises
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    return target


def _target(column: str, kind: type[Kind], values: dict[str, Json], rows: Rows, folder: Path | None) -> Target:
    """The target of a column, as `target_as_said` takes it. Keys are taken off the values; the rest is the kind's."""
    name = column.replace(".", "_")  # a task's name has no dot
    labels = values.pop("labels", None)
    if labels is not None and not isinstance(labels, list):
        raise ValueError(f"labels={labels!r} is no list")
    named = None if labels is None else [str(label) for label in labels]
    if issubclass(kind, Classification):
        named = named or rows.labels.get(column) or _labels(rows, column)
        return _classes(column, Task(name, kind.name, labels=named, kind_args=values))
    if issubclass(kind, Attributes):
        yes = values.pop("yes", None)
        return _yes_and_no(column, Task(name, kind.name, labels=named or [name], kind_args=values), yes)
    if issubclass(kind, Regression):
        decimal = values.pop("decimal", None)
        return _numbers(column, Task(name, kind.name, kind_args=values), decimal, rows)
    if not kind.dense:
        raise ValueError(f"a table has no targets of the kind {kind.name!r}")
    if issubclass(kind, Depth):
        unit = values.pop("unit", None)
        if unit is not None and not (isinstance(unit, int | float) and unit > 0):
            raise ValueError(f"unit={unit!r} is no positive number")
        return OfFiles(column, Task(name, kind.name, kind_args=values), folder, unit=unit)
    if not issubclass(kind, Segmentation):
        return OfFiles(column, Task(name, kind.name, kind_args=values), folder)
    ignore, number = values.pop("ignore", 255), values.pop("num_classes", None)
    if not isinstance(ignore, int) or not isinstance(number, int | None):
        raise ValueError(f"ignore={ignore!r}, num_classes={number!r}: each is a whole number")
    if named is None and number is None:
        number = number_of_classes(some_maps(pictures_of(rows, column, folder), len(rows)), ignore)
    task = Task(name, kind.name, num_classes=number, labels=named, kind_args=values)
    return OfFiles(column, task, folder, ignore=ignore)


def some_maps(pictures: Pictures | None, size: int) -> list[Array]:
    """Those that can be read of at most 200 maps, evenly spread over a table's rows."""
    maps = []
    for row in range(0, size, max(1, size // _LOOKED_AT)):
        source = None if pictures is None else pictures.source(row)
        try:
            if source is not None:
                maps.append(read_array(source))
        except (OSError, ValueError):
            continue  # it is told of with all broken files
    return maps


def whole(text: str) -> str:
    """A whole number without decimals: a column with empty cells may have 3 as 3.0. Other texts stay."""
    return text.removesuffix(".0") if text[:-2].lstrip("+-").isdecimal() else text


def _labels(rows: Rows, column: str) -> list[str]:
    """The classes in a column, sorted: numbers by their values, else as texts."""
    values = rows.columns[column].values if column in rows.columns else []
    labels = list(dict.fromkeys(map(whole, values)))
    if not labels:
        raise ValueError(f"{rows.called} has no cell with a class there")
    numbers = numbers_of(labels)
    if numbers is None or None in numbers:
        return sorted(labels)
    return [labels[place] for place in np.argsort(np.array(numbers, dtype=float), kind="stable")]


def _classes(column: str, task: Task) -> OfTexts:
    labels = list(map(str, task.labels or []))
    codes = {label: float(code) for code, label in enumerate(labels)}
    shown = ", ".join(labels[:8]) + ", …" * (len(labels) > 8)
    expected = f"are the classes of the training table ({shown}): name further ones in labels, or empty these cells"
    return OfTexts(column, task, partial(_codes_of, codes), expected, torch.int64, shape=())


def _codes_of(codes: Mapping[str, float], texts: list[str]) -> list[float | None]:
    return [codes.get(text, codes.get(whole(text))) for text in texts]


def _yes_and_no(column: str, task: Task, yes: Json) -> OfTexts:
    said = {str(each).casefold() for each in (yes if isinstance(yes, list) else [yes])} if yes is not None else None
    expected = (
        "are yes and no, true and false, 1 and 0: else say which text means yes, as {kind: attributes, yes: there}"
    )
    return OfTexts(column, task, partial(_yes_of, said), expected, torch.int64)


def _yes_of(said: set[str] | None, texts: list[str]) -> list[float | None]:
    if said is not None:
        return [float(text.casefold() in said) for text in texts]
    meant = [yes_and_no([text]) for text in texts]
    return [None if each is None else float(bool(each[0])) for each in meant]


def _numbers(column: str, task: Task, decimal: Json, rows: Rows) -> OfTexts:
    if decimal not in (None, ".", ","):
        raise ValueError(f"decimal={decimal!r} is no decimal mark: '.' or ','")
    mark = decimal if isinstance(decimal, str) else None
    if mark is None and column in rows.columns:
        mark = decimal_mark(rows.columns[column].values) or rows.decimal
    expected = "are numbers: without units, and with one decimal mark (1,234 may be two numbers: say decimal)"
    return OfTexts(column, task, partial(_numbers_with, mark), expected, torch.float32)


def _numbers_with(mark: str | None, texts: list[str]) -> list[float | None]:
    numbers = numbers_of(texts, mark)
    each = [[number] for number in numbers] if numbers is not None else [numbers_of([text], mark) for text in texts]
    return [None if number is None else float("nan") if number[0] is None else number[0] for number in each]
