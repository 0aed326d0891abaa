"""`tsbn predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import plain_errors
from .options import Checkpoint, Imports, Trust

if TYPE_CHECKING:
    import torch


@plain_errors()
def predict(
    checkpoint: Checkpoint,
    images: Annotated[
        list[Path], typer.Argument(help="Image files.", exists=True, dir_okay=False, readable=True, show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for pictures and predictions.json.")],
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A task; may be repeated. Default: all.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, … Default: an accelerator.")] = None,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write what a model says of images: a picture for each image and task, and predictions.json.

    What is there already is replaced where it has the same name. When stopped, what is finished stays.

    Example: tsbn predict runs/scenes room.jpg --out predictions --task depth
    """
    from ..deploy import predict_files
    from ..models import from_pretrained

    model = from_pretrained(checkpoint, trust=trust).to(_device(device))
    described = predict_files(model, images, out, task)
    typer.echo(f"{out}: predictions.json, and a picture for each of {len(described)} images and task")


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
