"""The data sets that a run draws from."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from torch.utils.data import Dataset

from ...data import tasks_of
from ...data.sets.registry import find_data_set
from ...files.registry import check_keywords, did_you_mean


@dataclass(frozen=True)
class DataSource:
    """A data set that a run draws from.

    Args:
        name: Of a data set of `tsbn_hub.data`, or of another that is registered; or your own as
            `path/to/file.py:Class`.
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
        make = find_data_set(self.name)
        try:
            check_keywords(make, {"split": split, **self.args})
        except TypeError as error:
            raise ValueError(f"{self.name} cannot take split={split!r} and args={self.args}: {error}.") from error
        data = make(split=split, **self.args)
        tasks_of(data)  # raises
        return data


def _are_keywords(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_positive_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
