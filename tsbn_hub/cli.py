"""The command line: `tsbn`."""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

app = typer.Typer(
    help="One network, many vision tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="A YAML file; its keys are those of tsbn_hub's TrainingConfig.")],
    norm: Annotated[
        Literal["sigmoid", "affine", "shared"] | None,
        typer.Option(help="sigmoid: TSσBN. affine: TSBN. shared: hard sharing."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="The tasks to train, with commas. One: single-task. Default: all of the data.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="The folder of the run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a process and forward.")] = None,
    lr: Annotated[float | None, typer.Option(help="The trunk's learning rate at its highest.")] = None,
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"] | None, typer.Option(help="Default: what accelerate launch was given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and validation split.")] = None,
    set: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Any other key of the config; may be repeated.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start anew, whatever the folder holds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show data, parameters and the memory of one step; write nothing.")
    ] = False,
) -> None:
    """Train one model on several tasks, then write its card and the picture of its gates.

    The same command again goes on where an interrupted run was.

    Example: tsbn train --config examples/configs/multi_digits.yaml --set backward=task

    On several GPUs: accelerate launch -m tsbn_hub.cli train --config …
    """
    from accelerate import PartialState

    from .analysis import draw_importance, importance_matrix
    from .hub import write_card
    from .models import from_pretrained
    from .training import TrainingConfig
    from .training import dry_run as show_dry_run
    from .training import train as run_training

    options = {
        "norm": norm, "tasks": None if tasks is None else [name.strip() for name in tasks.split(",")],
        "output": output, "epochs": epochs, "batch_size": batch_size, "lr": lr, "mixed_precision": mixed_precision,
        "seed": seed,
    }  # fmt: skip
    with _plain_errors():
        run = TrainingConfig.read(config, **_with_settings(_given(options), set or []))
        if dry_run:
            show_dry_run(run)
            return
        scores = run_training(run, restart=restart)
        if not PartialState().is_main_process:
            return
        model = from_pretrained(run.output)
        name = ", ".join(source.name for source in run.sources())
        write_card(run.output, model, data=name, scores=scores, metric="accuracy")
        if run.norm == "sigmoid":
            try:
                draw_importance(importance_matrix(model), f"{run.output}/gates.png")
            except ImportError as error:
                typer.echo(f"tsbn: {error}", err=True)
        typer.echo(f"\n{run.output}: {', '.join(sorted(path.name for path in Path(run.output).iterdir()))}")


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="The folder of a run of `tsbn train`.")],
    split: Annotated[Literal["train", "test"], typer.Option(help="The part of the data.")] = "test",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; null for a task that no sample has a target for.")
    ] = False,
) -> None:
    """Score a run's best model.

    Example: tsbn evaluate runs/multi_digits
    """
    from accelerate import Accelerator

    from .training import evaluate_run
    from .training.report import console_of, score_table

    with _plain_errors():
        kinds, scores = evaluate_run(folder, split)
        console = console_of(Accelerator())
        if as_json:
            console.print_json(
                json.dumps({name: None if math.isnan(score) else score for name, score in scores.items()})
            )
        else:
            console.print(score_table(kinds, scores))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _with_settings(options: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The options, and what `--set` sets."""
    values = dict(options)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: write KEY=VALUE.")
        if key in values:
            raise ValueError(f"--set {setting}: {key} is given already, as {values[key]}.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {setting}: {value} is no YAML. {error}") from error
    return values


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What a user can mend is told in a line; a defect of ours keeps its traceback."""
    from .training import Stopped

    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        typer.echo(f"tsbn: {error}", err=True)
        raise typer.Exit(1) from error
    except Stopped as stopped:
        typer.echo(f"tsbn: {stopped}", err=True)
        raise typer.Exit(stopped.exit_status) from stopped


if __name__ == "__main__":
    app()
