"""Which images to predict for: files, folders, patterns, and tables that name files."""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from ...data.sets.table.guessing import find_image_column
from ...data.sets.table.reading import TABLE_SUFFIXES, is_of_hugging_face, read_table
from ...data.sets.table.rows import Files
from ...data.sets.table.targets import pictures_of
from ...files.images import FORMATS, read_image
from ...files.paths import near_hint


@dataclass(frozen=True)
class ImageFile:
    """An image to predict for, which is not read yet.

    Args:
        name: What it is called in the output: its path, or the text of a table's cell.
        stem: What files that are written for it are called, before their suffixes.
        source: The file, or what gives its content; None where a table has an empty cell.
    """

    name: str
    stem: str
    source: Path | Callable[[], Path | BytesIO | None] | None

    def read(self) -> Image.Image:
        """The image: see `tsbn_hub.data.read_image`.

        Raises:
            OSError: if the file is not there, or may not be read.
            ValueError: if it is no image, damaged, or the cell is empty.
        """
        source = self.source() if callable(self.source) else self.source
        if source is None:
            raise ValueError("the cell is empty")
        return read_image(source)


def find_images(
    paths: Sequence[str | Path], images: str | Path | None = None, file: str | None = None
) -> list[ImageFile]:
    """The images that paths stand for, in an order that does not depend on the file system.

    Args:
        paths: In this order: image files, whatever their names end with; folders, of which all images are taken,
            sorted, with those of the folders in them; patterns with `*`, `?` or `[…]`, and `**` for any folders,
            sorted; tables (CSV, TSV, JSON lines, Parquet, `hf:org/name`), row by row. A file that is named twice is
            taken once, but every row of a table counts. Hidden files of folders are left out.
        images: Of tables: the folder that names lead from; None: each table's own.
        file: Of tables: the column that names the images; None: the one whose cells name files that are there.

    Returns:
        At least one image.

    Raises:
        FileNotFoundError: if there is no such file or folder, or nothing that a pattern stands for.
        ValueError: if a folder has no image, or a table cannot be read or names none.
        ImportError: if a table needs a library that is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from tsbn_hub.deploy import find_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.jpg"):
        ...         Image.new("RGB", (8, 8)).save(Path(folder, name))
        ...     [image.stem for image in find_images([folder])]
        ['a', 'b']
    """
    found: list[ImageFile] = []
    seen: set[str] = set()
    folder = None if images is None else Path(images).expanduser()
    for given in map(str, paths):
        if _is_table(given):
            found += _rows(given, folder, file)
            continue
        for path in _files(given):
            if (name := str(path)) not in seen:
                seen.add(name)
                found.append(ImageFile(name, path.stem, path))
    if not found:
        raise ValueError("There is no image to predict for: give files, folders, patterns or tables.")
    return found


def _is_table(given: str) -> bool:
    path = Path(given).expanduser()
    return is_of_hugging_face(given) or (path.is_file() and path.suffix.lower() in TABLE_SUFFIXES)


def _files(given: str) -> Iterator[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        known = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
        inner = sorted(path.rglob("*"))
        images = [each for each in inner if each.suffix.lower() in known and not _is_hidden(each.relative_to(path))]
        if not images:
            raise ValueError(f"{given} has no images: no file in it ends with {', '.join(sorted(known)[:8])}, ….")
        yield from images
    elif path.exists():
        yield path
    elif glob.has_magic(given):
        matches = sorted(each for each in map(Path, glob.glob(str(path), recursive=True)) if each.is_file())  # noqa: PTH207
        if not matches:
            raise FileNotFoundError(f"{given} does not exist: no file is named so.")
        yield from matches
    else:
        raise FileNotFoundError(f"{given} does not exist.{near_hint(path.parent)}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _rows(source: str, images: Path | None, file: str | None) -> Iterator[ImageFile]:
    rows = read_table(source, "test")
    if rows is None:
        raise ValueError(f"{source} has no split test. Save the split that you mean, and give its folder.")
    column = find_image_column(rows, images, file)
    pictures = pictures_of(rows, column, images)
    assert pictures is not None  # the column is there
    for row in range(len(rows)):
        here = f"{rows.called}, row {row + 1}"
        if not isinstance(pictures, Files):
            yield ImageFile(here, f"row-{row + 1}", partial(pictures.source, row))
        elif (cell := pictures.column.cell(row)) is None:
            yield ImageFile(here, f"row-{row + 1}", None)
        else:
            path = pictures.path_of(cell)
            yield ImageFile(cell, path.stem, path)
