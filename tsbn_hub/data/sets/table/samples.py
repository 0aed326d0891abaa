"""The samples of one table: its images in one size, and its targets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from ....files.images import read_image
from ....tasks import Attributes, Classification, make_kind
from ...sample import Sample
from .broken import broken_images, check_bound, missing_files
from .fitting import Fit
from .parts import Indices, divided
from .rows import Codes, Files, Rows
from .targets import Target, pictures_of

_MEASURED = 100  # images
_STEP, _LARGEST = 32, 224  # pixels


class TableSamples:
    """Reads the samples of a table's rows.

    A file that turns out to be broken when it is read is noted, and its sample has no target and a black image: it
    counts nowhere. More of them than the bound are an error, whichever process reads them.

    Args:
        rows: The table.
        image: The column with the images.
        targets: The tasks.
        images: Where names of images lead from; None: the table's folder.
        fit: How images become one size.
        max_broken: The share of rows whose files may be missing or broken.
        used: The rows that are used.

    Attributes:
        indices: The rows whose images are not known to be missing or broken.

    Raises:
        ValueError: if the table lacks the column of images, a cell can be no target, or too many files are missing or
            broken.
    """

    def __init__(
        self,
        rows: Rows,
        image: str,
        targets: Sequence[Target],
        images: Path | None,
        fit: Fit,
        max_broken: float,
        used: Indices,
    ) -> None:
        pictures = pictures_of(rows, image, images)
        if pictures is None:
            raise ValueError(f"{rows.called} has no column {image!r}, which names the images. It has {rows.names}.")
        self._rows, self._pictures, self._fit, self._max_broken = rows, pictures, fit, max_broken
        self._targets = list(targets)
        self._readers = {target.task.name: target.reader(rows, fit) for target in targets}
        self._total = len(used)
        missing = missing_files(pictures, used.tolist())
        there = [row for row in used.tolist() if row not in missing]
        without_image = {**missing, **broken_images(pictures, there)}
        self._broken = {pictures.name(row): reason for row, reason in without_image.items()}
        for target in targets:
            if (maps := target.pictures(rows)) is not None:
                self._broken |= {maps.name(row): why for row, why in missing_files(maps, used.tolist()).items()}
        check_bound(rows.called, self._broken, self._total, max_broken)
        self.indices = np.array([row for row in used.tolist() if row not in without_image], dtype=np.int64)
        if not len(self.indices):
            raise ValueError(f"{rows.called} has no row whose image can be read.")
        # Workers of a loader note here what they find; the process that started them sees it.
        self._found = torch.zeros(len(rows), dtype=torch.uint8).share_memory_()

    def __call__(self, row: int) -> Sample:
        """The sample of a row: its image (3, size, size), uint8, and the targets that it has.

        Raises:
            ValueError: if its files are broken, and those of too many others.
        """
        sample, broken = self._read(row)
        if broken and not self._found[row]:
            self._found[row] = 1
            if len(self._broken) + int(self._found.sum()) > self._max_broken * self._total:
                check_bound(self._rows.called, self.broken_files, self._total, self._max_broken)
        return sample

    def _read(self, row: int) -> tuple[Sample, dict[str, str]]:
        """The sample of a row, and which of its files are broken, and why."""
        broken, targets = {}, {}
        source = self._pictures.source(row)
        try:
            picture = read_image(Path() if source is None else source)
        except (OSError, ValueError) as error:
            black = torch.zeros(3, self._fit.size, self._fit.size, dtype=torch.uint8)
            return {"image": black, "targets": {}}, {self._pictures.name(row): str(error)}
        for target in self._targets:
            try:
                value = self._readers[target.task.name](row, picture.size)
            except (OSError, ValueError) as error:
                maps = target.pictures(self._rows)
                broken[self._pictures.name(row) if maps is None else maps.name(row)] = str(error)
            else:
                if value is not None:
                    targets[target.task.name] = value
        return {"image": pil_to_tensor(self._fit.picture(picture)), "targets": targets}, broken

    def file_of(self, row: int) -> str:
        """What the image of a row is called."""
        return self._pictures.name(row)

    @property
    def broken_files(self) -> dict[str, str]:
        """The files that are missing or broken as far as is known, each with the reason."""
        found = dict(self._broken)
        for row in self._found.nonzero().flatten().tolist():  # perhaps by a worker, which told no reason
            found |= self._read(row)[1]
        return found

    def divided(self, indices: Indices, fraction: float, seed: int, group: str | None) -> tuple[Indices, Indices]:
        """Some of the rows without a fraction of them, and this fraction. See `divided`."""
        return divided_rows(self._rows, indices, fraction, seed, self._targets, group, self._pictures)


def divided_rows(
    rows: Rows,
    indices: Indices,
    fraction: float,
    seed: int,
    targets: Sequence[Target],
    group: str | None,
    pictures: object = None,
) -> tuple[Indices, Indices]:
    """Some rows without a random fraction of them, and this fraction: stratified by all classes, and grouped.

    Args:
        rows: The table.
        indices: Of the rows to divide.
        fraction: The part to hold out.
        seed: Draws it.
        targets: The tasks, whose classes are divided.
        group: The column by which rows belong together; None: rows of one image do.
        pictures: The images.
    """
    labels = [
        rows.columns[target.column].codes[indices]
        for target in targets
        if target.column in rows.columns and isinstance(make_kind(target.task), Classification | Attributes)
    ]
    groups: Codes | None = None
    if group is not None:
        groups = rows.columns[group].codes[indices]
    elif isinstance(pictures, Files) and len(np.unique(pictures.column.codes[indices])) < len(indices):
        groups = pictures.column.codes[indices]
    kept, held_out = divided(len(indices), fraction, seed, labels, groups)
    return indices[kept], indices[held_out]


def usual_size(rows: Rows, image: str, images: Path | None) -> int:
    """The median of the shorter sides of some images, as a multiple of 32 from 32 to 224."""
    pictures, sides = pictures_of(rows, image, images), []
    for row in range(0, len(rows), max(1, len(rows) // _MEASURED)):
        source = None if pictures is None else pictures.source(row)
        if source is not None:
            try:
                with Image.open(source) as picture:
                    sides.append(min(picture.size))
            except (OSError, ValueError):
                continue  # it is told of with all broken files
    nearest = _STEP * round(float(np.median(sides)) / _STEP) if sides else _LARGEST
    return min(max(nearest, _STEP), _LARGEST)
