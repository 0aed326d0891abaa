"""Dataclasses from JSON, strictly: what does not fit is named by its key."""

import dataclasses
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from .parsing import parse_json

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def read_strictly(kind: type[T], text: str) -> T:
    """The dataclass that `dataclasses.asdict` was written from.

    Args:
        kind: The dataclass: of text, numbers, null, lists, dicts and dataclasses of these.
        text: JSON, in which no number is NaN or infinite.

    Raises:
        ValueError: if it is no JSON, or a key is unknown, missing or of another type.

    Example:
        >>> from dataclasses import dataclass
        >>> from tsbn_hub.files.strict_json import read_strictly
        >>> @dataclass
        ... class Point:
        ...     at: list[float]
        >>> read_strictly(Point, '{"at": [1, 2.5]}')
        Point(at=[1.0, 2.5])
        >>> read_strictly(Point, '{"at": [1, "2"]}')
        Traceback (most recent call last):
        ValueError: at[1] is '2', but must be a number.
    """
    value = cast(T, _read(kind, parse_json(text), ""))
    return value


def _read(hint: Any, value: object, where: str) -> object:
    if hint is Any:
        return value
    parts = get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _dataclass(hint, value, where)
    if get_origin(hint) is list and isinstance(value, list):
        return [_read(parts[0], each, f"{where}[{at}]") for at, each in enumerate(value)]
    if get_origin(hint) is dict and isinstance(value, dict):
        return {key: _read(parts[1], each, f"{where}[{key!r}]") for key, each in value.items()}
    allowed = parts if get_origin(hint) is UnionType else (hint,)
    if type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    names = [_NAMES.get(each) or ("a list" if get_origin(each) is list else "an object") for each in allowed]
    raise ValueError(f"{where or 'it'} is {value!r}, but must be {' or '.join(names)}.")


def _dataclass(kind: Any, values: dict[str, object], where: str) -> object:
    fields, hints = dataclasses.fields(kind), get_type_hints(kind)
    unknown = [key for key in values if key not in hints]
    if unknown:
        raise ValueError(f"{where or 'it'} has the unknown keys {unknown}. Known: {list(hints)}.")
    needed = [each.name for each in fields if each.default is each.default_factory is dataclasses.MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(f"{where or 'it'} lacks {missing}.")
    prefix = f"{where}." if where else ""
    return kind(**{key: _read(hints[key], value, prefix + key) for key, value in values.items()})
