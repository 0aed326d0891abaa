"""Precision and recall of yes or no at every pixel, by threshold."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...tasks import Kind
from ..figures import COLORS, write_figure
from ..tables import write_table
from .section import Section, TaskReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ThresholdsReport(TaskReport):
    """Precision, recall and F of edges or saliency, at the thresholds of the primary metric."""

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        # Imported only here: a program that reports nothing does not wait for torchmetrics.
        from ...tasks.metrics import MaxF, make_metric

        metric = make_metric(kind.primary, kind)
        self.metric = metric if isinstance(metric, MaxF) else None

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities (B, H, W), and int64 (B, H, W) of 0, 1, and -100."""
        if self.metric is not None:
            self.metric.update(prediction, target)

    def write(self, folder: Path, stem: str) -> list[Section]:
        """The three, for each threshold."""
        if self.metric is None:
            return []
        name, curves = f"{stem}.thresholds", self.metric.curves()
        rows: list[list[object]] = [["threshold", *curves]]
        for place in range(99):
            rows.append([(place + 1) / 100, *(round(values[place].item(), 6) for values in curves.values())])
        write_table(folder / f"{name}.csv", rows)
        write_figure(partial(_figure, curves), folder / f"{name}.png")
        return [Section("Precision and recall by threshold", f"{name}.png", [f"{name}.csv"])]


def _figure(curves: dict[str, Tensor]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    for (name, values), color, style in zip(curves.items(), COLORS[:3], ("--", ":", "-"), strict=True):
        axes.plot([(place + 1) / 100 for place in range(99)], values, color=color, linestyle=style, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold of the probability", ylabel="score")
    axes.legend(frameon=False)
    return figure
