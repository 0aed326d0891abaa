"""Data sets by their names."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset


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
        if not isinstance(value, dict) or "name" not in value or not set(value) <= {"name", "args", "rate"}:
            raise ValueError(f"data has {value!r}: each data set is a name, or a mapping with name, args and rate.")
        return cls(**value)

    def dataset(self, split: Literal["train", "test"]) -> Dataset[Any]:
        """The data set of a split.

        Raises:
            ValueError: if there is no such data set, or it does not say its tasks.
        """
        data: Dataset[Any] = _dataset_class(self.name)(split=split, **self.args)
        if not isinstance(getattr(data, "num_classes", None), dict):
            raise ValueError(f"{self.name} must say its tasks and numbers of classes: num_classes = {{task: number}}.")
        return data


def _dataset_class(name: str) -> Any:
    from .. import data

    file, colon, class_name = name.rpartition(":")
    if not colon:
        known = [each for each in data.__all__ if hasattr(getattr(data, each), "num_classes")]
        if name not in known:
            raise ValueError(f"data={name!r} is unknown. Known: {known}; your own: path/to/file.py:Class.")
        return getattr(data, name)
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"data={name!r}: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # worker processes find it by its name
    spec.loader.exec_module(module)
    if not hasattr(module, class_name):
        raise ValueError(f"data={name!r}: {path} has no {class_name}.")
    return getattr(module, class_name)
