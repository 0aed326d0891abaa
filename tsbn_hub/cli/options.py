"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Checkpoint = Annotated[str, typer.Argument(help="A run's folder, a folder of save_pretrained, or a Hub repo.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; what could not be measured is null.")]
