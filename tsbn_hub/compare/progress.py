"""What is shown while runs are at work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .grid import Run
from .running import Watcher, log_of


@contextmanager
def watching(console: Console, what: str, number: int) -> Iterator[Watcher]:
    """Show a bar of how many runs are done, and print a line for each that ends.

    Args:
        console: Where.
        what: What the runs are.
        number: How many.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    begun: dict[Run, float] = {}
    with Progress(*columns, console=console, transient=True, disable=number == 0) as progress:
        bar = progress.add_task(what, total=number)

        def watch(run: Run, becomes: str) -> None:
            if becomes == "begins":
                begun[run] = time.monotonic()
                return
            took = f", {time.monotonic() - begun[run]:.0f} s" if run in begun else ""
            console.print(f"{run.folder.name}: {becomes}{took}", markup=False, highlight=False)
            if becomes.startswith("failed"):
                console.print(f"  what it printed: {log_of(run.folder)}", markup=False, highlight=False, soft_wrap=True)
            if not becomes.startswith("waits"):
                progress.advance(bar)

        yield watch
