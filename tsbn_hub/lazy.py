"""Names of a package whose modules are imported when they are first asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package, as PEP 562 has it.

    Args:
        package: The name of the package.
        homes: By public name, the module that it is in, relative to the package: "tasks.kinds" is in the package,
            ".tasks" is beside it.

    Example:
        >>> from tsbn_hub.lazy import lazy_names
        >>> lazy_names("tsbn_hub", {"Task": "tasks"})("Task").__name__
        'Task'
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{homes[name]}", package), name)

    return find
