"""What a process does while a checkpoint is loaded, and how much it may take for that. Linux alone tells all this."""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "builtins.input")
_IN_OPEN = 0x20


class TooLong(BaseException):
    """The time is over. No `except Exception` on the way catches it."""


class ForbiddenCalls:
    """Calls to the network, to other programs, to pickle and to the user, while they are watched.

    Python cannot be told to stop telling: there should be one of these in a process.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._watching = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Any) -> None:
        if self._watching and event.startswith(_FORBIDDEN) and event != "socket.__new__":
            self.seen.append(f"{event}{arguments}"[:300])
            if event.startswith(("socket.", "builtins.")):
                raise ConnectionRefusedError("Nothing is asked of anybody while a checkpoint is fuzzed.")

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Within the block, calls are put down in the list."""
        self.seen, self._watching = [], True
        try:
            yield self.seen
        finally:
            self._watching = False


class OpenedFiles:
    """Which of some files are opened by anybody, in Python or out of it.

    Args:
        paths: Of files, by whatever name they are opened, and of folders, for the files that are in them.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK)
        for path in paths:
            if libc.inotify_add_watch(self._handle, os.fsencode(path), _IN_OPEN) < 0:
                raise OSError(ctypes.get_errno(), f"{path} cannot be watched")

    def any(self) -> bool:
        """Whether one was opened since the last time."""
        try:
            return bool(os.read(self._handle, 2**16))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._handle)


@contextmanager
def limited(seconds: float, memory: int) -> Iterator[None]:
    """Within the block, this process may take so much more time and address space.

    Args:
        seconds: Of the processor's time. Then `TooLong` is raised.
        memory: In bytes. Then allocating fails.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)  # and again, should something have caught it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, handler)


def _stop(*_: object) -> None:
    raise TooLong
