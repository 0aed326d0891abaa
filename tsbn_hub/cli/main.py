"""The command line: `tsbn`."""

import json
import logging
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
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

    from ..files.names import CARD
    from ..hub.cards.mark import is_edited
    from ..results.recording import record_run
    from ..training import TrainingConfig
    from ..training import dry_run as show_dry_run
    from ..training import train as run_training

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
        record_run(run, scores)
        if is_edited(Path(run.output, CARD)):
            typer.echo(
                f"{run.output}/{CARD} was edited, and is kept: `tsbn card {run.output} --overwrite` writes it anew."
            )
        else:
            _write_card_and_picture(Path(run.output))
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

    from ..training import evaluate_run
    from ..training.report import console_of, score_table

    with _plain_errors():
        kinds, scores = evaluate_run(folder, split)
        console = console_of(Accelerator())
        if as_json:
            plain = {
                name: {metric: None if math.isnan(value) else value for metric, value in values.items()}
                for name, values in scores.items()
            }
            console.print_json(json.dumps(plain))
        else:
            console.print(score_table(kinds, scores))


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(help="A run's folder, a folder of save_pretrained, or a Hub repo.")],
    images: Annotated[
        list[Path], typer.Argument(help="Image files.", exists=True, dir_okay=False, readable=True, show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for pictures and predictions.json.")],
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A task; may be repeated. Default: all.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, … Default: an accelerator.")] = None,
) -> None:
    """Write what a model says of images: a picture for each image and task, and predictions.json.

    What is there already is replaced where it has the same name. When stopped, what is finished stays.

    Example: tsbn predict runs/scenes photos/room.jpg --out predictions --task depth
    """
    from ..deploy import predict_files
    from ..models import from_pretrained

    with _plain_errors():
        model = from_pretrained(checkpoint).to(_device(device))
        described = predict_files(model, images, out, task)
        typer.echo(f"{out}: predictions.json, and a picture for each of {len(described)} images and task")


@app.command()
def info(
    checkpoint: Annotated[str, typer.Argument(help="A run's folder, a folder of save_pretrained, or a Hub repo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's tasks, and what each costs: parameters, buffers, FLOPs.

    Example: tsbn info runs/multi_digits
    """
    from accelerate import Accelerator

    from ..analysis import cost_table, model_cost
    from ..models import from_pretrained
    from ..training.report import console_of

    with _plain_errors():
        cost = model_cost(from_pretrained(checkpoint))
        console = console_of(Accelerator())
        if as_json:
            console.print_json(json.dumps(asdict(cost)))
        else:
            console.print(cost_table(cost))


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or a folder of save_pretrained.")],
    single_task: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="The run of one task alone, for Δm; may be repeated. It is recorded."),
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Of the weights, such as apache-2.0. Default: what the card states, if any.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a card that was edited, too.")] = False,
) -> None:
    """Write a checkpoint's card, and the picture of its gates, from what is recorded beside its weights.

    Example: tsbn card runs/multi_digits --single-task runs/left --single-task runs/right
    """
    from ..files.names import CARD
    from ..hub import Results
    from ..hub.cards.mark import is_edited
    from ..results.recording import with_single_task

    with _plain_errors():
        if is_edited(folder / CARD) and not overwrite:
            raise ValueError(f"{folder / CARD} was edited, or is not from here, and is kept. --overwrite replaces it.")
        if single_task:
            with_single_task(Results.read(folder), folder, single_task).write(folder)
        _write_card_and_picture(folder, license, overwrite)
        typer.echo(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _write_card_and_picture(folder: Path, license: str | None = None, overwrite: bool = False) -> None:
    from ..analysis import draw_importance, importance_matrix
    from ..files.names import GATES
    from ..hub import write_card
    from ..hub.cards.text import has_gates
    from ..models import from_pretrained

    model = from_pretrained(folder)
    if has_gates(model):
        try:
            draw_importance(importance_matrix(model), folder / GATES)
        except ImportError as error:
            typer.echo(f"tsbn: {error}", err=True)
    write_card(folder, model, license=license, overwrite=overwrite)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A folder of a checkpoint: a run, save_pretrained's, save_task's.")],
    repo: Annotated[str, typer.Argument(help="org/name; with --all an organisation or user.")],
    all: Annotated[bool, typer.Option("--all", help="Push each checkpoint in the folder, under its own name.")] = False,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Push this task alone: gates, statistics and head, as an adapter."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="With --task: the repo (org/name@revision) of the network that it is for."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a private repo.")] = False,
    revision: Annotated[str | None, typer.Option(help="The branch, made where it is missing.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and send nothing.")] = False,
) -> None:
    """Publish a checkpoint on the Hub, in one commit. Log in with `hf auth login` first, or set HF_TOKEN.

    With --all, every checkpoint in a folder: tsbn push --all model_cards ada

    Example: tsbn push runs/multi_digits ada/multi-digits --dry-run
    """
    from accelerate import Accelerator

    from ..hub import checkpoints_in, push_folder
    from ..hub.adapters.publishing import push_task_of_folder
    from ..training.report import console_of

    options: dict[str, Any] = {
        "private": private, "revision": revision, "create_pr": create_pr, "commit_message": message, "dry_run": dry_run
    }  # fmt: skip
    with _plain_errors():
        if all and task is not None:
            raise ValueError("--all pushes whole checkpoints: leave out --task.")
        if base is not None and task is None:
            raise ValueError(f"--base {base} is what an adapter is for: give --task, too.")
        console = console_of(Accelerator())
        targets = [(each, f"{repo}/{each.name}") for each in checkpoints_in(folder)] if all else [(folder, repo)]
        for each, name in targets if all else ():
            push_folder(each, name, **{**options, "dry_run": True})  # what is wrong is found before anything is sent
        for each, name in targets:
            if task is not None:
                pushed = push_task_of_folder(each, task, name, base=base, **options)
            else:
                pushed = push_folder(each, name, **options)
            what = f"{each}" if task is None else f"The task {task} of {each}"
            lines = _publication_lines(what, pushed, private, revision, create_pr)
            console.print(lines, markup=False, highlight=False, soft_wrap=True)


def _publication_lines(what: str, pushed: Any, private: bool, revision: str | None, create_pr: bool) -> str:
    sizes = "\n".join(f"  {size:>13,}  {name}" for name, size in pushed.files.items())
    if pushed.url is None:
        visible, branch = "private, " if private else "", f"branch {revision}, " if revision else ""
        way = "by a pull request, " if create_pr else ""
        return f"{what} would go to {pushed.repo}: {visible}{branch}{way}nothing was sent. Bytes:\n{sizes}"
    if not pushed.files:
        return f"{pushed.repo} has all of {what} already: nothing was sent."
    removed = "".join(f"\n        removed  {name}" for name in pushed.removed)
    kept = "\n           kept  README.md, which somebody has edited" if pushed.keeps_card else ""
    return f"{what} is at {pushed.url}. Bytes:\n{sizes}{removed}{kept}"


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter is for what torch is built without
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error


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
    from ..training import Stopped

    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        typer.echo(f"tsbn: {error}", err=True)
        raise typer.Exit(1) from error
    except Stopped as stopped:
        typer.echo(f"tsbn: {stopped}", err=True)
        raise typer.Exit(stopped.exit_status) from stopped
    except KeyboardInterrupt as stopped:
        typer.echo("tsbn: stopped by Ctrl-C", err=True)
        raise typer.Exit(128 + signal.SIGINT) from stopped


if __name__ == "__main__":
    app()
