"""`tsbn predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .errors import plain_errors
from .options import Checkpoint, Imports, Trust

if TYPE_CHECKING:
    import torch

    from ..deploy import Destinations

NONE_PREDICTED, SOME_FAILED = 1, 3
"""What the command ends with where it could not predict for any image, and for some."""


@plain_errors()
def predict(
    checkpoint: Checkpoint,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Image files, folders, patterns, or tables.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The predictions: .jsonl, .csv or .json. Default: JSON lines, printed.",
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for a picture of each image and task.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for the values of every pixel, of dense tasks.")
    ] = None,
    map_format: Annotated[
        Literal["png", "npy"],
        typer.Option(help="Of --maps: png has classes, depth in mm (16 bits), probabilities and normals in 8 bits."),
    ] = "png",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Short for --pictures DIR --output DIR/predictions.json.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A task; may be repeated. Default: all.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of a table: where its file names lead from. Default: its folder."),
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table: the column of file names. Default: guessed.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that the model takes at once.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images; 0: none but this one.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, … Default: an accelerator.")] = None,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write what a model says of images: a line for each, and, if wished, pictures and maps.

    An image that cannot be read has an error in its place, and the others go on. Until the output is whole it is called
    FILE.partial. The exit status is 0 if all went well, 3 if some images failed, 1 if all did.

    Example: tsbn predict runs/scenes photos --output rooms.csv --maps depth --task depth
    """
    from ..deploy import find_images, predict_to_files
    from ..models import from_pretrained

    to = _destinations(output, pictures, maps, map_format, out)
    if output is not None and output.resolve() in (Path(path).resolve() for path in paths):
        raise typer.BadParameter(f"--output {output} is to be predicted for, and would be overwritten.")
    try:
        found = find_images(paths, images, file)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from error
    model = from_pretrained(checkpoint, trust=trust).to(_device(device))
    counts = predict_to_files(
        model, found, to, task, batch_size, workers, tell=lambda line: typer.echo(f"tsbn: {line}", err=True)
    )
    to_file = isinstance(to.output, Path)
    where = f"{to.output}: " if to_file else "tsbn: "
    typer.echo(f"{where}{counts.predicted:,} of {len(found):,} images are predicted", err=not to_file)
    if counts.failed:
        raise typer.Exit(SOME_FAILED if counts.predicted else NONE_PREDICTED)


def _destinations(
    output: Path | None, pictures: Path | None, maps: Path | None, map_format: Literal["png", "npy"], out: Path | None
) -> "Destinations":
    from ..deploy import Destinations
    from ..deploy.prediction import PREDICTIONS

    if out is not None and (output is not None or pictures is not None):
        raise typer.BadParameter("--out names a folder for both: leave out --output and --pictures.")
    if out is not None:
        output, pictures = out / PREDICTIONS, out
    return Destinations(output or sys.stdout, pictures, maps, map_format)


def _device(name: str | None) -> "torch.device":
    import torch

    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if name == "meta":
        raise ValueError("--device meta: nothing can be computed there.")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter is for what torch is built without
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error
