"""Ctrl-C and SIGTERM: finish the step, save, exit."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import torch

_PLACES = 4096
_SECONDS_TO_START = 10.0


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
    One that is still starting would miss what the main process takes away before, and say so: it is waited for.
    """

    def __init__(self) -> None:
        # In memory that the processes share. A worker that has started is noted at the place that its pid gives.
        self._ending = multiprocessing.RawValue("b", False)
        self._started = multiprocessing.RawArray("i", _PLACES)
        self._workers: list[BaseProcess] = []
        # Before Python takes away its semaphores (0), and then stops the children.
        Finalize(self, _end, (self._ending, self._started, self._workers), exitpriority=10)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_workers": []}  # a worker gets this, and knows of no other one

    def wait_for(self, workers: Iterable[BaseProcess]) -> None:
        """At the end of this process, let these workers start before anything is taken away from them."""
        self._workers[:] = [worker for worker in (*self._workers, *workers) if worker.is_alive()]

    def __call__(self, _: int = 0) -> None:
        """Handle the signals of the worker process that this is called in."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end_with_main)
        self._started[os.getpid() % _PLACES] = os.getpid()

    def _end_with_main(self, number: int, frame: FrameType | None) -> None:
        if self._ending.value:
            os._exit(0)  # torch would raise any other status as an error in the main process


def _end(ending: Any, started: Any, workers: list[BaseProcess]) -> None:
    ending.value = True
    patience = time.monotonic() + _SECONDS_TO_START
    for worker in workers:
        pid = worker.pid or 0
        while started[pid % _PLACES] != pid and worker.is_alive() and time.monotonic() < patience:
            time.sleep(0.02)


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal, here or in another process; what was reached is saved.

    Attributes:
        exit_status: 128 + the signal, as shells have it.
    """

    def __init__(self, message: str, received: signal.Signals | None) -> None:
        super().__init__(message)
        self.exit_status = 128 + (received or signal.SIGTERM)
