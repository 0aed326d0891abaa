"""Files that are missing or broken: found as far as is cheap, without decoding all of them."""

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from ....files.images import check_image_file, read_image
from ....files.paths import is_file
from ...progress import with_progress
from .rows import Files, Pictures

_LOOKED_INTO = 10_000  # images; what is wrong with others is found when they are read
_SHOWN = 10
# How files begin, and what their last bytes hold if nothing was cut off.
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}


def missing_files(pictures: Pictures, rows: Iterable[int]) -> dict[int, str]:
    """The rows whose file is not there, each with the reason. Each folder is listed once."""
    if not isinstance(pictures, Files):
        return {}
    column, folder = pictures.column, str(pictures.folder)
    listings: dict[str, frozenset[str]] = {}

    def is_there(value: str) -> bool:
        parent, name = os.path.split(os.path.join(folder, value))  # noqa: PTH118 — a Path takes ten times as long
        if parent not in listings:
            listings[parent] = _names_in(parent)
        # A name may be spelled in another way than the listing has it, or with backslashes.
        return name in listings[parent] or is_file(pictures.path_of(value))

    there = [is_there(value) for value in column.values]
    return {row: "there is no such file" for row in rows if (code := column.codes[row]) >= 0 and not there[code]}


def broken_images(pictures: Pictures, rows: list[int]) -> dict[int, str]:
    """The rows whose image is known to be broken without decoding it, each with the reason.

    Looked into are the beginning and the end of at most 10,000 files, evenly spread. One that seems to be cut off is
    decoded.
    """
    chosen = rows[:: max(1, -(-len(rows) // _LOOKED_INTO))]
    found = {}
    for row in with_progress(chosen, "Looking into the images"):
        source = pictures.source(row)
        if source is None:
            found[row] = "the cell is empty"
            continue
        try:
            check_image_file(source)
            if _seems_cut_off(source):
                read_image(source)
        except (OSError, ValueError) as error:
            found[row] = str(error)
    return found


def check_bound(called: str, broken: dict[str, str], total: int, bound: float) -> None:
    """Refuse a table of which too many files are missing or broken.

    Raises:
        ValueError: if more than the bound's share are; it names the first ten.
    """
    if len(broken) > bound * total:
        shown = "".join(f"\n  {name}: {reason}" for name, reason in list(broken.items())[:_SHOWN])
        raise ValueError(
            f"Of {total:,} rows of {called}, {len(broken):,} have files that are missing or broken, more than "
            f"max_broken={bound:g} allows. The first:{shown}"
        )


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 — names alone
    except (OSError, ValueError):
        return frozenset()


def _seems_cut_off(source: Path | BytesIO) -> bool:
    if isinstance(source, BytesIO):
        begin, end = source.getvalue()[:4], source.getvalue()[-16:]
    else:
        with source.open("rb") as file:
            begin = file.read(4)
            file.seek(max(-16, -source.stat().st_size), os.SEEK_END)
            end = file.read()
    return any(begin.startswith(mark) and last not in end for mark, last in _ENDS.items())
