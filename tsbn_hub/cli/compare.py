"""`tsbn compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..baselines import methods as known_methods
from ..files.parsing import parse_yaml
from .errors import plain_errors
from .options import Imports


@plain_errors()
def compare(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS]...", help="Finished runs to compare, instead of a grid.", show_default=False),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The YAML file of the grid's runs, as for `tsbn train`.")] = None,
    methods: Annotated[
        str, typer.Option(help=f"With commas: {', '.join(known_methods)}, or a trunk of your own.")
    ] = "stl,hps,tssigma",
    balancing: Annotated[
        str | None, typer.Option(help="With commas, loss weightings and gradient methods. Default: the file's.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many: 0, 1, …")] = 3,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="A key of the config, and the values to try, with commas. One value is for all. May be repeated.",
        ),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(help="With commas: each method tries them with seed 0, and gets the best on validation data."),
    ] = None,
    equal_compute: Annotated[
        bool, typer.Option("--equal-compute", help="Hard sharing also with as many trunk passes as task norms take.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    max_hours: Annotated[float | None, typer.Option(help="Stop then; the same command goes on.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of runs and tables.")] = Path("runs/comparison"),
    single_task: Annotated[
        Path | None,
        typer.Option(help="Where single-task runs are, for all grids. Default: single_task beside --out."),
    ] = None,
    imports: Imports = None,
) -> None:
    """Train methods on the same data with the same budget, and compare them: tables and a picture.

    The same command again goes on where it was stopped. What is finished is not computed again.

    Example: tsbn compare --config examples/configs/multi_digits.yaml --methods stl,hps,tssigma --seeds 3

    Of runs that are there: tsbn compare runs/*
    """
    if (config is None) == (not runs):
        context.fail("What is to be compared? Give either --config FILE, or the folders of finished runs.")

    from accelerate import Accelerator

    from ..compare import Budget, Grid, compare_runs, draw_comparison, write_tables
    from ..compare import compare as compare_grid
    from ..compare.formats import console_table
    from ..training.report import console_of

    console = console_of(Accelerator())

    out.mkdir(parents=True, exist_ok=True)
    if runs:
        comparison = compare_runs(runs)
    else:
        tried, overrides = _settings(set or [])
        overrides |= {"imports": imports} if imports else {}
        grid = Grid(
            file=config,  # type: ignore[arg-type]
            methods=_names(methods),
            balancings=_names(balancing or ""),
            settings=tried,
            seeds=seeds,
            overrides=overrides,
            folder=out,
            single_task_folder=single_task or out.parent / "single_task",
        )
        rates = _numbers("--lr", lr or "")
        comparison = compare_grid(grid, Budget(jobs, max_hours, rates, equal_compute), console)
    files = write_tables(comparison, out)
    if draw_comparison(comparison, out / "comparison.png"):
        files.append(out / "comparison.png")
    console.print(console_table(comparison))
    typer.echo(f"{out}: {', '.join(file.name for file in files)}")


def _names(text: str) -> list[str]:
    return [name for each in text.split(",") if (name := each.strip())]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(name) for name in _names(text)]
    except ValueError as error:
        raise ValueError(f"{option} {text}: these are no numbers with commas.") from error


def _settings(settings: list[str]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """By key the values to try, and the value of each key that has one alone."""
    tried: dict[str, list[Any]] = {}
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set {setting}: write KEY=VALUE, or KEY=VALUE,VALUE,…")
        try:
            values = parse_yaml(f"[{text}]")
        except ValueError as error:
            raise ValueError(f"--set {setting}: {text} is no YAML. {error}") from error
        if len(values) == 1:
            overrides[key] = values[0]
        else:
            tried[key] = values
    return tried, overrides
