"""Which rows of a table are held out: drawn from a seed, stratified, and grouped on wish."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .rows import Codes

Indices = npt.NDArray[np.int64]


def divided(
    size: int, fraction: float, seed: int, labels: Sequence[Codes] = (), groups: Codes | None = None
) -> tuple[Indices, Indices]:
    """The rows without a random fraction of them, and this fraction; both in order.

    Every class of every column is divided by the fraction, the rarest one first, so that a class of two rows has one in
    each part. Rows of one group stay together.

    Args:
        size: The number of rows.
        fraction: The part to hold out, in (0, 1). Of two or more rows or groups, at least one is.
        seed: Draws it.
        labels: Of each column with classes, the class of each row; negative: it has none.
        groups: The group of each row; negative: a row by itself.

    Example:
        >>> import numpy as np
        >>> from tsbn_hub.data.sets.table.parts import divided
        >>> kept, held_out = divided(10, 0.2, seed=0, labels=[np.array([0] * 8 + [1] * 2)])
        >>> len(kept), len(held_out), int(sum(held_out >= 8))
        (7, 3, 1)

    Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data", ECML 2011, of which this takes
    the order, and assigns all rows of a class at once.
    """
    unit_of = _units(size, groups)
    number = int(unit_of.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(number)
    place = np.empty(number, np.int64)
    place[order] = np.arange(number)  # of each unit in the random order
    part = np.full(number, -1, np.int8)  # 1: held out
    for members in sorted(_members(labels, unit_of), key=len):
        held = int((part[members] == 1).sum())
        free = members[part[members] < 0]
        wanted = _share(len(members), fraction) - held
        free = free[np.argsort(place[free])]
        part[free] = 0
        part[free[: max(wanted, 0)]] = 1
    rest = order[part[order] < 0]
    wanted = _share(number, fraction) - int((part == 1).sum())
    part[rest] = 0
    part[rest[: max(wanted, 0)]] = 1
    if number > 1 and not (part == 1).any():
        part[order[0]] = 1
    held_out = part[unit_of] == 1
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _units(size: int, groups: Codes | None) -> Indices:
    """What stays together: for each row the number of its group, or one of its own."""
    if groups is None:
        return np.arange(size)
    alone = groups < 0
    numbers = groups.astype(np.int64)
    numbers[alone] = groups.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    return np.unique(numbers, return_inverse=True)[1]


def _members(labels: Sequence[Codes], unit_of: Indices) -> list[Indices]:
    """For each class of each column, the units that have it."""
    members = []
    for codes in labels:
        rows = np.argsort(codes, kind="stable")
        rows = rows[codes[rows] >= 0]
        starts = np.flatnonzero(np.diff(codes[rows], prepend=-1))
        members += [np.unique(unit_of[each]) for each in np.split(rows, starts[1:])] if len(rows) else []
    return members


def _share(number: int, fraction: float) -> int:
    """The part of so many to hold out: rounded, but not none and not all where that can be."""
    return min(max(round(number * fraction), 1), number - 1) if number > 1 else 0
