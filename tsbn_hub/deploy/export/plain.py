"""Folders that timm and transformers load without this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from torch import nn

from ...files.file_names import file_names
from ...models import save_pretrained, surface_of
from ...norms import TaskModule
from ..prediction import chosen_kinds


@dataclass(frozen=True)
class PlainFolder:
    """A folder that was written.

    Args:
        path: Of the folder.
        library: "timm" or "transformers".
        model: The name of the model's class.
        has_head: Whether it gives the task's output. Otherwise it is the backbone alone, and `model.fold_head(task)` is
            what goes on it.
    """

    path: Path
    library: str
    model: str
    has_head: bool


def export_plain(
    model: nn.Module, folder: str | Path, tasks: Sequence[str] | None = None, *, overwrite: bool = False
) -> dict[str, PlainFolder]:
    """Write each task as a plain model, with its preprocessing, which timm or transformers loads without this package.

    Args:
        model: Of timm or transformers, with tasks. It stays as it is.
        folder: Where to. Of several tasks, each gets a folder in it, of its own name.
        tasks: Names of tasks; None: all.
        overwrite: Whether files that are there are replaced.

    Returns:
        The folders, by task.

    Raises:
        ValueError: if there is no such task, or the model is plain already.
        FileExistsError: if there is something in a folder.
        RuntimeError: if the model has no plain model of a task, as rivals have none.
        OSError: if a folder cannot be written.

    Example:
        >>> import tempfile, timm, tsbn_hub
        >>> from tsbn_hub.deploy import export_plain
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = export_plain(model, folder)
        ...     plain = timm.create_model(f"local-dir:{folder}/age", pretrained=True)
        >>> plain.num_classes, written["age"].model
        (8, 'ResNet')
    """
    surface = surface_of(model)
    if not isinstance(surface.model, TaskModule):
        raise ValueError(f"This {type(surface.model).__name__} is plain already: its library loads it as it is.")
    chosen = chosen_kinds(surface.kinds(), tasks)
    names = file_names(chosen, lambda task: quote(task, safe=" "))  # a task may have a slash in its name
    places = {task: Path(folder) / name if len(chosen) > 1 else Path(folder) for task, name in names.items()}
    for place in places.values():
        if place.exists() and not place.is_dir():
            raise FileExistsError(f"{place} is a file: give the path of a folder.")
        if place.is_dir() and any(place.iterdir()) and not overwrite:
            raise FileExistsError(
                f"{place} is not empty, and is kept. --overwrite (overwrite=True) replaces its files."
            )
    written: dict[str, PlainFolder] = {}
    for task, place in places.items():
        plain = surface.model.fold(task)
        save_pretrained(plain, place)
        written[task] = PlainFolder(place, surface.library, type(plain).__name__, surface.keeps_head(plain))
    return written
