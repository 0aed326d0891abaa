"""Which sample an error was raised by: of which data set, its index there, and its file."""

import io
import traceback
from bisect import bisect_right

from PIL import Image
from torch.utils.data import ConcatDataset, Subset


def note_sample(error: Exception, data: object, index: int) -> None:
    """Note on an error which sample it is of, and the file that was being read, where there is one.

    Args:
        error: Raised in reading the sample, or in checking it.
        data: The data set; or several joined, or a part of one: then that is named which the sample is from.
        index: Of the sample in `data`.
    """
    name, index = _origin(data, index)
    file = _file_in(error)
    told = "" if file is None or file in str(error) else f", from {file}"
    error.add_note(f"This was sample {index} of {name}{told}.")


def name_of(data: object) -> str:
    """What a data set is called in messages: its class; of a part of one, the whole's."""
    return name_of(data.dataset) if isinstance(data, Subset) else type(data).__name__


def file_of(data: object, index: int) -> str | None:
    """The file that a sample is from; None where its data set does not say, by a method `file_of(index)`.

    Args:
        data: A data set; or several joined, or a part of one.
        index: Of the sample in `data`.
    """
    if isinstance(data, ConcatDataset):
        which = bisect_right(data.cumulative_sizes, index)
        return file_of(data.datasets[which], index - (data.cumulative_sizes[which - 1] if which else 0))
    if isinstance(data, Subset):
        return file_of(data.dataset, data.indices[index])
    file = getattr(data, "file_of", None)
    return None if file is None else str(file(index))


def _origin(data: object, index: int) -> tuple[str, int]:
    if isinstance(data, ConcatDataset):
        which = bisect_right(data.cumulative_sizes, index)
        first = data.cumulative_sizes[which - 1] if which else 0
        name, index = _origin(data.datasets[which], index - first)
        return (f"{name} (data set {which})" if len(data.datasets) > 1 else name), index
    if isinstance(data, Subset):
        return _origin(data.dataset, data.indices[index])
    return name_of(data), index


def _file_in(error: Exception) -> str | None:
    """The file that a picture or stream in the frames of an error's traceback is read from, the innermost first."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, Image.Image | io.IOBase):
                name = getattr(value, "filename", "") or getattr(value, "name", "")
                if name and isinstance(name, str):
                    return name
    return None
