"""Tables of any form, by the name of their source."""

from functools import lru_cache
from pathlib import Path

from ....files.paths import near_hint
from .arrow import has_splits, is_saved, read_hugging_face, read_parquet
from .records import read_image_folder, read_json_lines
from .rows import Rows
from .text import read_text_table

_READERS = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), read_text_table),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_lines),
    **dict.fromkeys((".parquet", ".pq"), read_parquet),
}

TABLE_SUFFIXES = frozenset(_READERS)
"""What the names of files end with that are read as tables."""


def may_have_splits(source: str) -> bool:
    """Whether a source may have several splits: a data set of the Hugging Face Hub, or a saved one."""
    return source.startswith("hf:") or has_splits(Path(source).expanduser())


def is_of_hugging_face(source: str) -> bool:
    """Whether a source is a data set of the Hugging Face Hub, or a folder with a saved one."""
    return source.startswith("hf:") or is_saved(Path(source).expanduser())


def read_table(source: str, role: str) -> Rows | None:
    """The table of a source. It is read once, as long as its file stays as it is.

    Args:
        source: A file (CSV, TSV, JSON lines, Parquet); a folder with a folder of images for each class; a data set of
            the Hugging Face Hub, `hf:org/name`, or a folder that `save_to_disk` of datasets has left.
        role: "train", "validation" or "test", for sources that have several splits.

    Returns:
        The table; None: the source has splits, and none for this role.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it cannot be read as a table, or has no row.
        ImportError: if it needs a library that is not installed; it says which.
    """
    if is_of_hugging_face(source):
        rows = read_hugging_face(source if source.startswith("hf:") else str(Path(source).expanduser()), role)
    else:
        path = Path(source).expanduser()
        if path.is_dir():
            rows = read_image_folder(path)
        elif path.is_file():
            status = path.stat()
            rows = _read_file(path, status.st_mtime_ns, status.st_size)
        else:
            raise FileNotFoundError(f"There is no table {source}.{near_hint(path.parent)}")
    if rows is not None and not len(rows):
        raise ValueError(f"{rows.called} has no row.")
    return rows


def read_training_table(source: str) -> Rows:
    """The table of a source, for training. See `read_table`."""
    rows = read_table(source, "train")
    assert rows is not None  # a source without a split for training was refused
    return rows


@lru_cache(maxsize=4)  # training reads the splits several times, one after the other
def _read_file(path: Path, time: int, size: int) -> Rows:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} is no table that is known by its name: {', '.join(_READERS)}.")
    return reader(path)
