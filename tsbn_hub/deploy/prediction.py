"""What a model says of images: as values, and as pictures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..files.atomic import write_atomically
from ..files.images import check_image_file, check_sides, read_image
from ..models import surface_of
from ..models.outputs import outputs_by_task
from ..tasks import Kind
from ..tasks.task import Json
from .drawing import as_image, drawn, view_of
from .file_names import file_names
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
    parameter = next(model.parameters())
    prepared = preprocessing.prepare(image.convert("RGB" if preprocessing.channels == 3 else "L"))[None]
    prepared = prepared.to(parameter.device, parameter.dtype)
    view = view_of(preprocessing, photo.size) if any(kind.dense for kind in kinds.values()) else (0, 0, *photo.size)
    with torch.inference_mode():
        outputs = outputs_by_task(model.eval(), prepared, list(kinds))
        predictions = {}
        for task, kind in kinds.items():
            if not outputs[task].isfinite().all():
                raise ValueError(f"What the model gives for the task {task!r} is not finite: its weights are broken.")
            value = kind.predict(outputs[task])[0].cpu()
            picture = pil_to_tensor(drawn(kind, value, photo, view, title=task))
            predictions[task] = TaskPrediction(value, kind.describe(value), picture)
    return predictions


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
    _check_kept({Path(path).resolve() for path in names}, list(files.values()))
    folder.mkdir(parents=True, exist_ok=True)
    descriptions: dict[str, dict[str, Json]] = {}
    try:
        for path in track(names, "predicting", console=Console(stderr=True), transient=True):
            predictions = predict(model, read_image(path), tasks)
            write_atomically(
                {files[path, task]: _writer(prediction.picture) for task, prediction in predictions.items()}
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


def _check_kept(images: set[Path], files: Sequence[Path]) -> None:
    overwritten = [str(file) for file in files if file.resolve() in images]
    if overwritten:
        raise ValueError(f"{overwritten} would be overwritten, and are images to predict for: choose another folder.")


def _writer(picture: Tensor) -> Callable[[Path], None]:
    image = as_image(picture)
    return lambda path: image.save(path, format="PNG")
