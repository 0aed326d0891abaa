"""A picture of how the gates of a run move."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...training.state.gates import GatesLine
from ..figures import COLORS, DOTS_AN_INCH, MARKERS, MOST_NAMES, cut, short, thinned, write_figure

_WIDTH = 7.0


def draw_movement(lines: Sequence[GatesLine], path: str | Path) -> None:
    """Draw how the gates of a run move, epoch by epoch.

    Above are the quantiles of a task's gates, in the mean over tasks: how far they open and close. In the middle is how
    far apart each task's gates are (their standard deviation over filters): a line for each of up to six tasks, else
    a heat map. Below is the mean gate of each layer, over tasks and filters.

    Args:
        lines: What `read_gates` returns.
        path: The picture to write (.png, .pdf, .svg). A link there is replaced, not followed.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no line.
    """
    if not lines:
        raise ValueError("No line says how gates have moved: the run has no gates, or kept none.")
    write_figure(partial(_figure, lines), path)


def _figure(lines: Sequence[GatesLine]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    tasks, layers = [cut(task) for task in lines[0]["tasks"]], [cut(name) for name in short(list(lines[0]["layers"]))]
    few = len(tasks) <= len(COLORS)
    heights = [2.2, 1.8 if few else _height(len(tasks)), _height(len(layers))]
    size = (_WIDTH + 0.07 * max(map(len, [*layers, *tasks])), sum(heights) + 1.8)
    figure = Figure(figsize=size, dpi=DOTS_AN_INCH, layout="constrained")
    quantiles, apart, means = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    _draw_quantiles(quantiles, lines)
    apart.set_title("How far apart a task's gates are", fontsize="medium")
    spread = torch.tensor([line["std"] for line in lines]).T
    if few:
        epochs = [line["epoch"] for line in lines]
        for row, task in enumerate(tasks):
            apart.plot(epochs, spread[row], color=COLORS[row], marker=MARKERS[row], markersize=4, label=task)
        apart.set_ylabel("standard deviation\nover filters")
        apart.set_ylim(bottom=0)
        apart.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    else:
        _draw_heat_map(figure, apart, lines, spread, tasks, "standard deviation\nover filters")
    means.set_title("Where the gates of a layer are", fontsize="medium")
    by_layer = torch.tensor([list(line["layers"].values()) for line in lines]).mean(2).T
    _draw_heat_map(figure, means, lines, by_layer, layers, "mean gate σ(a)")
    means.set_xlabel("epoch (0: before the training)")
    means.xaxis.set_major_locator(MaxNLocator(integer=True))
    means.set_xlim(lines[0]["epoch"] - 0.5, lines[-1]["epoch"] + 0.5)
    return figure


def _height(rows: int) -> float:
    return min(max(1.2, 0.17 * rows), 0.17 * MOST_NAMES)


def _draw_quantiles(axes: Any, lines: Sequence[GatesLine]) -> None:
    epochs = [line["epoch"] for line in lines]
    lowest, lower, median, upper, highest = torch.tensor([line["quantiles"] for line in lines]).mean(1).T
    axes.fill_between(epochs, lowest, highest, color=COLORS[0], alpha=0.18, linewidth=0, label="9 of 10 filters")
    axes.fill_between(epochs, lower, upper, color=COLORS[0], alpha=0.4, linewidth=0, label="half of the filters")
    axes.plot(epochs, median, color="black", marker=".", linewidth=1, label="median")
    axes.set_title("How far the gates open and close", fontsize="medium")
    axes.set_ylabel("gate σ(a),\nmean over tasks")
    axes.set_ylim(0, 1)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)


def _draw_heat_map(
    figure: Any, axes: Any, lines: Sequence[GatesLine], values: torch.Tensor, names: list[str], label: str
) -> None:
    first, last = lines[0]["epoch"] - 0.5, lines[-1]["epoch"] + 0.5
    rows = len(names)
    image = axes.imshow(values.numpy(), aspect="auto", interpolation="nearest", extent=(first, last, rows - 0.5, -0.5))
    figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 0.025, 1)), label=label)
    shown = thinned(rows)
    axes.set_yticks(shown, [names[at] for at in shown], fontsize="small")
