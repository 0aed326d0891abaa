"""How far predicted numbers are from the true ones."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...tasks import Kind
from ..figures import COLORS, plain_numbers, write_figure
from ..tables import write_table
from .section import Section, TaskReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_NUMBERS = 6  # of an image, that are drawn
_MOST_POINTS = 1_000  # of more, it is drawn how many are where


class NumbersReport(TaskReport):
    """The errors of a regression, in the units of the data: their distribution, and predicted against true numbers.

    All pairs are kept, two numbers for each of an image.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        self._pairs: list[Tensor] = []

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: (B, size) of both, NaN where a target is missing."""
        self._pairs.append(torch.stack([target.double(), prediction.double()]))

    def pairs(self, number: int) -> tuple[Tensor, Tensor]:
        """The true and the predicted values of one of an image's numbers, where it is known, (N,), float64."""
        joined = torch.cat(self._pairs, dim=1) if self._pairs else torch.empty(2, 0, self.kind.outputs)
        true, predicted = joined[..., number]
        known = true.isfinite()
        return true[known], predicted[known]

    def write(self, folder: Path, stem: str) -> list[Section]:
        """The distribution of the errors, all pairs, and a picture of both."""
        errors, pairs = f"{stem}.errors", f"{stem}.pairs"
        rows: list[list[object]] = [
            ["number", "known", "mae", "rmse", "bias", "r2", *(f"error at {quantile:.0%}" for quantile in _QUANTILES)]
        ]
        all_pairs: list[list[object]] = [["number", "true", "predicted"]]
        for number in range(self.kind.outputs):
            true, predicted = self.pairs(number)
            rows.append([number, len(true), *(float(f"{value:.6g}") for value in error_values(true, predicted))])
            all_pairs += [[number, *pair] for pair in zip(_short(true), _short(predicted), strict=True)]
        write_table(folder / f"{errors}.csv", rows)
        write_table(folder / f"{pairs}.csv", all_pairs)
        drawn = [self.pairs(number) for number in range(min(self.kind.outputs, _MOST_NUMBERS))]
        write_figure(partial(_figure, drawn), folder / f"{errors}.png")
        return [Section("Predicted against true", f"{errors}.png", [f"{errors}.csv", f"{pairs}.csv"], rows)]


def error_values(true: Tensor, predicted: Tensor) -> list[float]:
    """The mean absolute error, the root of the mean squared one, the mean one, r2, and quantiles of the errors."""
    if not len(true):
        return [float("nan")] * (4 + len(_QUANTILES))
    error = predicted - true
    spread = (true - true.mean()).square().sum()
    r2 = (1 - error.square().sum() / spread).item() if spread > 0 else float("nan")
    quantiles = error.sort().values[[round(quantile * (len(error) - 1)) for quantile in _QUANTILES]]
    return [
        error.abs().mean().item(),
        error.square().mean().sqrt().item(),
        error.mean().item(),
        r2,
        *quantiles.tolist(),
    ]


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def _figure(drawn: list[tuple[Tensor, Tensor]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8 * len(drawn)), layout="constrained")
    for row, (true, predicted) in zip(figure.subplots(len(drawn), 2, squeeze=False), drawn, strict=True):
        left: Any = row[0]
        right: Any = row[1]
        if not len(true):
            left.set_title("no true number is known")
            continue
        low, high = (extreme(torch.cat([true, predicted])).item() for extreme in (torch.min, torch.max))
        if len(true) > _MOST_POINTS:
            count = left.hexbin(true, predicted, gridsize=40, cmap="cividis", mincnt=1, bins="log")
            plain_numbers(figure.colorbar(count, ax=left, label="images").ax.yaxis)
        else:
            left.plot(true, predicted, "o", color=COLORS[0], markersize=4, alpha=0.5, markeredgewidth=0)
        left.plot([low, high], [low, high], color=COLORS[4], linewidth=1.2, label="predicted = true")
        left.set(xlabel="true, in the unit of the data", ylabel="predicted, in the unit of the data")
        left.legend(frameon=False, loc="upper left")
        right.hist(predicted - true, bins=min(40, max(5, int(len(true) ** 0.5))), color=COLORS[5], edgecolor="white")
        right.axvline(0, color="black", linewidth=0.8)
        mean = (predicted - true).mean().item()
        right.axvline(mean, color=COLORS[4], linewidth=1.5, linestyle="--", label=f"mean: {mean:+.3g}")
        right.set(xlabel="predicted - true, in the unit of the data", ylabel="images")
        right.legend(frameon=False)
    return figure
