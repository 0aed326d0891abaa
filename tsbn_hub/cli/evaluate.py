"""`tsbn evaluate`."""

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from .errors import plain_errors
from .options import AsJson, Imports, Trust


@plain_errors()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="The folder of a run of `tsbn train`.", file_okay=False)],
    split: Annotated[Literal["train", "test"], typer.Option(help="The part of the data.")] = "test",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder for report.html: confusion, scores of classes, errors, worst samples."
        ),
    ] = None,
    as_json: AsJson = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Score a run's best model, and, if wished, report where it is right and where it is wrong.

    Example: tsbn evaluate runs/multi_digits --report runs/multi_digits/report
    """
    from accelerate import Accelerator

    from ..training import evaluate_run
    from ..training.report import console_of, score_table

    if report is None:
        kinds, scores = evaluate_run(folder, split, trust=trust)
    else:
        from ..analysis import report_run

        kinds, scores = report_run(folder, report, split, trust=trust)
    console = console_of(Accelerator())
    if as_json:
        plain = {
            name: {metric: None if math.isnan(value) else value for metric, value in values.items()}
            for name, values in scores.items()
        }
        console.print_json(json.dumps(plain), ensure_ascii=True)
    else:
        console.print(score_table(kinds, scores))
        if report is not None:
            console.print(f"{report / 'report.html'} has pictures and tables.", soft_wrap=True, highlight=False)
