"""From images to files of predictions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from torch import nn

from ...data.progress import with_progress
from ...files.atomic import write_atomically
from ...files.file_names import file_names
from ...models import surface_of
from ...models.preprocessing import Preprocessing
from ...tasks import Kind
from ...tasks.task import Json
from ...training.state.signals import Stopped, StopSignals
from ..drawing import Box, drawn, view_of
from ..prediction import check_kept, chosen_kinds, png_writer
from .batches import ImagePrediction, predict_many
from .lines import JsonLines, PredictionFile, Record, format_of
from .maps import MapFormat, encoded_map, whole_map, write_map
from .sources import ImageFile


@dataclass(frozen=True)
class Destinations:
    """Where predictions go.

    Args:
        output: A file, `.jsonl`, `.csv` or `.json`; or a stream, which gets JSON lines.
        pictures: The folder for a picture of each image and task; None: none are drawn.
        maps: The folder for the values of each image and dense task, as large as the image; None: none are written.
        map_format: Of these: see `encoded_map`.
    """

    output: Path | TextIO
    pictures: Path | None = None
    maps: Path | None = None
    map_format: MapFormat = "png"


@dataclass(frozen=True)
class Counts:
    """How many images were predicted, and how many could not be."""

    predicted: int = 0
    failed: int = 0


def predict_to_files(
    model: nn.Module,
    images: Sequence[ImageFile],
    to: Destinations,
    tasks: Sequence[str] | None = None,
    batch_size: int = 16,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Counts:
    """Write what a model says of many images, in their order, showing the progress on the terminal.

    Each has a record as soon as it is predicted. Until the file of records is whole, it is called NAME.partial; what
    was at its place stays until then. Ctrl-C and SIGTERM end the writing after an image: then the partial file stays,
    with whole records. Pictures and maps are written whole; those that are there already are replaced. An image that
    cannot be read has a record with an `error`, and the others go on.

    Args:
        model: As `predict_many` takes it.
        images: Of `find_images`.
        to: Where to. Folders are made.
        tasks: Names of tasks; None: all.
        batch_size: Images that the model takes at once.
        workers: Processes that read images; 0: this one does.
        tell: Is told of each image that fails, in a line.

    Returns:
        How many there were.

    Raises:
        ValueError: if there is no such task, an image would be overwritten, a format is unknown, maps are asked for
            without a dense task, or as `predict_many` says; before anything is written.
        OSError: if a file cannot be written.
        Stopped: a KeyboardInterrupt, if it was stopped; it says what is where.
    """
    surface = surface_of(model)
    kinds = chosen_kinds(surface.kinds(), tasks)
    writer = _Writer(images, kinds, surface.preprocessing(), to)
    predictions = predict_many(model, images, tasks, batch_size, workers, photos=to.pictures is not None)
    predicted = failed = 0
    with writer.opened() as file, StopSignals() as signals:
        for _, prediction in zip(with_progress(images, "Predicting"), predictions, strict=True):
            record = writer.record(prediction)
            file.add(record)
            if "error" in record:
                failed += 1
                tell(f"{record['file']}: {record['error']}")
            else:
                predicted += 1
            if signals.received is not None and predicted + failed < len(images):
                name = "Ctrl-C" if signals.received.name == "SIGINT" else signals.received.name
                where = "" if file.path is None else f" are in {file.partial}"
                raise Stopped(f"stopped by {name}: {predicted + failed:,} of {len(images):,} images{where}",
                              signals.received)  # fmt: skip
    return Counts(predicted, failed)


class _Writer:
    """Writes pictures and maps of predictions, and says what their records are."""

    def __init__(
        self, images: Sequence[ImageFile], kinds: dict[str, Kind], preprocessing: Preprocessing, to: Destinations
    ) -> None:
        self._kinds, self._to = kinds, to
        self._view = lru_cache(maxsize=64)(partial(view_of, preprocessing))  # many images are of one size
        self._dense = [task for task, kind in kinds.items() if kind.dense]
        if to.maps is not None and not self._dense:
            raise ValueError(f"There are no maps: none of the tasks {list(kinds)} has a value for every pixel.")
        if to.maps is not None and to.pictures is not None and to.maps.resolve() == to.pictures.resolve():
            raise ValueError(f"Pictures and maps would have the same names in {to.maps}: choose two folders.")
        self._form = format_of(to.output) if isinstance(to.output, Path) else JsonLines
        stems = {image.name: image.stem for image in images}
        self._names = file_names(stems, stems.__getitem__) if to.maps is not None or to.pictures is not None else {}
        self._tasks = file_names(kinds, lambda task: quote(task, safe=" "))  # a task may have a slash in its name
        check_kept([image.source for image in images if isinstance(image.source, Path)], self._written())

    def opened(self) -> PredictionFile:
        """The file of records. Folders are made."""
        file = self._form(self._to.output, self._kinds)
        for folder in (self._to.pictures, self._to.maps):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        return file

    def record(self, prediction: ImagePrediction) -> Record:
        """What is written of an image. Its pictures and maps are written here."""
        name = prediction.image.name
        if prediction.error is not None:
            return {"file": name, "error": prediction.error}
        described: dict[str, Json] = {
            task: self._kinds[task].describe(value) for task, value in prediction.values.items()
        }
        record: Record = {"file": name, "predictions": described}
        view = self._view(prediction.size) if self._dense and self._names else (0, 0, *prediction.size)
        try:
            if prediction.photo is not None:
                record["pictures"] = self._write_pictures(prediction, view)
            if self._to.maps is not None:
                record["maps"] = self._write_maps(prediction, view)
        except ValueError as error:
            return {"file": name, "error": str(error)}
        return record

    def _write_pictures(self, prediction: ImagePrediction, view: Box) -> dict[str, str]:
        files, photo = {}, prediction.photo
        assert photo is not None
        for task, value in prediction.values.items():
            files[task] = self._picture(prediction.image.name, task)
            picture = drawn(self._kinds[task], value, photo, view, title=task)
            write_atomically({files[task]: png_writer(picture)}, durable=False)
        return {task: str(path) for task, path in files.items()}

    def _write_maps(self, prediction: ImagePrediction, view: Box) -> dict[str, str]:
        files, form = {}, self._to.map_format
        for task in self._dense:
            kind = self._kinds[task]
            whole = whole_map(kind, prediction.values[task], view, prediction.size)
            array = encoded_map(kind, whole, form)
            files[task] = self._map(prediction.image.name, task)
            write_atomically({files[task]: partial(write_map, array, form=form)}, durable=False)
        return {task: str(path) for task, path in files.items()}

    def _picture(self, name: str, task: str) -> Path:
        assert self._to.pictures is not None
        return self._to.pictures / f"{self._names[name]}.{self._tasks[task]}.png"

    def _map(self, name: str, task: str) -> Path:
        assert self._to.maps is not None
        return self._to.maps / f"{self._names[name]}.{self._tasks[task]}.{self._to.map_format}"

    def _written(self) -> Iterator[Path]:
        if isinstance(self._to.output, Path):
            yield self._to.output
        for name in self._names:
            if self._to.pictures is not None:
                yield from (self._picture(name, task) for task in self._kinds)
            if self._to.maps is not None:
                yield from (self._map(name, task) for task in self._dense)
