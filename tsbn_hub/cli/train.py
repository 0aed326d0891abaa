"""`tsbn train`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from .card import file_names, write_card_and_pictures
from .errors import plain_errors
from .options import Imports, Trust
from .settings import with_settings


@plain_errors()
def train(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="A YAML file; its keys are those of tsbn_hub's TrainingConfig.", show_default=False
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The same file, as an option.")] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="In place of a config: a table of image files and labels (CSV, TSV, JSON lines, Parquet), a folder "
            "with a folder for each class, or hf:org/name. Model and tasks are guessed, and shown.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Of --table: the folder of the images. Default: the table's.", show_default=False)
    ] = None,
    validation_table: Annotated[
        str | None, typer.Option(help="Of --table: one to choose the best epoch by. Default: a part of it.")
    ] = None,
    test_table: Annotated[
        str | None, typer.Option(help="Of --table: one to score the model on. Default: a part of it.")
    ] = None,
    norm: Annotated[
        Literal["sigmoid", "affine", "statistics", "shared"] | None,
        typer.Option(help="sigmoid: TSσBN. affine: TSBN. statistics: of BatchNorms. shared: hard sharing."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="How tasks share the network: stl, hps, stats, tsbn, tssigma, cross-stitch, mtan, or your own trunk."
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="The tasks to train, with commas. One: single-task. Default: all of the data.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="The folder of the run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a process and forward.")] = None,
    lr: Annotated[float | None, typer.Option(help="The trunk's learning rate at its highest.")] = None,
    balancing: Annotated[
        str | None,
        typer.Option(
            help="Of losses: equal, uncertainty, dwa, rlw, imtl-l, gls, stch. Of gradients: gradnorm, pcgrad, cagrad, "
            "upgrad, mgda. Or one of your own."
        ),
    ] = None,
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"] | None, typer.Option(help="Default: what accelerate launch was given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and validation split.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Any other key of the config, or one inside a mapping: data_args.size=96. May be repeated.",
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start anew, whatever the folder holds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show data, parameters and the memory of one step; write nothing.")
    ] = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Train one model on several tasks, then write its card with pictures of its gates and predictions.

    The same command again goes on where an interrupted run was.

    Example: tsbn train examples/configs/multi_digits.yaml --set backward=task

    Without a config: tsbn train --table labels.csv --images photos --output runs/photos

    On several GPUs: accelerate launch -m tsbn_hub.cli train …
    """
    path = file or config
    if path is None and table is None:
        context.fail("Which config? Give a YAML file: tsbn train FILE. Or a table: tsbn train --table labels.csv.")
    if path is not None and table is not None:
        context.fail(f"{path} and --table are both given: leave one out.")
    if table is None and (images or validation_table or test_table):
        context.fail("--images, --validation-table and --test-table go with --table.")
    if file is not None and config is not None:
        context.fail("FILE and --config are both given: leave one out.")

    from accelerate import PartialState

    from ..files.names import CARD
    from ..hub.cards.mark import is_edited
    from ..results.recording import record_run
    from ..training import TrainingConfig
    from ..training import dry_run as show_dry_run
    from ..training import train as run_training
    from ..training.recipe.from_table import config_of_table

    options = {
        "norm": norm, "method": method, "tasks": None if tasks is None else [name.strip() for name in tasks.split(",")],
        "output": output, "epochs": epochs, "batch_size": batch_size, "lr": lr, "mixed_precision": mixed_precision,
        "seed": seed, "balancing": balancing,
    }  # fmt: skip
    settings = with_settings(options, set or [])
    if path is not None:
        run = TrainingConfig.read(path, **settings)
    else:
        given = {"train": table, "validation": validation_table, "test": test_table, "images": images}
        run = config_of_table({key: value for key, value in given.items() if value is not None}, settings)
    run = replace(run, imports=[*run.imports, *(imports or [])])
    if dry_run:
        show_dry_run(run, trust=trust)
        return
    run_training(run, restart=restart, trust=trust, on_scores=partial(record_run, run))
    if not PartialState().is_main_process:
        return
    folder = Path(run.output)
    if is_edited(folder / CARD):
        typer.echo(f"{run.output}/{CARD} was edited, and is kept: `tsbn card {run.output} --overwrite` writes it anew.")
    else:
        write_card_and_pictures(folder)
    typer.echo(f"\n{run.output}: {file_names(folder)}")
