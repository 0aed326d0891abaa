"""What may be imported of the code that a folder names: nothing of a stranger's without being asked.

A run that has code of the user's own leaves a random mark in its folder, and a record under that mark in the user's
cache: which files and modules these are, and where they lie. Where a folder's mark has a record, and it names what is
in the record, it is the user's own. A mark that is copied to another folder lets it import nothing else, and on another
machine there is no record.
"""

import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from .atomic import remove_leftovers, write_atomically
from .checkpoints import CheckpointError
from .disk_cache import user_cache
from .names import MARK
from .own_code import can_be_found, from_here, import_own, imported, is_file_name, place_of, without_folder
from .parsing import parse_json

_MARK = re.compile("[0-9a-f]{32}")
_logger = logging.getLogger(__name__)


class NotImportedError(CheckpointError):
    """What a folder holds needs code from outside this package, which was not imported. The message names it."""


@contextmanager
def code_named_in(folder: Path, names: Sequence[str], trust: bool = False) -> Iterator[dict[str, str]]:
    """Import the code that a folder names, as far as that is allowed. What then fails in the block says what it lacks.

    What is imported already, and what the folder's mark shows to be the user's own, needs no permission.

    Args:
        folder: Of a checkpoint, adapter or run. Its author may be anybody.
        names: The files and modules that it names.
        trust: Import whatever it names. Files are looked for in the working directory, then in the folder.

    Yields:
        Of those that are imported, the name that they go by here: of a file its absolute path.

    Raises:
        NotImportedError: if the block fails, and something was not imported. It says how to allow it.
    """
    recorded = _recorded_places(folder, names)
    modules = {name: _import_allowed(name, recorded.get(name), folder, trust) for name in names}
    missing = [name for name, module in modules.items() if module is None]
    try:
        yield {name: str(module.__file__) if is_file_name(name) else name for name, module in modules.items() if module}
    except NotImportedError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        if not missing:
            raise
        raise NotImportedError(f"{error} {_ways_out(folder, missing, trust)}") from error


def names_in(config: Mapping[str, object], where: Path) -> list[str]:
    """The files and modules that a checkpoint's config names, under `imports`.

    Raises:
        CheckpointError: if they are not a list of text.
    """
    names = config.get("imports", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{where} has imports={str(names)[:100]}: it must be a list of files and modules.")
    return names


def leave_mark(folder: Path, names: Sequence[str]) -> None:
    """Note that a run in a folder is the user's, and where the code that it names lies. Without any there is no mark.

    Where the cache cannot be written, it is only warned: the run needs no mark.

    Raises:
        OSError: if the folder cannot be written.
    """
    remove_leftovers(folder / MARK)
    places = {name: str(place) for name in names if (place := place_of(name)) is not None}
    # Of a folder that is published, absolute paths keep their last part alone.
    places = {without_folder(name): place for name, place in places.items()} | places
    if not places:
        (folder / MARK).unlink(missing_ok=True)
        return
    if _record_of(folder) == places:
        return
    mark = secrets.token_hex(16)
    try:
        _records().mkdir(parents=True, exist_ok=True)
        text = json.dumps(places, indent=2) + "\n"
        write_atomically({_records() / f"{mark}.json": lambda path: path.write_text(text, encoding="utf-8")})
    except (OSError, RuntimeError) as error:  # the latter is for a user without a home
        _logger.warning(
            "%s: it cannot be noted that its code is yours (%s). Later commands need --import, or --trust.",
            folder,
            error,
        )
        return
    write_atomically({folder / MARK: lambda path: path.write_text(mark, encoding="utf-8")})


def _import_allowed(name: str, place: Path | None, folder: Path, trust: bool) -> ModuleType | None:
    if place is not None and place.exists():
        return import_own(from_here(place)) if is_file_name(name) else import_own(name, [place])
    if trust and can_be_found(name, [Path(), folder]):
        return import_own(name, [Path(), folder])
    return imported(name)


def _recorded_places(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Where the named files and modules lie, by the record of a folder's mark; nothing, unless it has all of them."""
    record = _record_of(folder)
    return {name: Path(record[name]) for name in names} if all(name in record for name in names) else {}


def _record_of(folder: Path) -> dict[str, str]:
    if not (folder / MARK).is_file():
        return {}
    with (folder / MARK).open("rb") as file:
        mark = file.read(33).decode("ascii", errors="replace")
    path = _records() / f"{mark}.json"
    if not _MARK.fullmatch(mark) or not path.is_file():
        return {}
    try:
        record: dict[str, str] = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:  # it is damaged: as if there were none
        return {}
    return record


def _records() -> Path:
    """The folder of the records, in the user's cache."""
    return user_cache() / "runs"


def _ways_out(folder: Path, missing: Sequence[str], trust: bool) -> str:
    named = ", ".join(missing)
    if trust:
        return f"{folder} names {named}, which is neither in the working directory nor in that folder: import it first."
    return (
        f"{folder} names code from outside this package, which is not imported without being asked: {named}. Import it "
        f"first, as `--import {missing[0]}` does, or, if you trust its author, let all that is named there be "
        "imported: `--trust`, or trust=True in Python."
    )
