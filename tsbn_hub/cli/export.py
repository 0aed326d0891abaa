"""`tsbn export`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .errors import plain_errors
from .options import Checkpoint, Imports, Trust

if TYPE_CHECKING:
    from ..deploy import Exported, PlainFolder


@plain_errors()
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="PATH", help="The file; for plain, the folder.")],
    format: Annotated[
        Literal["onnx", "torch-export", "plain"],
        typer.Option(help="A file of ONNX or torch.export; or folders that timm or transformers loads."),
    ] = "onnx",
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A task; may be repeated. Default: all.")
    ] = None,
    images: Annotated[
        Literal["uint8", "float"], typer.Option(help="The values of images: 0 to 255, or 0 to 1.")
    ] = "uint8",
    task_input: Annotated[
        bool, typer.Option("--task-input", help="Take the number of a task as an input, and have one output.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at the path.")] = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write a model as one file that runs without this package, from plain images to probabilities, classes, maps.

    The file is held against torch before it is at its place. For plain: a folder for each task.

    Example: tsbn export runs/scenes --format onnx --out scenes.onnx
    """
    if format == "plain" and (task_input or images != "uint8"):
        raise ValueError("--images and --task-input are of files: leave them out for --format plain.")

    from ..deploy import export_onnx, export_plain, export_program
    from ..models import from_pretrained

    model = from_pretrained(checkpoint, trust=trust)
    if format == "plain":
        lines = _folder_lines(export_plain(model, out, task, overwrite=overwrite))
    else:
        write = export_onnx if format == "onnx" else export_program
        lines = _file_lines(write(model, out, task, images=images, task_input=task_input, overwrite=overwrite))
    for line in lines:
        typer.echo(line)


def _file_lines(exported: "Exported") -> list[str]:
    told = exported.description
    lines = [
        f"{exported.path}: {exported.size / 1e6:.1f} MB, in {exported.seconds:.0f} s",
        f"  {told.images.name}: {told.images.dtype} {_shape(told.images.shape)}, 0 to {told.images.values[1]}",
    ]
    if told.task_input is not None:
        numbers = ", ".join(f"{number} {task.name}" for number, task in enumerate(told.tasks))
        lines.append(f"  {told.task_input}: int64, without dimensions: {numbers}")
    for task in told.tasks:
        of = "" if task.output == task.name else f", in {task.output}"
        lines.append(f"  {task.name}: {task.dtype} {_shape(task.shape)}{of}")
        lines.append(f"    {task.kind}: {task.gives}" + (f", in {task.unit}" if task.unit else ""))
    lines.append(f"  largest difference from torch: {max(exported.errors.values()):.1g} of the largest value")
    return [*lines, *(f"  {note}" for note in exported.notes)]


def _shape(lengths: "Sequence[int | str]") -> str:
    return f"({', '.join(map(str, lengths))})"


def _folder_lines(folders: "Mapping[str, PlainFolder]") -> list[str]:
    return [
        f"{folder.path}: {task}, a {folder.model} of {folder.library}"
        + ("" if folder.has_head else f"\n  It is the backbone alone; its head is model.fold_head({task!r}) in Python.")
        for task, folder in folders.items()
    ]
