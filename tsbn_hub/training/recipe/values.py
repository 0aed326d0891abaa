"""Whether a value fits the type of a key of the config, and what to say where it does not."""

import json
import math
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError


def check_value(name: str, value: object, hint: Any) -> None:
    """Refuse what does not fit the type of its key, is not finite, or cannot be kept in the state of a run.

    Raises:
        ValueError: if it is so; it names the key.
    """
    if not _fits(value, hint):
        raise ValueError(_misfit(name, value, hint))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={value} is not finite.")
    try:
        json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name}={value}: a run cannot keep it in its state. {error}. Write it as text.") from error


def _misfit(name: str, value: object, hint: Any) -> str:
    known = [each for part in (hint, *get_args(hint)) if get_origin(part) is Literal for each in get_args(part)]
    if known:
        way_out = " YAML reads no as False: write 'no'." if value is False and "no" in known else ""
        return f"{name}={value!r} is unknown. Known: {', '.join(known)}.{way_out}"
    way_out = " YAML reads 1e-3 as text: write 1.0e-3." if _is_number_with_exponent(value) else ""
    return f"{name}={value!r} is no {type_name(hint)}.{way_out}"


def type_name(hint: Any) -> str:
    """The type of a key in words: "int", "list[str] | None", "no | fp16 | bf16 | None"."""
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(type_name, get_args(hint)))
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if hint is type(None):
        return "None"
    return str(hint).replace("typing.", "") if get_args(hint) else hint.__name__


def _is_number_with_exponent(value: object) -> bool:
    try:
        return isinstance(value, str) and "e" in value.lower() and math.isfinite(float(value))
    except ValueError:
        return False


def _fits(value: object, hint: Any) -> bool:
    try:
        _adapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Strict: nothing is made of another type, but for whole numbers where others may be."""
    return TypeAdapter(hint, config=ConfigDict(strict=True))
