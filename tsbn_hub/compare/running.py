"""Running many trainings, several at a time, each in a process of its own."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from ..files.locking import FolderInUseError
from ..files.names import RESULTS
from ..results.recording import record_run
from ..training import Stopped, train
from ..training.state.signals import StopSignals
from .grid import Run

_BUSY = 75  # as EX_TEMPFAIL of BSD's sysexits.h
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_UNTIL_TRIED_AGAIN = 10.0


class Watcher(Protocol):
    """Is told what becomes of runs."""

    def __call__(self, run: Run, what: str, /) -> None:
        """Called with a run and, in words, what it does."""


def is_finished(run: Run) -> bool:
    """Whether a run has its results."""
    return (run.folder / RESULTS).is_file()


def log_of(run: Run) -> Path:
    """Where what a run prints goes: beside the folders of the runs."""
    return run.folder.parent / "logs" / f"{run.folder.name}.txt"


def seconds_of(run: Run) -> float:
    """How long a run has trained, over all of its sittings but those that were killed."""
    path = _seconds(run)
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
    not_before: dict[Run, float] = {}
    with StopSignals() as signals, _processes() as working:
        while waiting or working:
            for run in [each for each in working if not working[each].is_alive()]:
                code = working.pop(run).exitcode
                if is_finished(run):
                    watch(run, "done")
                elif code == _BUSY:
                    not_before[run] = time.monotonic() + _SECONDS_UNTIL_TRIED_AGAIN
                    waiting.append(run)
                    watch(run, "waits for another process that is at work on it")
                else:
                    failed[run] = _last_line(log_of(run)) or f"exit status {code}"
                    watch(run, f"failed: {failed[run]}")
            if signals.received is not None:
                raise Stopped(
                    f"Stopped by {signals.received.name}: the same command goes on from there.", signals.received
                )
            if deadline is not None and time.monotonic() >= deadline:
                return failed
            for run in [each for each in waiting if not_before.get(each, 0.0) <= time.monotonic()]:
                if len(working) == jobs:
                    break
                waiting.remove(run)
                if is_finished(run):  # by another comparison
                    watch(run, "done")
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


def _start(run: Run, jobs: int) -> BaseProcess:
    log_of(run).parent.mkdir(parents=True, exist_ok=True)
    return start_process(_train, run, max(1, torch.get_num_threads() // jobs))


def _train(run: Run, threads: int) -> None:
    """What the process of a run does. An error ends up as the last line of its log."""
    log = os.open(log_of(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(threads)
    started = time.monotonic()
    try:
        train(run.config, on_scores=partial(record_run, run.config))
    except FolderInUseError:
        sys.exit(_BUSY)
    finally:
        with _seconds(run).open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - started:.1f}\n")


def _seconds(run: Run) -> Path:
    return log_of(run).with_suffix(".seconds")


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
