"""A trained model in one file, of ONNX or of torch.export."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from ...files.atomic import write_atomically
from ...models import surface_of
from ...models.surface import Surface
from ...norms import TaskModule
from ...norms.merging import merged_copy
from ...tasks import Kind
from ..prediction import chosen_kinds
from .checking import errors_of
from .formats import FileFormat, OnnxFile, TorchFile
from .network import AllTasks, ImageInput, TaskAsInput, Values
from .signature import Description, Open, Signature
from .tracing import Traced, traced, ways_to_trace


@dataclass(frozen=True)
class Exported:
    """A file that was written, and held against torch.

    Args:
        path: Of the file.
        size: Its bytes.
        seconds: What writing and checking took.
        description: What it takes and gives, as its metadata say.
        errors: By output: the largest difference from torch, as a part of the output's largest value; of classes the
            share that differs.
        notes: What of the images is fixed, and why, in words.
    """

    path: Path
    size: int
    seconds: float
    description: Description
    errors: dict[str, float]
    notes: list[str]


def export_onnx(
    model: nn.Module,
    path: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    images: Values = "uint8",
    task_input: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a model as one file of ONNX, which takes plain images and gives what the user asked for.

    The input is `images`, (B, C, H, W), and the normalisation is within. The outputs have the names of the tasks: each
    is what the task's kind predicts, as `tsbn_hub.deploy.predict` gives it (probabilities, classes, depths in metres,
    numbers in the units of the data). Batches may have any length; images any size, where a task is dense and the
    network allows it. What they are is in the file's metadata, as JSON under "tsbn_hub". Before the file is at its
    place, onnxruntime has run it on images of another number and size, and its outputs were those of torch.

    Args:
        model: Of timm, or a `TsbnForMultiTask`, on any device. It stays as it is; the file is in float32.
        path: Of the file.
        tasks: Names of tasks; None: all.
        images: What the values of images are: "uint8", from 0 to 255, or "float", from 0 to 1.
        task_input: Whether there is a second input, `task`, the number of a task among these (int64, without
            dimensions), and one output, `output`: for tasks of one kind and shape.
        overwrite: Whether a file that is there is replaced.

    Raises:
        ImportError: if onnx, onnxscript or onnxruntime is missing: `pip install tsbn_hub[export]`.
        ValueError: if there is no such task, the model does not say how images are prepared, it cannot be exported, or
            what the file gives is not what torch gives.
        FileExistsError: if there is a file.
        OSError: if it cannot be written.

    Example:
        >>> import tempfile, numpy, onnxruntime, timm, tsbn_hub
        >>> from tsbn_hub.deploy import export_onnx
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_onnx(model, f"{folder}/faces.onnx", tasks=["age"])
        ...     session = onnxruntime.InferenceSession(exported.path)
        >>> (age,) = session.run(None, {"images": numpy.zeros((4, 3, 160, 160), "uint8")})
        >>> age.shape, exported.errors["age"] < 1e-4
        ((4, 8), True)
    """
    return _export(OnnxFile(), model, Path(path), tasks, images, task_input, overwrite)


