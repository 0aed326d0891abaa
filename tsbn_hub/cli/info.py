"""`tsbn info`."""

import json
from dataclasses import asdict

from .errors import plain_errors
from .options import AsJson, Checkpoint, Imports, Trust


@plain_errors()
def info(checkpoint: Checkpoint, as_json: AsJson = False, imports: Imports = None, trust: Trust = False) -> None:
    """Show a model's tasks, what each costs (parameters, buffers, FLOPs), and the thresholds of attributes.

    Example: tsbn info runs/multi_digits
    """
    from accelerate import Accelerator

    from ..analysis import cost_table, model_cost
    from ..models import from_pretrained, surface_of
    from ..tasks import Attributes
    from ..training.report import console_of

    model = from_pretrained(checkpoint, trust=trust)
    cost = model_cost(model)
    thresholds = {
        name: kind.by_label(kind.thresholds)
        for name, kind in surface_of(model).kinds().items()
        if isinstance(kind, Attributes)
    }
    console = console_of(Accelerator())
    if as_json:
        told = asdict(cost) | ({"thresholds": thresholds} if thresholds else {})
        console.print_json(json.dumps(told), ensure_ascii=True)
        return
    console.print(cost_table(cost))
    for name, own in thresholds.items():
        each = ", ".join(f"{label} {value:.4g}" for label, value in own.items())
        console.print(f"{name}: present is what is above the probability: {each}", highlight=False)
