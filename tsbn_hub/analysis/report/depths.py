"""How far predicted depths are from the true ones, near and far."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...tasks import Depth, Kind
from ..figures import COLORS, plain_numbers, write_figure
from ..tables import write_table
from .section import Section, TaskReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_A_DOUBLING = 8  # bins
_LEAST, _GREATEST = -20, 20  # powers of 2
_BINS = _A_DOUBLING * (_GREATEST - _LEAST)
_STATES = ("pixels", "absolute", "signed", "within")


class DepthsReport(TaskReport):
    """The errors of depths or disparities by how great the true ones are, and predicted against true ones.

    Bins are eight to a doubling. What is summed up in them is exact: over all bins, the pixels, absolute errors and
    shares within a factor of 1.25 are those of the metrics.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        self.counts = torch.zeros(_BINS, _BINS, dtype=torch.int64)  # by true, then predicted depth
        self.sums = {state: torch.zeros(_BINS, dtype=torch.float64) for state in _STATES}

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: (B, H, W) of both."""
        valid = self.kind.valid(target)
        true, predicted = target[valid], prediction[valid]
        bins, others = _bin_of(true), _bin_of(predicted)
        self.counts += torch.bincount(bins * _BINS + others, minlength=_BINS**2).view_as(self.counts)
        within = (predicted < 1.25 * true) & (true < 1.25 * predicted)
        error = (predicted - true).double()
        for state, values in zip(_STATES, (torch.ones_like(error), error.abs(), error, within.double()), strict=True):
            self.sums[state] += torch.bincount(bins, values, minlength=_BINS)

    def write(self, folder: Path, stem: str) -> list[Section]:
        """The errors by the true depth, and how many pixels are predicted as what."""
        assert isinstance(self.kind, Depth)
        name, pixels = f"{stem}.depths", self.sums["pixels"]
        rows: list[list[object]] = [["from", "to", "pixels", "abs_err", "bias", "delta1"]]
        for place in pixels.nonzero().flatten().tolist():
            means = (self.sums[state][place] / pixels[place] for state in _STATES[1:])
            low = 0 if place == 0 else float(f"{_edge(place):.6g}")  # the first and the last bin hold what is beyond
            high = "inf" if place == _BINS - 1 else float(f"{_edge(place + 1):.6g}")
            rows.append([low, high, int(pixels[place]), *(float(f"{mean:.6g}") for mean in means)])
        write_table(folder / f"{name}.csv", rows)
        write_figure(partial(_figure, self.counts, self.sums, self.kind), folder / f"{name}.png")
        return [Section(f"Errors by {self.kind.measures}", f"{name}.png", [f"{name}.csv"])]


def _bin_of(depths: Tensor) -> Tensor:
    """The bins of depths, (N,), int64; what is 0 is in the first one."""
    powers = depths.double().clamp(min=2.0**_LEAST).log2()
    return ((powers - _LEAST) * _A_DOUBLING).long().clamp(0, _BINS - 1)


def _edge(place: int) -> float:
    """The depth where a bin begins."""
    edge: float = 2.0 ** (_LEAST + place / _A_DOUBLING)
    return edge


def _figure(counts: Tensor, sums: dict[str, Tensor], kind: Depth) -> "Figure":
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    axes: list[Any] = [left, right]
    used = counts.sum(1).nonzero().flatten()
    if not len(used):
        axes[0].set_title("no pixel has a target")
        return figure
    # A few wild predictions shall not make the rest small: those beyond a doubling of the range are at the border.
    low, high = max(int(used.min()) - _A_DOUBLING, 0), min(int(used.max()) + _A_DOUBLING, _BINS - 1)
    edges = [_edge(place) for place in range(low, high + 2)]
    inside = torch.arange(_BINS).clamp(low, high) - low
    shown = torch.zeros(high - low + 1, high - low + 1, dtype=torch.int64)
    shown = shown.index_add(0, inside, counts[low : high + 1].T).double()
    mesh = axes[0].pcolormesh(edges, edges, shown.where(shown > 0, torch.nan), norm=LogNorm(), cmap="cividis")
    plain_numbers(figure.colorbar(mesh, ax=axes[0], label="pixels").ax.yaxis)
    ends = [edges[0], edges[-1]]
    axes[0].plot(ends, ends, color=COLORS[4], linewidth=1.2, label="predicted = true")
    unit = f"{kind.measures} in {kind.unit}"
    axes[0].set(xscale="log", yscale="log", xlabel=f"true {unit}", ylabel=f"predicted {unit}")
    axes[0].legend(frameon=False, loc="upper left")
    centers = [(_edge(place) * _edge(place + 1)) ** 0.5 for place in used.tolist()]
    pixels = sums["pixels"][used]
    for state, label, color, marker in (
        ("absolute", "mean absolute error", COLORS[0], "o"),
        ("signed", "mean of predicted - true", COLORS[1], "^"),
    ):
        axes[1].plot(centers, sums[state][used] / pixels, marker=marker, color=color, label=label, markersize=4)
    axes[1].axhline(0, color="black", linewidth=0.8)
    axes[1].set(xscale="log", xlabel=f"true {unit}", ylabel=f"error in {kind.unit}")
    axes[1].legend(frameon=False)
    for each in axes:
        plain_numbers(each.xaxis)
    plain_numbers(axes[0].yaxis)
    return figure
