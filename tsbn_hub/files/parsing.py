"""YAML and JSON from files of anybody's, in bounded time and memory."""

import json
import math
from typing import Any

import yaml

_MOST_VALUES = 100_000
"""How many values a YAML file may hold once its aliases are followed: a hundred times the largest recipe's."""


def parse_yaml(text: str) -> Any:
    r"""The value that a YAML text holds, of plain types alone.

    Args:
        text: YAML. It may use aliases (`*name`), as long as following them all gives at most 100,000 values.

    Raises:
        ValueError: if it is no YAML, is nested too deeply to be read, holds itself, or is far larger once its aliases
            are followed.

    Example:
        >>> from tsbn_hub.files.parsing import parse_yaml
        >>> parse_yaml("sizes: &two [1, 2]\nagain: *two")
        {'sizes': [1, 2], 'again': [1, 2]}
        >>> parse_yaml("a: &a [*a]")
        Traceback (most recent call last):
        ValueError: it holds itself, by the alias in line 1
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        values = _values_in(node, {})
        if values > _MOST_VALUES:
            raise ValueError(f"its aliases make it hold {values:,} values, and at most {_MOST_VALUES:,} are read")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _values_in(node: yaml.Node, counted: dict[int, int | None]) -> int:
    """How many values a node holds, each as often as an alias says it."""
    if id(node) not in counted:
        counted[id(node)] = None  # it is being counted
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        counted[id(node)] = 1 + sum(_values_in(part, counted) for part in parts)
    values = counted[id(node)]
    if values is None:
        raise ValueError(f"it holds itself, by the alias in line {node.start_mark.line + 1}")
    return values


def parse_json(text: str) -> Any:
    """The value that a JSON text holds.

    Args:
        text: JSON. Its numbers are finite: `NaN`, `Infinity` and `1e999` are none.

    Raises:
        ValueError: if it is no JSON, is nested too deeply to be read, or a number is not finite.

    Example:
        >>> from tsbn_hub.files.parsing import parse_json
        >>> parse_json('{"loss": 1e999}')
        Traceback (most recent call last):
        ValueError: 1e999 is no number that can be held.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is no number that can be held.")
    return value
