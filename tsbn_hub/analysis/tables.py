"""The tables of numbers beside pictures."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files.atomic import write_atomically


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all. A number that is NaN is an empty cell.

    Args:
        path: The file.
        rows: The names of the columns, and the rows.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        ["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows
    )
    write_atomically({path: lambda file: file.write_text(text.getvalue(), "utf-8", "backslashreplace")})
