"""Table: a data set of one's own, of a table that names files and says what is in them."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ....files.paths import no_folder
from ....files.registry import did_you_mean
from ...sample import Sample
from ..registry import register_data_set
from .columns import Said
from .fitting import Fit, Way
from .guessing import find_image_column, plan_columns
from .parts import Indices
from .reading import may_have_splits, read_table, read_training_table
from .rows import Rows
from .samples import TableSamples, divided_rows, usual_size
from .targets import pictures_of

_TEST = 0.2
_SPLITS = ("train", "validation", "test")


@register_data_set("Table")
class Table(Dataset[Sample]):
    r"""Images of one's own, with labels of any kinds in a table: a column names the files, the others are tasks.

    A table is a file of CSV, TSV, JSON lines or Parquet; a Hugging Face data set, `hf:org/name` or a folder of
    `save_to_disk`; or a folder with a folder of images for each class. What each column is, is guessed from its cells:
    texts that repeat, and few whole numbers, are classes; other numbers a regression, in their units; yes and no
    attributes; files of masks, depths or vectors targets for every pixel. Constants, dates, and texts that are almost
    all different are no tasks. `columns` says otherwise. Labels are those of the training table, sorted; a class that
    it lacks, in another table, is an error. An empty cell is no label.

    A sample has an image (3, size, size), uint8, turned as its EXIF data says, RGB whatever the file has, and the
    targets that its row has.

    Files that are missing or broken are left out, up to a share of the rows: those that are found at the start, by
    their beginning and end. One that turns out to be broken when it is decoded has no targets, and so counts nowhere.

    Args:
        split: "train", "validation" or "test".
        train: The training table.
        validation: A table to choose the best epoch by; None: a part of the training table.
        test: A table to score on; or the share of the training table that is held out for that. A Hugging Face data set
            that has splits of these names gives them.
        images: The folder that names lead from; None: that of each table.
        file: The column that names the images; None: the one whose cells name files that are there.
        columns: By column, what it is: the name of a kind; a mapping with `kind` and further keys (see
            `tsbn_hub.data.sets.table.columns.target_as_said`); or None: no task.
        group: A column by which rows belong together, such as a person's: they are not divided between parts.
        size: Height and width of the images; None: the median of their shorter sides, from 32 to 224.
        fit: "crop": the square in the middle. "stretch": whole images, without regard to their shape.
        max_broken: The share of the rows whose files may be missing or broken.
        seed: Draws the share that is held out for the test.

    Attributes:
        tasks: Those of the training table, in the order of its columns.
        column_notes: What became of each column, and why.
        image_fit: As `fit`: predictions make images one size in the same way.
        broken_files: The files that are missing or broken as far as is known, each with the reason.

    Raises:
        FileNotFoundError: if a table or folder is not there.
        ValueError: if a table cannot be read, has no images or tasks, or what is said of its columns cannot be.
        ImportError: if a library is needed that is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from tsbn_hub.data import Table
        >>> rows = ["file,kind,price"] + [f"{at}.png,{'mug' if at % 2 else 'box'},{at}.5" for at in range(20)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "all.csv").write_text("\n".join(rows))
        ...     for at in range(20):
        ...         Image.new("RGB", (40, 32), (at, 0, 0)).save(Path(folder, f"{at}.png"))
        ...     data = Table("train", Path(folder, "all.csv"))
        ...     sample = data[1]
        >>> len(data), [(task.name, task.kind) for task in data.tasks], data.tasks[0].labels
        (16, [('kind', 'classification'), ('price', 'regression')], ['box', 'mug'])
        >>> sample["image"].shape, sample["targets"]["price"].shape
        (torch.Size([3, 32, 32]), torch.Size([1]))
    """

    def __init__(
        self,
        split: str,
        train: str | Path,
        validation: str | Path | None = None,
        test: str | Path | float = _TEST,
        images: str | Path | None = None,
        file: str | None = None,
        columns: Mapping[str, Said | None] | None = None,
        group: str | None = None,
        size: int | None = None,
        fit: Way = "crop",
        max_broken: float = 0.01,
        seed: int = 0,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split={split!r} is unknown. Known: {', '.join(map(repr, _SPLITS))}.")
        if isinstance(test, float | int) and not 0 < test < 1:
            raise ValueError(f"test={test} must be a table, or a share in (0, 1).")
        if not 0 <= max_broken <= 1:
            raise ValueError(f"max_broken={max_broken} must lie in [0, 1].")
        folder = None if images is None else Path(images).expanduser()
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"images: {no_folder(folder)}")
        training = read_training_table(str(train))
        said = dict(columns or {})
        for key, names in (("columns", list(said)), ("group", [group] if group is not None else [])):
            for name in names:
                if name not in training.names:
                    known = did_you_mean(name, training.names) + f" It has {', '.join(training.names)}."
                    raise ValueError(f"{key}: {training.called} has no column {name!r}.{known}")
        if group is not None and group not in training.columns:
            raise ValueError(f"group={group!r} is a column of pictures.")
        image = find_image_column(training, folder, file)
        targets, self.column_notes = plan_columns(training, image, said, group, folder)
        self.tasks = [target.task for target in targets]
        self._group, self.size = group, usual_size(training, image, folder) if size is None else size
        self.image_fit, geometry = fit, Fit(self.size, fit)

        def samples(rows: Rows, used: Indices) -> TableSamples:
            return TableSamples(rows, image, targets, folder, geometry, max_broken, used)

        own = {"validation": _other_table(train, validation, "validation")}
        own["test"] = _other_table(train, None if isinstance(test, float | int) else test, "test")
        self.validation_split = None if own["validation"] is None else "the validation table"
        rows, used = training, np.arange(len(training))
        if split != "train" and (other := own[split]) is not None:
            rows, used = other, np.arange(len(other))
        elif split == "validation":
            raise ValueError("split='validation': there is no validation table.")
        elif own["test"] is None:
            pictures = pictures_of(training, image, folder)
            share = float(test) if isinstance(test, float | int) else _TEST
            parts = divided_rows(training, used, share, seed, targets, group, pictures)
            used = parts[split == "test"]
        self._samples, self._validation = samples(rows, used), None
        if split == "train" and own["validation"] is not None:
            self._validation = samples(own["validation"], np.arange(len(own["validation"])))
        self._indices = self._samples.indices

    @property
    def broken_files(self) -> dict[str, str]:
        """The files that are missing or broken as far as is known, each with the reason."""
        return self._samples.broken_files | ({} if self._validation is None else self._validation.broken_files)

    def split_off(self, fraction: float, seed: int = 0) -> tuple["Table", "Table"]:
        """The training data, and the validation table's, whatever the fraction; or else two parts of the data.

        The parts are drawn from the seed. Each class has the fraction of its rows there, and at least one where it has
        two; rows of one group, or else of one image, stay together.

        Args:
            fraction: The part to split off, in (0, 1).
            seed: Draws it.
        """
        if self._validation is not None:
            return self, self._part(self._validation, self._validation.indices)
        kept, held_out = self._samples.divided(self._indices, fraction, seed, self._group)
        return self._part(self._samples, kept), self._part(self._samples, held_out)

    def _part(self, samples: TableSamples, indices: Indices) -> "Table":
        part = copy.copy(self)
        part._samples, part._indices, part._validation = samples, indices, None
        return part

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """The sample: image (3, size, size), uint8, and its targets; without any where its file is broken.

        Raises:
            ValueError: if too many files have turned out to be broken; it names the first ten.
        """
        return self._samples(int(self._indices[index]))

    def file_of(self, index: int) -> str:
        """What the image of a sample is called: its path, or the table and the number of the row."""
        return self._samples.file_of(int(self._indices[index]))


def _other_table(train: str | Path, source: str | Path | None, role: str) -> Rows | None:
    """The validation or test table: as given, or the split of a Hugging Face data set; None: there is none."""
    if source is None:
        return read_table(str(train), role) if may_have_splits(str(train)) else None
    rows = read_table(str(source), role)
    if rows is None:
        raise ValueError(f"{role}: {source} has no split {role}.")
    return rows
