"""Ctrl-C and SIGTERM: finish the step, save, exit."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

import torch


class StopSignals:
    """Within the block, Ctrl-C (SIGINT) and SIGTERM are noted in `received` instead of ending the process.

    A second Ctrl-C ends it at once. Outside the main thread, where Python allows no handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def asked(self, device: torch.device) -> torch.Tensor:
        """1 if this process is asked to stop, else 0, as a scalar of float32 to be summed over all processes."""
        return torch.tensor(float(self.received is not None), device=device)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # torchrun sends SIGTERM after the terminal's Ctrl-C: only a second Ctrl-C is impatience.
        if number == self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number)


def ignore_stop_signals(_: int = 0) -> None:
    """Leave stopping to the main process: for the worker processes of a DataLoader, which a Ctrl-C reaches too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal, here or in another process; what was reached is saved.

    Attributes:
        exit_status: 128 + the signal, as shells have it.
    """

    def __init__(self, message: str, received: signal.Signals | None) -> None:
        super().__init__(message)
        self.exit_status = 128 + (received or signal.SIGTERM)
