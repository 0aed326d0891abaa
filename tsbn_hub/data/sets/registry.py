"""The data sets by their names."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from ...files.own_code import import_file
from ...files.registry import Registry, UnknownNameError, did_you_mean

data_sets: Registry[Callable[..., Dataset[Any]]] = Registry("data set")
register_data_set = data_sets.register
"""A decorator of data sets: configs can name the data set from then on.

It is called with `split="train"` or `split="test"`, and the keywords that a config gives. It says its tasks, or what
it returns does: see `tasks_of`.
"""


def find_data_set(name: str) -> Callable[..., Dataset[Any]]:
    """A data set by its name: what makes it of a split and further keywords.

    Args:
        name: Of one that is registered; or `path/to/file.py:Class`: the file is imported.

    Raises:
        ValueError: if there is no such file, or it has no such class.
        UnknownNameError: if nothing is registered under the name. It is a ValueError.

    Example:
        >>> from tsbn_hub.data.sets.registry import find_data_set
        >>> find_data_set("MultiDigits").__name__
        'MultiDigits'
    """
    file, colon, class_name = name.rpartition(":")
    if not colon:
        if name not in data_sets:
            raise UnknownNameError(
                f"data={name!r} is unknown. Known: {list(data_sets)}; your own: path/to/file.py:Class."
                f"{did_you_mean(name, list(data_sets))}"
            )
        return data_sets[name]
    try:
        module = import_file(file)
    except ValueError as error:
        raise ValueError(f"data={name!r}: {error}") from error
    if not hasattr(module, class_name):
        raise ValueError(f"data={name!r}: {file} has no {class_name}.")
    found: Callable[..., Dataset[Any]] = getattr(module, class_name)
    return found
