"""Running many trainings, several at a time, each in a process of its own."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from ..files.locking import FolderInUseError, writing_alone
from ..files.names import RESULTS
from ..results.recording import record_run
from ..training import Stopped, train
from ..training.state.signals import StopSignals
from .grid import Run

_BUSY = 75  # as EX_TEMPFAIL of BSD's sysexits.h
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_UNTIL_TRIED_AGAIN = 2.0


class Watcher(Protocol):
    """Is told what becomes of runs."""

    def __call__(self, run: Run, what: str, /) -> None:
        """Called with a run and, in words, what it does."""


def is_finished(run: Run) -> bool:
    """Whether a run has its results."""
    return (run.folder / RESULTS).is_file()


def log_of(folder: Path) -> Path:
    """Where what the run in a folder prints goes: beside the folders of the runs."""
    return folder.parent / "logs" / f"{folder.name}.txt"


def seconds_in(folder: Path) -> float:
    """How long the run in a folder has trained, over all of its sittings but those that were killed; 0: not known."""
    path = _seconds(folder)
    return sum(map(float, path.read_text("utf-8").split())) if path.is_file() else 0.0


def run_all(runs: Sequence[Run], jobs: int, deadline: float | None, watch: Watcher) -> dict[Run, str]:
    """Train what is not finished, several at a time. A run that is at work elsewhere is waited for.

    Args:
        runs: In the order in which they begin.
        jobs: How many run at a time.
        deadline: When to stop, by `time.monotonic`; None: when all are done. Runs that are at work then save their
            state.
        watch: Is told what becomes of each.

    Returns:
        Why runs have failed, by run. What is neither there nor finished had no time.

    Raises:
        Stopped: by Ctrl-C or SIGTERM; what was at work has saved its state.
    """
    waiting = [run for run in dict.fromkeys(runs) if not is_finished(run)]
    failed: dict[Run, str] = {}
    busy_until: dict[Run, float] = {}

    def wait_for(run: Run) -> None:
        if run not in busy_until:
            watch(run, "waits for another process that is at work on it")
        busy_until[run] = time.monotonic() + _SECONDS_UNTIL_TRIED_AGAIN
        waiting.append(run)

    with StopSignals() as signals, _processes() as working:
        while waiting or working:
            if signals.received is not None:
                raise Stopped(
                    f"Stopped by {signals.received.name}: the same command goes on from there.", signals.received
                )
            for run in [each for each in working if not working[each].is_alive()]:
                code = working.pop(run).exitcode
                if is_finished(run):
                    watch(run, "done")
                elif code == _BUSY:
                    wait_for(run)
                else:
                    failed[run] = _reason(run, code)
                    watch(run, f"failed: {failed[run]}")
            if deadline is not None and time.monotonic() >= deadline:
                return failed
            for run in [each for each in waiting if busy_until.get(each, 0.0) <= time.monotonic()]:
                if len(working) == jobs:
                    break
                waiting.remove(run)
                if is_finished(run):  # by another comparison
                    watch(run, "done")
                elif _is_busy(run):
                    wait_for(run)
                else:
                    watch(run, "begins")
                    working[run] = _start(run, jobs)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return failed


def start_process(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a process that is a fork of one which has imported already what training needs; else a new one."""
    has_forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if has_forks else "spawn")
    if has_forks:
        context.set_forkserver_preload(["tsbn_hub.compare.running", "timm.models", "torchmetrics"])
    process = context.Process(target=target, args=arguments)  # type: ignore[attr-defined]
    process.start()
    return process


@contextmanager
def _processes() -> Iterator[dict[Run, BaseProcess]]:
    """Processes by run. What is at work at the end of the block is stopped, and saves its state."""
    working: dict[Run, BaseProcess] = {}
    try:
        yield working
    finally:
        for process in working.values():
            process.terminate()
        for process in working.values():
            process.join()


def print_into(log: Path) -> None:
    """From now on what this process prints, whoever prints it, is appended to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)


def last_line(log: Path) -> str:
    """The last line of a file that is not empty; nothing where there is none."""
    lines = log.read_text("utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _is_busy(run: Run) -> bool:
    """Whether another process is at work on it, as one that a killed comparison has left behind."""
    if not run.folder.is_dir():
        return False
    try:
        with writing_alone(run.folder):
            return False
    except FolderInUseError:
        return True


def _start(run: Run, jobs: int) -> BaseProcess:
    log_of(run.folder).parent.mkdir(parents=True, exist_ok=True)
    return start_process(_train, run, max(1, torch.get_num_threads() // jobs))


def _train(run: Run, threads: int) -> None:
    """What the process of a run does. An error ends up as the last line of its log."""
    print_into(log_of(run.folder))
    torch.set_num_threads(threads)
    started = time.monotonic()
    try:
        train(run.config, on_scores=partial(record_run, run.config))
    except FolderInUseError:
        os._exit(_BUSY)  # without being a sitting
    except Exception as error:  # noqa: BLE001 - whatever it is, the comparison tells it and goes on
        traceback.print_exc()
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
    finally:
        with _seconds(run.folder).open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - started:.1f}\n")


def _reason(run: Run, code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}, as where memory is short"
    return last_line(log_of(run.folder)) or f"exit status {code}"


def _seconds(folder: Path) -> Path:
    return log_of(folder).with_suffix(".seconds")
