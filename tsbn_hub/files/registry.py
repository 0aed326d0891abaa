"""Classes by their names: kinds, metrics, heads, data sets, loss weightings and trunks, in one manner."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C")


class UnknownNameError(ValueError):
    """A name that nothing is registered under. What would register it may not be imported yet."""


class Registry(Generic[T]):
    """What is registered, by its name.

    A registry is a folder with a file for each entry. Entries from elsewhere register themselves in the same way, once
    their file is imported.

    Args:
        noun: What an entry is, in the singular, for messages: "head".
        filled_by: A package whose modules register further entries. They are imported once an entry is asked for, and
            not before: they may stand on what the registry is of.

    Example:
        >>> from tsbn_hub.files.registry import Registry
        >>> animals = Registry("animal")
        >>> @animals.register("cat")
        ... class Cat:
        ...     pass
        >>> animals["cat"].__name__, list(animals)
        ('Cat', ['cat'])
        >>> animals["cot"]
        Traceback (most recent call last):
        tsbn_hub.files.registry.UnknownNameError: There is no animal 'cot'. Did you mean 'cat'? Known: cat.
    """

    def __init__(self, noun: str, filled_by: str | None = None) -> None:
        self.noun = noun
        self._unfilled = filled_by
        self._entries: dict[tuple[str, Hashable], T] = {}

    def register(self, name: str, of: Hashable = None) -> Callable[[C], C]:
        """A decorator that registers a class or function under a name.

        A class that is defined anew by the same code, as in a notebook's cell that runs again, replaces itself.

        Args:
            name: Not empty.
            of: Entries of different groups may share a name.

        Raises:
            ValueError: if another entry has the name.
        """

        def register(entry: C) -> C:
            other = self._entries.get((name, of))
            if other is not None and _identity(other) != _identity(entry):
                raise ValueError(f"The {self.noun} {name!r} is registered already, as {'.'.join(_identity(other))}.")
            self._entries[name, of] = entry  # type: ignore[assignment]
            return entry

        return register

    def names(self, of: Hashable = None) -> list[str]:
        """The names of a group, sorted."""
        self._fill()
        return sorted(name for name, group in self._entries if group == of)

    def find(self, name: str, of: Hashable = None) -> T:
        """The entry of a name.

        Raises:
            UnknownNameError: if there is none; it names what is near, and what is known.
        """
        self._fill()
        if (name, of) not in self._entries:
            raise UnknownNameError(
                f"There is no {self.noun} {name!r}.{did_you_mean(name, self.names(of))} "
                f"Known: {', '.join(self.names(of))}."
            )
        return self._entries[name, of]

    def __getitem__(self, name: str) -> T:
        return self.find(name)

    def __contains__(self, name: str) -> bool:
        self._fill()
        return (name, None) in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _fill(self) -> None:
        package, self._unfilled = self._unfilled, None
        if package is not None:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
                importlib.import_module(module.name)


def did_you_mean(name: object, known: list[str]) -> str:
    """A question to append to a message where a known name is near, else nothing.

    Example:
        >>> from tsbn_hub.files.registry import did_you_mean
        >>> did_you_mean("epoch", ["epochs", "lr"]), did_you_mean("x", ["epochs", "lr"])
        (" Did you mean 'epochs'?", '')
    """
    near = get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_keywords(make: Callable[..., object], keywords: dict[str, Any], *, own: Sequence[object] = ()) -> None:
    """Refuse keywords that a class or function does not take, or too few of them, before it is called.

    Args:
        make: The class or function.
        keywords: By name.
        own: What it gets by position, before the keywords.

    Raises:
        TypeError: if it does not take them. It says what it takes.

    Example:
        >>> from tsbn_hub.files.registry import check_keywords
        >>> check_keywords(lambda size, seed=0: None, {"sise": 9, "size": 9})
        Traceback (most recent call last):
        TypeError: got an unexpected keyword argument 'sise'. Did you mean 'size'? It takes: size, seed
    """
    signature = inspect.signature(make)
    try:
        signature.bind(*own, **keywords)
    except TypeError as error:
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        takes = [name for name, each in signature.parameters.items() if each.kind in by_name][len(own) :]
        near = "".join(did_you_mean(key, takes) for key in keywords if key not in takes)
        raise TypeError(f"{error}.{near} It takes: {', '.join(takes) or 'nothing'}") from None


def names_of(registered: type) -> list[str]:
    """What a class, and those that it is a subclass of, have as their own `name`: the class's own is the last.

    Example:
        >>> from tsbn_hub.files.registry import names_of
        >>> from tsbn_hub.tasks.kinds import Disparity
        >>> names_of(Disparity)
        ['depth', 'disparity']
    """
    return [vars(each)["name"] for each in registered.__mro__[::-1] if "name" in vars(each)]


def _identity(entry: object) -> tuple[str, str]:
    return str(getattr(entry, "__module__", "")), str(getattr(entry, "__qualname__", entry))
