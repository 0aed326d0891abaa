"""Files that appear whole or not at all."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


def write_atomically(files: dict[Path, Callable[[Path], object]], durable: bool = True) -> None:
    """Write files whole, and all or none: each is filled beside its place first, and moved there when all are.

    Args:
        files: By the path of each, what fills it.
        durable: Wait until the disk has them, so that they outlive a power cut.

    Raises:
        OSError: if one cannot be written; it names the file.
    """
    written: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            written[path] = Path(name)
            write(written[path])
            if durable:
                with written[path].open("rb") as file:
                    os.fsync(file.fileno())
            written[path].chmod(new_file_mode())
        move_all(written)
    except (OSError, SafetensorError) as error:  # the latter is what safetensors makes of a full disk
        raise OSError(f"{path} could not be written, what was there is kept: {error}") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def move_all(files: dict[Path, Path]) -> None:
    """Move files to their places, the keys, all or none."""
    mark = secrets.token_hex(4)  # other processes may write the same files
    older = {
        place: place.with_name(f".{place.name}.{mark}.older") for place in files if len(files) > 1 and place.is_file()
    }
    moved: list[Path] = []
    try:
        for place, aside in older.items():
            _copy(place, aside)
        for place, source in files.items():
            source.replace(place)
            moved.append(place)
    except OSError:
        for place in moved:
            if place in older:
                older[place].replace(place)
            else:
                place.unlink()
        raise
    finally:
        for aside in older.values():
            aside.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)  # large files, in no time
    except OSError:  # not every file system has such links
        shutil.copy2(source, target)


def remove_leftovers(path: Path) -> None:
    """Remove what a kill in the middle of writing left beside a file: it is called as the file, with a dot before."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def new_file_mode() -> int:
    """The permissions that a new file of this process has. Those of temporary files are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
