"""How the gates of a run move: a line for each epoch in a file beside its log."""

import json
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from ...files.names import GATE_LOG
from ...files.parsing import parse_json
from ...norms import TaskModule, TaskNorm

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a task's gates, in the order in which a line has them."""
NEAR = 0.05
"""How near to 0 or 1 a gate is as good as closed or open."""

_DIGITS = 4


class GatesLine(TypedDict):
    """What the gates are at the end of an epoch, and in epoch 0 before the first step.

    Every list has an entry for each task, in the order of `tasks`: over the gates of all filters `mean`, `std`, five
    `quantiles` each, and the shares, in [0, 1], that are `near_0` and `near_1`. `layers` has the mean of each layer.
    """

    epoch: int
    tasks: list[str]
    mean: list[float]
    std: list[float]
    quantiles: list[list[float]]
    near_0: list[float]
    near_1: list[float]
    layers: dict[str, list[float]]


@torch.no_grad()
def gates_line(model: nn.Module, epoch: int) -> GatesLine | None:
    """What the gates of a model are; None: it has none.

    Args:
        model: The model.
        epoch: The epoch that has ended; 0 before the first.
    """
    norms = {name: norm for name, norm in model.named_modules() if isinstance(norm, TaskNorm)}
    layers = {name: norm.gates.float().cpu() for name, norm in norms.items() if norm.gate_logits is not None}
    if not layers or not isinstance(model, TaskModule):
        return None
    gates = torch.cat(list(layers.values()), dim=1)
    return {
        "epoch": epoch,
        "tasks": model.tasks,
        "mean": _rounded(gates.mean(1)),
        "std": _rounded(gates.std(1, correction=0)),
        "quantiles": [_rounded(row.quantile(row.new_tensor(QUANTILES))) for row in gates],
        "near_0": _rounded((gates < NEAR).float().mean(1)),
        "near_1": _rounded((gates > 1 - NEAR).float().mean(1)),
        "layers": {name: _rounded(gate.mean(1)) for name, gate in layers.items()},
    }


def read_gates(folder: str | Path) -> list[GatesLine]:
    """How the gates of a run have moved, by epoch; nothing where the run has no gates.

    Args:
        folder: The run's.

    Raises:
        ValueError: if a line of the file is broken; it names the line.
    """
    path = Path(folder, GATE_LOG)
    lines: list[GatesLine] = []
    for number, text in enumerate(path.read_bytes().splitlines() if path.is_file() else (), 1):
        try:
            line: GatesLine = parse_json(text.decode())
            if line.keys() != GatesLine.__annotations__.keys():
                raise ValueError(f"expected are the keys {', '.join(GatesLine.__annotations__)}")
        except (ValueError, AttributeError) as error:  # the latter where it is no mapping
            raise ValueError(
                f"{path}, line {number}, says nothing of gates: {error}. Something else has written it. Remove the "
                "file: a run writes it anew, without the epochs so far."
            ) from error
        lines.append(line)
    return lines


def gates_text(lines: list[GatesLine]) -> str:
    """The lines as the file has them."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, _DIGITS) for value in values.tolist()]
