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
    as_json: AsJson = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Score a run's best model.

    Example: tsbn evaluate runs/multi_digits
    """
    from accelerate import Accelerator

    from ..training import evaluate_run
    from ..training.report import console_of, score_table

    kinds, scores = evaluate_run(folder, split, trust=trust)
    console = console_of(Accelerator())
    if as_json:
        plain = {
            name: {metric: None if math.isnan(value) else value for metric, value in values.items()}
            for name, values in scores.items()
        }
        console.print_json(json.dumps(plain), ensure_ascii=True)
    else:
        console.print(score_table(kinds, scores))
