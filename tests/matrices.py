"""Which cases of a large table of tests run: nightly all, otherwise those that have each row and each column."""

import os
from collections.abc import Iterable
from typing import TypeVar

Case = TypeVar("Case")

NIGHTLY = bool(os.environ.get("TSBN_HUB_NIGHTLY"))


def cases_of(table: Iterable[Case], chosen: Iterable[Case]) -> list[Case]:
    """The cases to run. Those that are chosen for every day must be in the table."""
    every, some = list(table), list(chosen)
    unknown = [case for case in some if case not in every]
    assert not unknown, f"{unknown} are no cases."
    return every if NIGHTLY else some
