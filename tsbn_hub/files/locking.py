"""A folder that one process at a time writes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .names import LOCK


class FolderInUseError(ValueError):
    """Another process, or another thread of this one, writes a folder."""


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Within the block, no other process or thread enters such a block for the same folder.

    The lock is the operating system's: it ends with the process, whatever ends that, and on a network's file system it
    holds for other machines, too.

    Args:
        folder: It exists.

    Raises:
        FolderInUseError: if another one is within such a block.
        OSError: if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tsbn_hub.files.locking import writing_alone
        >>> with tempfile.TemporaryDirectory() as folder, writing_alone(Path(folder)), writing_alone(Path(folder)):
        ...     pass
        Traceback (most recent call last):
        tsbn_hub.files.locking.FolderInUseError: ...
    """
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, RuntimeError) as error:  # the latter: of this very thread
        raise FolderInUseError(
            f"Another run is at work in {folder}, and would lose what it has: wait for its end, or choose another "
            f"output. (If none is alive, on a file system without locks, remove {folder / LOCK}.)"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove a file that is open
            (folder / LOCK).unlink()
        lock.release()
