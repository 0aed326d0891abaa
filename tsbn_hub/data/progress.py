"""Progress of what takes long before a run begins."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_PATIENCE = 2  # seconds


def with_progress(items: Sequence[T], what: str, console: Console | None = None) -> Iterator[T]:
    """The items; what takes longer than two seconds shows a bar, which vanishes at the end.

    Args:
        items: One after the other.
        what: What is done with them, such as "Drawing Avatars".
        console: Where to; None: standard error. Nothing is shown where it is no terminal.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    begin, done = monotonic(), bar.add_task(what, total=len(items))
    try:
        for item in items:
            if console.is_terminal and not bar.live.is_started and monotonic() - begin > _PATIENCE:
                bar.start()
            yield item
            bar.advance(done)
    finally:
        if bar.live.is_started:
            bar.stop()
