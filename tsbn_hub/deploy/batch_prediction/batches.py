"""Predictions for a stream of images, in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...models import surface_of
from ...models.preprocessing import Preprocessing
from ...tasks import Kind
from ...training.loaders import WorkersTold
from ...training.state.signals import MainProcessStops
from ..prediction import chosen_kinds, not_finite, predicted_values
from .sources import ImageFile


@dataclass(frozen=True)
class ImagePrediction:
    """What a model says of an image, or why it says nothing.

    Args:
        image: The image.
        values: By task, in the terms of a target or as probabilities, on the CPU: see the task's kind. Empty where
            there is an error.
        size: Width and height of the image, in pixels; (0, 0) where it could not be read.
        photo: The image itself, RGB, if it was asked for.
        error: Why the image could not be read, or not be predicted; None: it was.
    """

    image: ImageFile
    values: dict[str, Tensor] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    photo: Image.Image | None = None
    error: str | None = None


def predict_many(
    model: nn.Module,
    images: Sequence[ImageFile],
    tasks: Sequence[str] | None = None,
    batch_size: int = 16,
    workers: int = 0,
    photos: bool = False,
) -> Iterator[ImagePrediction]:
    """What a model says of each of many images, in their order, whatever their sizes.

    Each is prepared as the checkpoint says, and so becomes of the model's size; a batch is of those that follow each
    other. An image that cannot be read, or for which the model gives no finite values, has an error, and the others go
    on. Some batches are in memory at a time, however many images there are.

    Args:
        model: Of timm, or a `TsbnForMultiTask`, on any device. It is put into evaluation mode.
        images: Of `find_images`.
        tasks: Names of tasks; None: all.
        batch_size: Images that the model takes at once, at least 1.
        workers: Processes that read images; 0: this one does.
        photos: Give the images, too.

    Returns:
        An iterator over one prediction for each image.

    Raises:
        ValueError: if there is no such task, a number is out of range, or the checkpoint does not say how images are
            prepared.

    Example:
        >>> import tempfile, timm, tsbn_hub
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from tsbn_hub.deploy import find_images, predict_many
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (40, 30)).save(Path(folder, "a.png"))
        ...     _ = Path(folder, "b.png").write_text("no image")
        ...     for prediction in predict_many(model, find_images([folder])):
        ...         print(prediction.image.stem, list(prediction.values), prediction.error is None)
        a ['gender', 'age'] True
        b [] False
    """
    if batch_size < 1 or workers < 0:
        raise ValueError(f"batch_size={batch_size} must be at least 1, and workers={workers} at least 0.")
    surface = surface_of(model)
    kinds, preprocessing = chosen_kinds(surface.kinds(), tasks), surface.preprocessing()
    batches = WorkersTold(
        _PreparedImages(images, preprocessing, photos),
        batch_size=batch_size,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=MainProcessStops() if workers else None,
        generator=torch.Generator(),
    )
    return _predictions(surface.model, kinds, images, batches)


@dataclass(frozen=True)
class _Prepared:
    index: int
    pixels: Tensor | None = None
    size: tuple[int, int] = (0, 0)
    photo: Image.Image | None = None
    error: str | None = None


@dataclass(frozen=True)
class _PreparedImages(Dataset[_Prepared]):
    """Images, read and prepared for a model; of one that cannot be read, why."""

    images: Sequence[ImageFile]
    preprocessing: Preprocessing
    photos: bool

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Prepared:
        try:
            photo = self.images[index].read()
            pixels = self.preprocessing.prepare(photo.convert("RGB" if self.preprocessing.channels == 3 else "L"))
        except (OSError, ValueError) as error:
            return _Prepared(index, error=" ".join(str(error).split()))
        return _Prepared(index, pixels, photo.size, photo if self.photos else None)


def _predictions(
    model: nn.Module, kinds: dict[str, Kind], images: Sequence[ImageFile], batches: WorkersTold[_Prepared]
) -> Iterator[ImagePrediction]:
    for batch in batches:
        # Not every checkpoint crops: then images of another shape are of another size.
        for shape, group in groupby(batch, lambda each: None if each.pixels is None else each.pixels.shape):
            together = list(group)
            if shape is None:
                yield from (ImagePrediction(images[each.index], error=each.error) for each in together)
                continue
            values, finite = predicted_values(model, kinds, torch.stack([each.pixels for each in together]))
            for place, each in enumerate(together):
                broken = [task for task in kinds if not finite[task][place]]
                error = f"{not_finite(broken[0])}." if broken else None
                # A copy: one image that is kept would keep the whole batch.
                own = {} if broken else {task: value[place].clone() for task, value in values.items()}
                yield ImagePrediction(images[each.index], own, each.size, each.photo, error)
