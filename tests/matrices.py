"""Which cases of a large table of tests run: nightly all, otherwise those that have each row and each column."""

import os
from collections.abc import Iterable
from typing import TypeVar

Case = TypeVar("Case")
Column = TypeVar("Column")

NIGHTLY = bool(os.environ.get("TSBN_HUB_NIGHTLY"))


def cases_of(table: Iterable[Case], chosen: Iterable[Case]) -> list[Case]:
    """The cases to run. Those that are chosen for every day must be in the table."""
    every, some = list(table), list(chosen)
    unknown = [case for case in some if case not in every]
    assert not unknown, f"{unknown} are no cases."
    return every if NIGHTLY else some


def diagonal(rows: Iterable[Case], columns: Iterable[Column]) -> list[tuple[Case, Column]]:
    """Pairs that have each row and each column: the shorter of the two begins again until the longer one ends."""
    firsts, seconds = list(rows), list(columns)
    return [(firsts[at % len(firsts)], seconds[at % len(seconds)]) for at in range(max(len(firsts), len(seconds)))]
