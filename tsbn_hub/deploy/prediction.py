"""What a model says of images: as values, and as pictures."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..files.atomic import write_atomically
from ..files.file_names import file_names
from ..files.images import check_image_file, check_sides, read_image
from ..models import surface_of
from ..models.outputs import outputs_by_task
from ..tasks import Kind
from ..tasks.task import Json
from .drawing import as_image, drawn, view_of
from .images import as_picture

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class TaskPrediction:
    """What a model says of an image, for a task.

    Args:
        value: In the terms of a target, or as probabilities: see the task's kind.
        description: The same as plain values for JSON: class names with scores, depths, shares of classes.
        picture: The same drawn, (3, H, W), uint8. Of a dense kind it is as large as the image, and at its right is a
            legend, if the kind has one; where the model does not see the image, it is pale and grey. Of another kind it
            is the image with words in it, smaller if it has over 1,024 pixels a side.
    """

    value: Tensor
    description: dict[str, Json]
    picture: Tensor


def predict(
    model: nn.Module, image: Image.Image | Tensor, tasks: Sequence[str] | None = None
) -> dict[str, TaskPrediction]:
    """What a model says of an image, which is prepared as the model's checkpoint says.

    Args:
        model: Of timm, or a `TsbnForMultiTask`, on any device. It is put into evaluation mode.
        image: Of any size; see `tsbn_hub.data.read_image`. Or a tensor (C, H, W), as data sets have them: uint8
            or floating-point numbers from 0 to 1.
        tasks: Names of tasks; None: all.

    Returns:
        By task, on the CPU.

    Raises:
        ValueError: if there is no such task, the image is none, the checkpoint does not say how images are prepared, or
            what the model gives is not finite.

    Example:
        >>> import timm, tsbn_hub
        >>> from PIL import Image
        >>> from tsbn_hub.deploy import predict
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> predictions = predict(model, Image.new("RGB", (640, 480)))
        >>> {task: len(prediction.value) for task, prediction in predictions.items()}
        {'gender': 2, 'age': 8}
        >>> predictions["age"].picture.shape
        torch.Size([3, 480, 640])
    """
    surface = surface_of(model)
    model = surface.model
    kinds, preprocessing = chosen_kinds(surface.kinds(), tasks), surface.preprocessing()
    image = as_picture(image)
    check_sides(image)
    photo = image.convert("RGB")
    prepared = preprocessing.prepare(image.convert("RGB" if preprocessing.channels == 3 else "L"))[None]
    view = view_of(preprocessing, photo.size) if any(kind.dense for kind in kinds.values()) else (0, 0, *photo.size)
    values, finite = predicted_values(model, kinds, prepared)
    predictions = {}
    for task, kind in kinds.items():
        if not finite[task].all():
            raise ValueError(f"{not_finite(task)}: its weights are broken.")
        value = values[task][0]
        picture = pil_to_tensor(drawn(kind, value, photo, view, title=task))
        predictions[task] = TaskPrediction(value, kind.describe(value), picture)
    return predictions


@torch.inference_mode()
def predicted_values(
    model: nn.Module, kinds: Mapping[str, Kind], prepared: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a model says of images that are prepared for it.

    Args:
        model: The model of a surface. It is put into evaluation mode.
        kinds: Of the tasks that are asked for.
        prepared: (B, C, H, W), of any device and precision.

    Returns:
        By task: what `Kind.predict` gives, (B, …); and whether the output of each image is finite, bool (B,). On the
        CPU.
    """
    parameter = next(model.parameters())
    outputs = outputs_by_task(model.eval(), prepared.to(parameter.device, parameter.dtype), list(kinds))
    values = {task: kind.predict(outputs[task]).cpu() for task, kind in kinds.items()}
    return values, {task: outputs[task].isfinite().flatten(1).all(dim=1).cpu() for task in kinds}


def not_finite(task: str) -> str:
    """What to say of a task whose output is NaN or infinite."""
    return f"What the model gives for the task {task!r} is not finite"


def predict_files(
    model: nn.Module, paths: Sequence[str | Path], folder: str | Path, tasks: Sequence[str] | None = None
) -> dict[str, dict[str, Json]]:
    """Write what a model says of image files, showing its progress on the terminal.

    The folder gets a picture `<the image's name>.<task>.png` for each image and task, and predictions.json with the
    descriptions, by the images' paths and the tasks. Of several images with one name the second is called `name-2`,
    and so on, in the order given; so are tasks whose names differ in upper and lower case alone. Every file is written
    whole; what has the same name is replaced, other files stay. When it is stopped or fails, what it has written stays,
    and predictions.json tells of it.

    Args:
        model: As `predict` takes it.
        paths: The image files.
        folder: Where to; it is made if it does not exist.
        tasks: Names of tasks; None: all.

    Returns:
        The descriptions, as in predictions.json.

    Raises:
        ValueError: if a file is no image, one would be overwritten, or as `predict` says.
        OSError: if a file cannot be read or written.
    """
    # What can be wrong is found before anything is written.
    surface = surface_of(model)
    kinds = chosen_kinds(surface.kinds(), tasks)
    surface.preprocessing()
    for path in paths:
        check_image_file(path)
    folder, names = Path(folder), file_names(dict.fromkeys(paths), lambda path: Path(path).stem)
    of_tasks = file_names(kinds, lambda task: quote(task, safe=" "))  # a task may have a slash in its name
    files = {(path, task): folder / f"{name}.{of_tasks[task]}.png" for path, name in names.items() for task in kinds}
    check_kept(map(Path, names), files.values())
    folder.mkdir(parents=True, exist_ok=True)
    descriptions: dict[str, dict[str, Json]] = {}
    try:
        for path in track(names, "predicting", console=Console(stderr=True), transient=True):
            predictions = predict(model, read_image(path), tasks)
            write_atomically(
                {
                    files[path, task]: png_writer(as_image(prediction.picture))
                    for task, prediction in predictions.items()
                }
            )
            descriptions[str(path)] = {task: prediction.description for task, prediction in predictions.items()}
    finally:
        if descriptions:
            text = json.dumps(descriptions, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            write_atomically({folder / PREDICTIONS: lambda path: path.write_text(text, "utf-8", "backslashreplace")})
    return descriptions


def chosen_kinds(kinds: dict[str, Kind], tasks: Sequence[str] | None) -> dict[str, Kind]:
    """The kinds of the tasks that are asked for, in this order; None: all.

    Raises:
        ValueError: if there is no such task.
    """
    unknown = [task for task in tasks or [] if task not in kinds]
    if unknown:
        raise ValueError(f"There are no tasks {unknown}. The tasks of this model are {list(kinds)}.")
    return kinds if tasks is None else {task: kinds[task] for task in tasks}


def check_kept(images: Iterable[Path], files: Iterable[Path]) -> None:
    """Raise ValueError if one of the files that will be written is one of the images. A link would be replaced."""
    in_folder = lru_cache(maxsize=None)(Path.resolve)  # there may be 100,000 files in a few folders
    kept = {in_folder(image.parent) / image.name for image in images}
    overwritten = [str(file) for file in files if in_folder(file.parent) / file.name in kept]
    if overwritten:
        raise ValueError(
            f"{overwritten[:10]} would be overwritten, and are images to predict for: choose another folder."
        )


def png_writer(image: Image.Image) -> Callable[[Path], None]:
    """What writes an image into a file, for `write_atomically`."""
    return lambda path: image.save(path, format="PNG")
