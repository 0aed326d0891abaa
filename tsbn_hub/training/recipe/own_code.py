"""The user's own code in a run: what its recipe says of it, and a recipe of anybody's with the code that it names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ...data.augmentation.step import augmentations
from ...data.sets.registry import data_sets
from ...files.names import RECIPE
from ...files.own_code import origins_of
from ...files.permission import code_named_in
from ...models import surface_of
from ...tasks import Kind
from .config import TrainingConfig


def with_own_code(
    config: TrainingConfig, model: nn.Module, kinds: Mapping[str, Kind], balancing: nn.Module
) -> TrainingConfig:
    """The config whose `imports` name all files and modules that have registered what a run uses.

    Args:
        config: Of the run.
        model: Its model.
        kinds: By task, what its targets are.
        balancing: Of its tasks.
    """
    registered: list[object] = [data_sets[source.name] for source in config.sources() if source.name in data_sets]
    registered += [augmentations[name] for name in config.augmentation if name in augmentations]
    metrics = [type(metric) for kind in kinds.values() for metric in kind.new_metrics().values()]
    used = origins_of([*registered, *map(type, kinds.values()), *metrics, type(balancing)])
    return replace(config, imports=list(dict.fromkeys([*config.imports, *used, *surface_of(model).own_code()])))


@contextmanager
def recipe_of_run(folder: Path, trust: bool = False) -> Iterator[TrainingConfig]:
    """The recipe of a run of anybody's, with the code that it names imported as far as that is allowed.

    Args:
        folder: The run's.
        trust: Import whatever it names. See `code_named_in`.

    Yields:
        The recipe, whose data sets in files, and whose imports, are those that were imported.

    Raises:
        NotImportedError: if a data set is in a file that was not imported, or the block fails for lack of such code.
        FileNotFoundError: if the folder has no recipe.
    """
    config = TrainingConfig.read(folder / RECIPE)
    with code_named_in(folder, config.own_code(), trust) as imported:
        if isinstance(config.data, str):
            data: Any = _located(config.data, imported)
        else:
            data = [
                _located(entry, imported)
                if isinstance(entry, str)
                else entry | {"name": _located(entry["name"], imported)}
                for entry in config.data
            ]
        yield replace(config, data=data, imports=[imported[name] for name in config.imports if name in imported])


def _located(name: str, imported: Mapping[str, str]) -> str:
    """A data set's name, with the path that its file has here."""
    file, colon, class_name = name.rpartition(":")
    if colon and file not in imported:
        raise ValueError(f"data={name!r}: {file} was not imported.")
    return f"{imported[file]}:{class_name}" if colon else name
