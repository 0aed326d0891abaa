"""What goes wrong on the way, as a test asks for it: answers that are errors, cut connections, changed bytes, races."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class _Fault:
    kind: str
    method: str
    path: str
    times: int | None
    value: Any

    def concerns(self, kind: str, method: str, path: str) -> bool:
        met = self.kind == kind and self.times != 0
        return met and re.fullmatch(self.method, method) is not None and re.search(self.path, path) is not None


@dataclass(frozen=True)
class Failure:
    """An answer that is an error."""

    status: int
    message: str
    headers: dict[str, str]


class Faults:
    """Faults that are to come, each for the next `times` requests (None: for all, until cleared) that it matches.

    `method` is a regular expression that matches a request's whole method (`GET|HEAD`), `path` one that is found in
    its path and query as sent (`/resolve/.*config.json`, `/commit/main`, `refs%2Fpr%2F1`; large files are uploaded to
    `/lfs/owner/name/SHA256/SIZE`).
    """

    def __init__(self) -> None:
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def fail(
        self, method: str, path: str, status: int = 500, times: int | None = 1, message: str = "", **headers: str
    ) -> None:
        """Answer with an error and do nothing; headers in Python's spelling, e.g. `retry_after="1"`."""
        spelled = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self._add("fail", method, path, times, Failure(status, message, spelled))

    def cut(self, method: str, path: str, after: int = 0, times: int | None = 1) -> None:
        """Do what is asked, and close the connection after so many bytes of the answer's body."""
        self._add("cut", method, path, times, after)

    def cut_upload(self, method: str, path: str, after: int = 0, times: int | None = 1) -> None:
        """Close the connection after so many bytes of the request's body were read, and do nothing."""
        self._add("cut_upload", method, path, times, after)

    def before(self, method: str, path: str, action: Callable[[], object], times: int | None = 1) -> None:
        """Call this when the request has arrived, before anything is done: a race, a delay."""
        self._add("before", method, path, times, action)

    def corrupt(self, path: str, change: Callable[[bytes], bytes], times: int | None = 1) -> None:
        """Change the bytes of a download on their way; its length is still given as that of the true ones.

        Fewer bytes than that: the connection is closed after them.
        """
        self._add("corrupt", "GET", path, times, change)

    def clear(self) -> None:
        """Forget the faults that have not happened."""
        with self._lock:
            self._faults.clear()

    def take(self, kind: str, method: str, path: str) -> Any:
        """What the first fault of a kind that concerns a request does (once less from now on); None without one."""
        with self._lock:
            for fault in self._faults:
                if fault.concerns(kind, method, path):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault.value
        return None

    def _add(self, kind: str, method: str, path: str, times: int | None, value: Any) -> None:
        with self._lock:
            self._faults.append(_Fault(kind, method, path, times, value))
