"""`tsbn info`."""

import json
from dataclasses import asdict

from .errors import plain_errors
from .options import AsJson, Checkpoint, Imports, Trust


@plain_errors()
def info(checkpoint: Checkpoint, as_json: AsJson = False, imports: Imports = None, trust: Trust = False) -> None:
    """Show a model's tasks, and what each costs: parameters, buffers, FLOPs.

    Example: tsbn info runs/multi_digits
    """
    from accelerate import Accelerator

    from ..analysis import cost_table, model_cost
    from ..models import from_pretrained
    from ..training.report import console_of

    cost = model_cost(from_pretrained(checkpoint, trust=trust))
    console = console_of(Accelerator())
    if as_json:
        console.print_json(json.dumps(asdict(cost)), ensure_ascii=True)
    else:
        console.print(cost_table(cost))
