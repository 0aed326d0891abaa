"""How far predicted normals are from the true ones."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...tasks import Kind
from ...tasks.vectors import angles
from ..figures import COLORS, write_figure
from ..tables import write_table
from .section import Section, TaskReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEP = 0.25  # degrees
_BINS = round(180 / _STEP)
_MARKED = (11.25, 22.5, 30.0)


class AnglesReport(TaskReport):
    """The distribution of the angles between predicted and true normals, in bins of a quarter of a degree."""

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        self.counts = torch.zeros(_BINS, dtype=torch.int64)

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: (B, 3, H, W) of both."""
        apart = angles(prediction, target)[self.kind.valid(target)]
        self.counts += torch.bincount((apart / _STEP).long().clamp(max=_BINS - 1), minlength=_BINS)

    def shares(self) -> Tensor:
        """The share of the pixels below the end of each bin, (720,), float64."""
        return self.counts.cumsum(0).double() / self.counts.sum()

    def write(self, folder: Path, stem: str) -> list[Section]:
        """How many pixels are below which angle."""
        name, shares = f"{stem}.angles", self.shares()
        rows: list[list[object]] = [["below degrees", "pixels", "share"]]
        rows += [
            [_STEP * (place + 1), count, round(share, 6)]
            for place, (count, share) in enumerate(zip(self.counts.tolist(), shares.tolist(), strict=True))
        ]
        write_table(folder / f"{name}.csv", rows)
        write_figure(partial(_figure, shares), folder / f"{name}.png")
        return [Section("Angles between predicted and true normals", f"{name}.png", [f"{name}.csv"])]


def _figure(shares: Tensor) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    axes.plot([_STEP * (place + 1) for place in range(_BINS)], shares, color=COLORS[0])
    for degrees, color, style in zip(_MARKED, (COLORS[2], COLORS[1], COLORS[4]), (":", "--", "-."), strict=True):
        share = shares[round(degrees / _STEP) - 1].item()
        axes.axvline(degrees, color=color, linestyle=style, label=f"below {degrees:g}°: {share:.1%}")
    axes.set(xlim=(0, 180), ylim=(0, 1.02), xlabel="angle in degrees", ylabel="share of the pixels below it")
    axes.legend(frameon=False, loc="lower right")
    return figure
