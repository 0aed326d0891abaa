"""`tsbn card`."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import plain_errors
from .options import Imports, Trust


@plain_errors()
def card(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or a folder of save_pretrained.")],
    single_task: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="The run of one task alone, for Δm; may be repeated. It is recorded."),
    ] = None,
    other_seed: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run of another seed, for intervals; may be repeated. It is recorded."),
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Of the weights, such as apache-2.0. Default: what the card states, if any.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a card that was edited, too.")] = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write a checkpoint's card, with pictures of its gates and predictions, from what is recorded beside its weights.

    Example: tsbn card runs/both --single-task runs/left --single-task runs/right
    """
    from ..files.names import CARD
    from ..hub import Results
    from ..hub.cards.mark import is_edited
    from ..results.recording import with_other_seeds, with_single_task

    if is_edited(folder / CARD) and not overwrite:
        raise ValueError(f"{folder / CARD} was edited, or is not from here, and is kept. --overwrite replaces it.")
    if single_task or other_seed:
        results = with_single_task(Results.read(folder), folder, single_task or [])
        with_other_seeds(results, folder, other_seed or []).write(folder)
    write_card_and_pictures(folder, license, overwrite, trust)
    typer.echo(f"{folder}: {file_names(folder)}")


def write_card_and_pictures(
    folder: Path, license: str | None = None, overwrite: bool = False, trust: bool = False
) -> None:
    """Write the card of a checkpoint's folder, with the pictures of its gates and of what it predicts for test data.

    The one needs matplotlib, the other a recipe and its data. Without them the card does without, and it is told why.
    """
    from ..analysis import draw_importance, importance_matrix
    from ..deploy.samples_of_run import draw_test_samples
    from ..files.checkpoints import weights_digest
    from ..files.images import weights_of_picture
    from ..files.names import GATES, RECIPE, SAMPLES
    from ..hub import write_card
    from ..hub.cards.text import has_gates
    from ..models import from_pretrained

    model = from_pretrained(folder, trust=trust)
    if has_gates(model):
        try:
            draw_importance(importance_matrix(model), folder / GATES)
        except ImportError as error:
            typer.echo(f"tsbn: {error}", err=True)
    if (folder / RECIPE).is_file():
        try:
            draw_test_samples(folder, model, trust=trust)
        except Exception as error:  # noqa: BLE001 — data of anybody's may raise anything, and the card needs none of it
            typer.echo(f"tsbn: {folder} gets no new {SAMPLES}: {error}", err=True)
    if weights_of_picture(folder / SAMPLES) not in (None, weights_digest(folder)):
        (folder / SAMPLES).unlink()  # of older weights
    write_card(folder, model, license=license, overwrite=overwrite)


def file_names(folder: Path) -> str:
    """What is in a folder, but for hidden files, to be printed."""
    return ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
