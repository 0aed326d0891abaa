"""Ctrl-C and SIGTERM: finish the step, save, exit."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.util import Finalize
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


class MainProcessStops:
    """The `worker_init_fn` of a DataLoader whose worker processes leave stopping to the main process, until its end.

    A Ctrl-C, and the SIGTERM at a job's end, reach the workers as well, but the main process finishes its step first,
    and needs their batches. At its own end, Python stops its children by SIGTERM and waits for them: then they obey.
    """

    def __init__(self) -> None:
        self._ending = multiprocessing.RawValue("b", False)  # in memory that the processes share
        Finalize(self, setattr, (self._ending, "value", True), exitpriority=0)  # before the children are stopped

    def __call__(self, _: int = 0) -> None:
        """Handle the signals of the worker process that this is called in."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end_with_main)

    def _end_with_main(self, number: int, frame: FrameType | None) -> None:
        if self._ending.value:
            os._exit(0)  # torch would raise any other status as an error in the main process


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal, here or in another process; what was reached is saved.

    Attributes:
        exit_status: 128 + the signal, as shells have it.
    """

    def __init__(self, message: str, received: signal.Signals | None) -> None:
        super().__init__(message)
        self.exit_status = 128 + (received or signal.SIGTERM)
