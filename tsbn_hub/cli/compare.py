"""`tsbn compare`."""

from pathlib import Path
from typing import Annotated

import typer

from ..files.parsing import parse_yaml
from .errors import plain_errors
from .options import Imports, Trust


@plain_errors()
def compare(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS]...", help="Runs to compare, instead of a grid.", show_default=False),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The YAML file of the grid's runs, as for `tsbn train`.")] = None,
    methods: Annotated[
        str,
        typer.Option(help="With commas: stl, hps, stats, tsbn, tssigma, cross-stitch, mtan, or trunks of your own."),
    ] = "stl,hps,tssigma",
    balancing: Annotated[
        str | None,
        typer.Option(
            help="With commas. Of losses: equal, uncertainty, dwa, rlw, imtl-l, gls, stch. Of gradients: gradnorm, "
            "pcgrad, cagrad, upgrad, mgda. Or your own. Default: the file's."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The others follow: to add seeds, or to share them out.")] = 0,
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
        bool, typer.Option("--equal-compute", help="Hard sharing also with as many FLOPs as task norms take.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    max_hours: Annotated[float | None, typer.Option(help="Stop then; the same command goes on.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of runs and tables.")] = Path("runs/comparison"),
    single_task: Annotated[
        Path | None,
        typer.Option(help="Where single-task runs are, for all grids. Default: single_task beside --out."),
    ] = None,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Train methods on the same data with the same budget, and compare them: tables and a picture.

    The same command again goes on where it was stopped. What is finished is not computed again.

    Example: tsbn compare --config examples/configs/multi_digits.yaml

    Of runs that are there: tsbn compare runs/*
    """
    if (config is None) == (not runs):
        context.fail("What is to be compared? Give either --config FILE, or the folders of runs.")

    from accelerate import Accelerator

    from ..compare import Budget, Grid, compare_runs, draw_comparison, draw_setting, write_tables
    from ..compare import compare as compare_grid
    from ..compare.formats import console_table
    from ..compare.grid import name_in_labels
    from ..files.names import RECIPE
    from ..training.report import console_of

    console = console_of(Accelerator())
    tried: dict[str, list[object]] = {}
    if config is not None:
        tried, overrides = _settings(set or [])
        grid = Grid(
            file=config,
            methods=_names(methods),
            balancings=_names(balancing or ""),
            settings=tried,
            seeds=seeds,
            first_seed=first_seed,
            overrides=overrides,
            imports=imports or (),
            folder=out,
            single_task_folder=single_task or out.parent / "single_task",
        )
        budget = Budget(jobs, max_hours, _numbers("--lr", lr or ""), equal_compute)
        comparison = compare_grid(grid, budget, console)
    else:
        found = [folder for folder in runs or () if (folder / RECIPE).is_file()]
        if not found:
            raise ValueError(f"There is no run among {', '.join(map(str, runs or ()))}: none has a {RECIPE}.")
        if others := [str(folder) for folder in runs or () if folder not in found]:
            typer.echo(f"No runs, and left out: {', '.join(others)}")
        out.mkdir(parents=True, exist_ok=True)
        comparison = compare_runs(found, out, console, trust=trust)
    files = write_tables(comparison, out)
    console.print(console_table(comparison))
    if draw_comparison(comparison, out / "comparison.png"):
        files.append(out / "comparison.png")
    for key in map(name_in_labels, tried):
        if draw_setting(comparison, key, out / f"{key}.png"):
            files.append(out / f"{key}.png")
    typer.echo(f"{out}: {', '.join(file.name for file in files)}")
    if missing := sum(len(row.missing) for row in comparison.rows):
        typer.echo(f"Runs that are missing: {missing}." + (" The same command goes on with them." if config else ""))


def _names(text: str) -> list[str]:
    return [name for each in text.split(",") if (name := each.strip())]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(name) for name in _names(text)]
    except ValueError as error:
        raise ValueError(f"{option} {text}: these are no numbers with commas.") from error


def _settings(settings: list[str]) -> tuple[dict[str, list[object]], dict[str, object]]:
    """By key the values to try, and the value of each key that has one alone."""
    tried: dict[str, list[object]] = {}
    overrides: dict[str, object] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set {setting}: write KEY=VALUE, or KEY=VALUE,VALUE,…")
        if key in tried or key in overrides:
            raise ValueError(f"--set {setting}: {key} is given already. Give its values with commas.")
        try:
            values = parse_yaml(f"[{text}]")
        except ValueError as error:
            raise ValueError(f"--set {setting}: {text} is no YAML. {error}") from error
        if not isinstance(values, list) or not values:
            raise ValueError(f"--set {setting}: write KEY=VALUE, or KEY=VALUE,VALUE,…")
        if len(values) == 1:
            overrides[key] = values[0]
        else:
            tried[key] = values
    return tried, overrides
