"""Tables by pyarrow and datasets: Parquet files, data sets of the Hugging Face Hub, and saved ones."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .records import cell_text
from .rows import Column, Embedded, Pictures, Rows, check_names, column_of

if TYPE_CHECKING:
    import datasets
    import pyarrow

_WAY_OUT = "pip install 'tsbn_hub[tables]'"
_PARTS = {"train": ("train",), "validation": ("validation", "val", "valid", "dev"), "test": ("test",)}


def read_parquet(path: Path) -> Rows:
    """A Parquet file. A column of images may hold them, as those of the Hub do: structs of `bytes` and `path`.

    Raises:
        ImportError: if pyarrow is not installed.
        ValueError: if it is none, or damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{path}: Parquet is read by pyarrow: {_WAY_OUT}.") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error
    names = check_names(str(path), table.column_names)
    columns: dict[str, Column] = {}
    pictures: dict[str, Pictures] = {}
    for name, column in zip(names, table.columns, strict=True):
        if pyarrow.types.is_struct(column.type) and {field.name for field in column.type} >= {"bytes", "path"}:
            pictures[name] = Embedded(str(path), partial(_cell_of_column, column), path.parent)
        else:
            columns[name] = column_of([cell_text(value) for value in column.to_pylist()])
    return Rows(str(path), path.parent, columns, pictures, size=table.num_rows)


# What fetches a cell goes to worker processes, which need not be forks of this one: it is no closure.


def _cell_of_column(column: "pyarrow.ChunkedArray", row: int) -> tuple[bytes | None, str | None]:
    cell = column[row].as_py() or {}
    return cell.get("bytes"), cell.get("path")


def is_saved(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of datasets leaves."""
    return has_splits(folder) or (folder / "dataset_info.json").is_file()


def has_splits(folder: Path) -> bool:
    """Whether it is one with several splits."""
    return (folder / "dataset_dict.json").is_file()


def read_hugging_face(source: str, role: str) -> Rows | None:
    """A data set of the Hugging Face Hub, or a saved one.

    Args:
        source: "hf:org/name", or a folder. "hf:org/name:subset" names a subset.
        role: "train", "validation" or "test": which of its splits.

    Returns:
        The table; None: it has no such split.

    Raises:
        ImportError: if datasets is not installed.
        ValueError: if it has splits, and none for training.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{source}: Hugging Face data sets are read by datasets: {_WAY_OUT}.") from error
    name, _, subset = source.removeprefix("hf:").partition(":")
    of_hub = source.startswith("hf:")
    loaded = datasets.load_dataset(name, subset or None) if of_hub else datasets.load_from_disk(source)
    if isinstance(loaded, datasets.Dataset):
        return _rows_of(source, loaded)
    for name in _PARTS[role]:
        if name in loaded:
            return _rows_of(f"{source} ({name})", loaded[name])
    if role == "train":
        raise ValueError(f"{source} has no split train. It has {', '.join(map(str, loaded))}.")
    return None


def _rows_of(called: str, data: "datasets.Dataset") -> Rows:
    import datasets

    names = check_names(called, data.column_names)
    columns: dict[str, Column] = {}
    pictures: dict[str, Pictures] = {}
    labels: dict[str, list[str]] = {}
    for own, name in zip(data.column_names, names, strict=True):
        feature = data.features[own]
        is_image = isinstance(feature, datasets.Image)
        if is_image or (isinstance(feature, dict) and feature.keys() >= {"bytes", "path"}):  # a Parquet file tells so
            undecoded = data.select_columns([own])
            if is_image:
                undecoded = undecoded.cast_column(own, datasets.Image(decode=False))
            pictures[name] = Embedded(called, partial(_cell_of_data, undecoded, own), Path())
            continue
        values = data.with_format(None)[own]
        if isinstance(feature, datasets.ClassLabel):
            labels[name] = list(feature.names)
            # By datasets' own habit -1 is no label.
            values = [None if value is None or value < 0 else feature.names[value] for value in values]
        columns[name] = column_of([cell_text(value) for value in values])
    return Rows(called, Path(), columns, pictures, labels, size=len(data))


def _cell_of_data(data: "datasets.Dataset", column: str, row: int) -> tuple[bytes | None, str | None]:
    cell = data[row][column] or {}
    return cell.get("bytes"), cell.get("path")
