"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Checkpoint = Annotated[str, typer.Argument(help="A run's folder, a folder of save_pretrained, or a Hub repo.")]


def _import(context: typer.Context, names: list[str] | None) -> list[str]:
    """Import what is named, before the command runs."""
    if names and not context.resilient_parsing:  # as when a shell completes a line
        from ..files.own_code import import_all

        try:
            import_all(names)
        except (ImportError, OSError, ValueError) as error:
            raise typer.BadParameter(str(error)) from error
    return names or []


Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="FILE",
        help="A file or module of yours to import first: it registers kinds, heads, … May be repeated.",
        callback=_import,
    ),
]

Trust = Annotated[
    bool, typer.Option("--trust", help="Import whatever code the checkpoint names, whoever has written it.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; what could not be measured is null.")]