def export_program(
    model: nn.Module,
    path: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    images: Values = "uint8",
    task_input: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a model as one file of torch.export (.pt2), which torch runs without this package.

    It is as `export_onnx` says, but that the program returns a dict by task:
    `torch.export.load(path).module()(images)`. The metadata is in the extra file "tsbn_hub.json".

    Args:
        model: As `export_onnx` takes it.
        path: Of the file.
        tasks: Names of tasks; None: all.
        images: What the values of images are: "uint8", from 0 to 255, or "float", from 0 to 1.
        task_input: As `export_onnx` says.
        overwrite: Whether a file that is there is replaced.

    Raises:
        ValueError: as `export_onnx` says.
        FileExistsError: if there is a file.
        OSError: if it cannot be written.
    """
    return _export(TorchFile(), model, Path(path), tasks, images, task_input, overwrite)


def _export(
    file_format: FileFormat,
    model: nn.Module,
    path: Path,
    tasks: Sequence[str] | None,
    images: Values,
    task_input: bool,
    overwrite: bool,
) -> Exported:
    start = time.perf_counter()
    check_place(path, overwrite)
    surface = surface_of(model)
    kinds, preprocessing = chosen_kinds(surface.kinds(), tasks), surface.preprocessing()
    if not kinds:
        raise ValueError(f"No task is asked for. The tasks of this model are {list(surface.kinds())}.")
    file_format.check_parts(sum(4 * parameter.numel() for parameter in surface.model.parameters()))
    surface = surface_of(merged_copy(surface.model).to("cpu", torch.float32).eval().requires_grad_(False))
    signature = Signature(kinds, surface.image_shape, preprocessing, images, task_input)
    prepare = ImageInput(preprocessing, surface.image_shape[1:], images)
    network = _network(surface, kinds, prepare, task_input).eval()
    outputs = _outputs(network, signature)
    failures: list[Exception] = []
    for dynamic in ways_to_trace(signature):
        description = signature.described(outputs, dynamic)
        try:
            errors = _write(file_format, traced(network, signature, dynamic), signature, description, path)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 — a network may refuse a size, and an exporter a network, by any class
            failures.append(error)
            continue
        notes = [_fixed(signature, dynamic, failures[-1])] if failures else []
        return Exported(path, path.stat().st_size, time.perf_counter() - start, description, errors, notes)
    raise ValueError(
        f"This {type(surface.model).__name__} cannot be exported as {file_format.name}: {_reason(failures[-1])}"
    ) from failures[-1]


def _network(surface: Surface, kinds: Mapping[str, Kind], prepare: ImageInput, task_input: bool) -> nn.Module:
    if not task_input:
        return AllTasks(surface, kinds, prepare)
    try:
        if not isinstance(surface.model, TaskModule):
            raise ValueError(f"This {type(surface.model).__name__} is a plain model of one task.")
        for task in [task for task in surface.tasks if task not in kinds]:
            surface.model.remove_task(task)
        return TaskAsInput(surface, kinds, prepare)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"The task cannot be an input of the file. {error} Export the tasks as outputs.") from error


@torch.no_grad()
def _outputs(network: nn.Module, signature: Signature) -> dict[str, Tensor]:
    """Of an example, by name."""
    _, *size = signature.image_shape
    outputs: dict[str, Tensor] = network(*signature.example(1, (size[0], size[1]), seed=0).values())
    for name, output in outputs.items():
        if not output.isfinite().all():
            raise ValueError(f"What the model gives for {name!r} is not finite: its weights are broken.")
    return outputs


def _write(
    file_format: FileFormat, graph: Traced, signature: Signature, description: Description, path: Path
) -> dict[str, float]:
    """Write a graph, if what the file gives is what torch gives; the errors, by output."""
    errors: dict[str, float] = {}

    def write_and_check(file: Path) -> None:
        file_format.write(graph, signature, description.to_json(), file)
        errors.update(errors_of(file_format.load(file)(graph.test), graph.expected, file_format.runtime))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically({path: write_and_check})
    return errors


def _fixed(signature: Signature, dynamic: Open, failure: Exception) -> str:
    channels, height, width = signature.image_shape
    what = f"their size is {height} x {width}" if 0 in dynamic else f"they are 1 x {channels} x {height} x {width}"
    reason = "torch.export finds it in the code." if isinstance(failure, UserError) else _reason(failure)
    return f"Of the images {what}, and no other: {reason}"


def _reason(error: BaseException) -> str:
    """The first line of what an exporter met, which it tells of at length."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def check_place(path: Path, overwrite: bool) -> None:
    """Refuse a path where something is.

    Raises:
        FileExistsError: if there is a file that is not to be replaced, or a folder.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder: give the path of a file in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already, and is kept. --overwrite (overwrite=True) replaces it.")
