"""A picture of how alike tasks are."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..figures import (
    COLORS,
    DOTS_AN_INCH,
    MARKERS,
    MOST_NAMES,
    WIDEST,
    cut,
    height_of_layers,
    label_layers,
    thinned,
    write_figure,
)
from .clustering import cluster_tasks
from .cosines import TaskCosines

_MOST_VALUES = 12  # tasks, whose cosines are written as numbers, too
_NAME_WIDTH = 0.16  # inches, of one that leans
_LONGEST_IN_PAIR = 22  # characters of a name
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_cosines(cosines: TaskCosines, path: str | Path, title: str) -> None:
    """Draw the cosines of all pairs of tasks, in groups of tasks that are alike, and how they differ by layer.

    On the left is the matrix, over all layers. Rows and columns are ordered such that tasks that are alike are
    neighbours; the tree above it joins them, the lower the more alike. Tasks that have nothing in common are white,
    those that are more alike blue, those that are opposed red. On the right are the cosines in each layer: a line for
    each pair of up to four tasks, else their median, middle half and range.

    Args:
        cosines: What `gate_similarity` or `gradient_cosines` returns.
        path: The picture to write (.png, .pdf, .svg). A link there is replaced, not followed.
        title: What they are the cosines of.

    Raises:
        ImportError: if matplotlib or scipy is not installed.
        ValueError: if a task cannot be compared.
    """
    write_figure(partial(_figure, cosines, title), path)


def _figure(cosines: TaskCosines, title: str) -> Any:
    from matplotlib.figure import Figure
    from scipy.cluster.hierarchy import leaves_list

    tree, tasks = cluster_tasks(cosines), len(cosines.tasks)
    side = max(2.6, (0.45 if tasks <= _MOST_VALUES else 0.2) * min(tasks, MOST_NAMES))
    names = 0.075 * max(len(cut(task)) for task in cosines.tasks)
    beside = max(4.0, min(0.2 * len(cosines.layers), WIDEST - side - names - 2.0))
    pairs = len(cosines.pairs())
    top = max(0.7, 0.21 * (1 + pairs)) if pairs <= len(COLORS) else 0.7  # the tree, and a legend
    below = max(height_of_layers(list(cosines.layers)), names)
    figure = Figure(
        figsize=(side + names + beside + 2.0, side + below + top + 1.1), dpi=DOTS_AN_INCH, layout="constrained"
    )
    figure.suptitle(title)
    (above, corner), (matrix, layers) = figure.subplots(
        2, 2, width_ratios=[side + 0.6, beside], height_ratios=[top, side]
    )
    corner.axis("off")
    _draw_tree(above, tree)
    _draw_matrix(figure, matrix, cosines, leaves_list(tree).tolist())
    _draw_layers(layers, corner, cosines)
    label_layers(layers, list(cosines.layers), most=int(beside / _NAME_WIDTH))
    return figure


def _draw_tree(axes: Any, tree: Any) -> None:
    from scipy.cluster.hierarchy import dendrogram

    dendrogram(tree, ax=axes, no_labels=True, color_threshold=0, above_threshold_color="0.3")
    axes.axis("off")


def _draw_matrix(figure: Any, axes: Any, cosines: TaskCosines, order: list[int]) -> None:
    from matplotlib.colors import TwoSlopeNorm

    tasks = len(order)
    values = cosines.matrix[order][:, order].numpy()
    scale = TwoSlopeNorm(cosines.unrelated, -1, 1)
    image = axes.imshow(values, cmap="RdBu", norm=scale, aspect="auto", interpolation="nearest")
    if tasks <= _MOST_VALUES:
        for row, column in ((row, column) for row in range(tasks) for column in range(tasks) if row != column):
            dark = abs(scale(values[row, column]) - 0.5) > 0.35
            axes.text(
                column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize="x-small",
                color="white" if dark else "black",
            )  # fmt: skip
    names = [cut(cosines.tasks[row]) for row in order]
    shown = thinned(tasks)
    labels = [names[at] for at in shown]
    axes.set_yticks(shown, labels, fontsize="small")
    axes.set_xticks(shown, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize="small")
    bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.1 / tasks**0.5, 0, 0.1 / tasks**0.5, 1)))
    bar.set_ticks([-1, cosines.unrelated, 1], labels=["-1", f"{cosines.unrelated:.2g}\nunrelated", "1"])
    bar.ax.tick_params(labelsize="small")


def _draw_layers(axes: Any, above: Any, cosines: TaskCosines) -> None:
    pairs = cosines.pairs()
    by_layer = torch.stack([torch.stack([matrix[pair] for pair in pairs]) for matrix in cosines.layers.values()])
    at = range(len(by_layer))
    if len(pairs) <= len(COLORS):
        for number, (row, column) in enumerate(pairs):
            axes.plot(
                at,
                by_layer[:, number],
                color=COLORS[number],
                marker=MARKERS[number],
                markersize=4,
                linewidth=1,
                label=" and ".join(cut(cosines.tasks[at], _LONGEST_IN_PAIR) for at in (row, column)),
            )
    else:
        low, lower, median, upper, high = by_layer.nanquantile(by_layer.new_tensor(_QUANTILES), dim=1)
        axes.fill_between(at, low, high, color=COLORS[0], alpha=0.18, linewidth=0, label="all pairs")
        axes.fill_between(at, lower, upper, color=COLORS[0], alpha=0.4, linewidth=0, label="half of the pairs")
        axes.plot(at, median, color="black", marker="o", markersize=3, linewidth=1, label="median")
    axes.axhline(cosines.unrelated, color="grey", linewidth=0.8, linestyle=":", label="unrelated")
    axes.set_ylim(-1.05, 1.05)
    axes.set_ylabel("cosine in a layer")
    handles, labels = axes.get_legend_handles_labels()
    above.legend(
        handles, labels, loc="lower left", ncols=1 if len(pairs) <= len(COLORS) else 2, fontsize="small", frameon=False
    )
