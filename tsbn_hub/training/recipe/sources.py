"""Data sets by their names."""

import importlib.util
import inspect
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from ...data import tasks_of
from ...files.registry import did_you_mean


@dataclass(frozen=True)
class DataSource:
    """A data set that a run draws from.

    Args:
        name: One of `tsbn_hub.data`, or your own as `path/to/file.py:Class`.
        args: Keywords of it.
        rate: How many batches come from it, relative to other sources; None: in proportion to its size.
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    rate: float | None = None

    @classmethod
    def read(cls, value: Any) -> "DataSource":
        """A source from a config: its name, or a mapping.

        Raises:
            ValueError: if it is neither.
        """
        if isinstance(value, str):
            return cls(value)
        known = ["name", "args", "rate"]
        unknown = [key for key in value if key not in known] if isinstance(value, dict) else []
        if not isinstance(value, dict) or "name" not in value or unknown:
            near = "".join(did_you_mean(key, known) for key in unknown)
            raise ValueError(
                f"data has {value!r}: each data set is a name, or a mapping with name, args and rate.{near}"
            )
        source = cls(**value)
        if not isinstance(source.name, str) or not _are_keywords(source.args):
            raise ValueError(f"data has {value!r}: name is text, and args maps names to values.")
        if source.rate is not None and not _is_positive_number(source.rate):
            raise ValueError(f"data has {value!r}: rate is a positive number.")
        return source

    def dataset(self, split: Literal["train", "test"]) -> Dataset[Any]:
        """The data set of a split.

        Raises:
            ValueError: if there is no such data set, it does not take these keywords, or does not say its tasks.
        """
        dataset_class = _dataset_class(self.name)
        try:
            inspect.signature(dataset_class).bind(split=split, **self.args)
        except TypeError as error:
            raise ValueError(f"{self.name} cannot take split={split!r} and args={self.args}: {error}.") from error
        data: Dataset[Any] = dataset_class(split=split, **self.args)
        tasks_of(data)  # raises
        return data


def _are_keywords(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_positive_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _dataset_class(name: str) -> Any:
    from ... import data

    file, colon, class_name = name.rpartition(":")
    if not colon:
        known = [each for each in data.__all__ if hasattr(getattr(data, each), "tasks")]
        if name not in known:
            raise ValueError(f"data={name!r} is unknown. Known: {known}; your own: path/to/file.py:Class.")
        return getattr(data, name)
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"data={name!r}: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"data={name!r}: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Worker processes find it by its name: forked ones among the modules, others (macOS, Python 3.14) in its folder.
    sys.modules[path.stem] = module
    if sys.path[0] != str(path.parent.resolve()):
        sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    if not hasattr(module, class_name):
        raise ValueError(f"data={name!r}: {path} has no {class_name}.")
    return getattr(module, class_name)
