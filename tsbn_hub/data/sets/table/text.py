"""Tables of text: CSV, TSV and what is alike, in the encodings and with the delimiters that are in use."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from .rows import ColumnBuilder, Rows, check_names

_BY_BOM = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DELIMITERS = "\t;|,"  # where several are as good: a comma may be a decimal mark
_LOOKED_AT = 100  # rows
_AT_ONCE = 50_000  # rows


def read_text_table(path: Path) -> Rows:
    """A table of text.

    The encoding is UTF-8, UTF-16, or else Windows' western one (cp1252, of which Latin-1 is a part). The delimiter is
    that by which the rows have equally many cells. The first row has the names, unless one of its cells is the name of
    an image. Rows may lack cells at their end, which are empty.

    Raises:
        ValueError: if it is empty, damaged, or a row has more cells than the first one.
    """
    text = _decoded(path)
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else delimiter_of(text)
    rows = _rows(path, text, delimiter)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty.")
    has_names = not any(cell.strip().lower().endswith(tuple(Image.registered_extensions())) for cell in first)
    names = check_names(str(path), first if has_names else [""] * len(first))
    builders = [ColumnBuilder() for _ in names]
    size = 0
    held = [] if has_names else [first]
    while held or (held := list(islice(rows, _AT_ONCE))):
        size += len(held)
        for builder, cells in zip(builders, zip(*held, strict=True), strict=True):
            builder.add(cells)
        held = []
    columns = {name: builder.column() for name, builder in zip(names, builders, strict=True)}
    return Rows(str(path), path.parent, columns, decimal="," if delimiter == ";" else None, size=size)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    encoding = next((name for mark, name in _BY_BOM.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:1000]:  # of UTF-16 without a mark every other byte is 0
        zeros = [content[place:1000:2].count(0) for place in (0, 1)]
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        if max(zeros) < min(len(content), 1000) // 4:
            encoding = "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(f"{path} is no text in {encoding.upper()}, as it begins: {error}.") from error
        text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path} is damaged: line {line} has a NUL byte.")
    return text


def delimiter_of(text: str) -> str:
    r"""The delimiter by which most of the first rows have as many cells as the very first one.

    Example:
        >>> from tsbn_hub.data.sets.table.text import delimiter_of
        >>> delimiter_of("file;price\na.jpg;1,5\nb.jpg;2,5"), delimiter_of('file,note\na.jpg,"x; y"')
        (';', ',')
    """

    def fits(delimiter: str) -> tuple[float, int]:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
            counts = [len(row) for row in islice(reader, _LOOKED_AT) if row]
        except csv.Error:
            return 0.0, 0
        if not counts or counts[0] == 1:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    best = max(_DELIMITERS, key=fits)
    return best if fits(best)[1] else ","


def _rows(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows that are not blank, all as long as the first one."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
    )
    width = 0
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            width = width or len(row)
            if len(row) > width and any(cell.strip() for cell in row[width:]):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} cells, and {width} in the first row. A cell with "
                    f"{delimiter!r} in it stands in quotes."
                )
            yield row if len(row) == width else (row + [""] * width)[:width]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}. Is a quote opened and not closed?") from error
