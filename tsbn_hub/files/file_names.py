"""Names of files for things that have names of their own."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Named = TypeVar("Named")


def file_names(given: Iterable[Named], name_of: Callable[[Named], str]) -> dict[Named, str]:
    """For each of what is given a file name of its own, whatever the file system makes of upper and lower case.

    Args:
        given: Anything, each once.
        name_of: Its name, before a number is added to one that is taken.

    Example:
        >>> from tsbn_hub.files.file_names import file_names
        >>> file_names(["a/cat", "b/Cat"], lambda path: path[2:])
        {'a/cat': 'cat', 'b/Cat': 'Cat-2'}
    """
    names: dict[Named, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # how far each name was counted: many may be the same
    for each in given:
        first = name = name_of(each)
        number = numbers.get(first.casefold(), 1)
        while name.casefold() in taken:
            number += 1
            name = f"{first}-{number}"
        numbers[first.casefold()] = number
        taken.add(name.casefold())
        names[each] = name
    return names
