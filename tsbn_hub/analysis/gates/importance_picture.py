"""Pictures of what the gates say."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..figures import (
    COLORS,
    DOTS_AN_INCH,
    MOST_NAMES,
    WIDEST,
    cut,
    height_of_layers,
    label_layers,
    thinned,
    write_figure,
)
from .importance import Importance

_MOST_BOXES = 240
_MOST_TASKS = 2  # in boxes


def has_boxes(importance: Importance) -> bool:
    """Whether `draw_importance` draws boxes; where they would be too many to tell apart it is a heat map."""
    tasks = len(importance.tasks)
    return tasks <= _MOST_TASKS and tasks * len(importance.layers) <= _MOST_BOXES


def draw_importance(importance: Importance, path: str | Path) -> None:
    """Draw the gates of each task in each layer and, of several tasks, how far apart theirs are.

    Of one task or two, and few layers, a box holds the middle half of a task's gates in a layer, with a line at their
    median; its whiskers reach to the last gates within 1.5 times its height, and gates beyond are dots. Of more, a heat
    map shows the mean gate of each task in each layer, in the order of the network. A bar below is the largest less the
    smallest gate that the tasks have for a filter, in the mean over a layer's filters.

    Args:
        importance: What `importance_matrix` returns.
        path: The picture to write (.png, .pdf, .svg). A link there is replaced, not followed.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    write_figure(partial(_figure, importance), path)


def _figure(importance: Importance) -> Any:
    from matplotlib.figure import Figure

    boxes, several = has_boxes(importance), len(importance.tasks) > 1
    heights = [3.0 if boxes else min(max(1.4, 0.2 * len(importance.tasks)), 0.2 * MOST_NAMES)] + [2.0] * several
    beside = 0 if boxes else max(len(cut(task)) for task in importance.tasks)
    size = (
        min(max(6.0, 1.0 + 0.45 * len(importance.layers)) + 0.08 * beside, WIDEST),
        sum(heights) + 1.0 + height_of_layers(list(importance.layers)),  # the plots keep their height
    )
    figure = Figure(figsize=size, dpi=DOTS_AN_INCH, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    panels[0].set_title("What each task lets through")
    (_draw_boxes if boxes else _draw_heat_map)(figure, panels[0], importance)
    if several:
        _draw_spread(panels[1], importance)
    label_layers(panels[-1], list(importance.layers))
    return figure


def _draw_boxes(figure: Any, axes: Any, importance: Importance) -> None:
    tasks = len(importance.tasks)
    handles = []
    for row, color in enumerate(COLORS[:tasks]):
        boxes = axes.boxplot(
            [importance.matrix[row, columns].numpy() for columns in importance.layers.values()],
            positions=[at + 0.8 * ((row + 0.5) / tasks - 0.5) for at in range(len(importance.layers))],
            widths=0.7 / tasks,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": color, "linewidth": 0.6},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0.6},
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3, "markerfacecolor": color, "markeredgewidth": 0},
        )
        handles.append(boxes["boxes"][0])
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_ylabel("gate σ(a)")
    axes.set_ylim(0, 1)
    names = [cut(name) for name in importance.tasks]
    for columns in range(tasks, 0, -1):
        legend = figure.legend(handles, names, loc="outside upper center", ncols=columns, fontsize="small")
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()


def _draw_heat_map(figure: Any, axes: Any, importance: Importance) -> None:
    means = torch.stack([importance.matrix[:, columns].mean(1) for columns in importance.layers.values()], dim=1)
    image = axes.imshow(means.numpy(), vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    bar = 0.15 / figure.get_figwidth()  # inches
    figure.colorbar(image, cax=axes.inset_axes((1 + bar, 0, bar, 1)), label="mean gate σ(a)")
    shown = thinned(len(importance.tasks))
    axes.set_yticks(shown, [cut(importance.tasks[at]) for at in shown], fontsize="small")


def _draw_spread(axes: Any, importance: Importance) -> None:
    spread = importance.matrix.amax(0) - importance.matrix.amin(0)
    means = [spread[columns].mean().item() for columns in importance.layers.values()]
    axes.bar(range(len(means)), means, color="grey")
    axes.set_ylabel("largest − smallest gate,\nmean over filters")
    axes.set_ylim(0, 1)  # as on every picture
    axes.set_title("How differently the tasks use a layer's filters", fontsize="medium")
