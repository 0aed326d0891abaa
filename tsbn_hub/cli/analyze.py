"""`tsbn analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import plain_errors
from .options import Imports, Trust


@plain_errors()
def analyze(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run of `tsbn train`.", file_okay=False)
    ],
    output: Annotated[
        Path | None, typer.Option(help="The folder of pictures and tables. Default: RUN/analysis.", show_default=False)
    ] = None,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Draw what a run says of its tasks: which use the same filters, how gates moved, where gradients conflict.

    Example: tsbn analyze runs/multi_digits --output pictures
    """
    from ..analysis import analyze_run

    output = output or folder / "analysis"
    for line in analyze_run(folder, output, trust=trust):
        typer.echo(line)
    typer.echo(f"In {output}, each with its numbers as .csv.")
