"""A bar for what takes long before a run begins."""

import io
import itertools

import pytest
from rich.console import Console

from tsbn_hub.data import progress
from tsbn_hub.data.progress import with_progress


@pytest.mark.parametrize(
    ("seconds", "terminal", "shown"), [(1, True, True), (0.1, True, False), (1, False, False)], ids=str
)
def test_a_bar_after_two_seconds(monkeypatch, seconds, terminal, shown):
    clock = itertools.count(0, seconds)
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    assert list(with_progress(range(8), "Drawing [rooms]", console)) == [*range(8)]
    assert ("Drawing [rooms]" in console.file.getvalue()) == shown
    if not shown:
        assert console.file.getvalue() == ""


def test_it_ends_with_the_loop(monkeypatch):
    clock = itertools.count(0, 5)
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    items = with_progress(range(8), "Drawing", console)
    next(items)
    items.close()
    assert console._live_stack == [] if hasattr(console, "_live_stack") else console._live is None
