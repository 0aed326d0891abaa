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
    from accelerate import Accelerator

    from ..analysis import analyze_run
    from ..training.report import console_of

    output, console = output or folder / "analysis", console_of(Accelerator())
    with console.status(f"analysing {folder}"):
        for line in analyze_run(folder, output, trust=trust):
            console.print(line, soft_wrap=True, highlight=False)
    console.print(f"In {output}, each with its numbers as .csv.", soft_wrap=True, highlight=False)
