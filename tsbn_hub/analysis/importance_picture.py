"""Pictures of what the gates say."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from ..files.atomic import write_atomically
from .importance import Importance

_WIDEST = 16.0  # inches
_DOTS_AN_INCH = 120
_MOST_BOXES = 240
_COLORS = ("#0072B2", "#E69F00")  # which people with any colour vision tell apart (Okabe and Ito)
_MOST_NAMES = 60  # along an axis
_LONGEST_NAME = 44


def has_boxes(importance: Importance) -> bool:
    """Whether `draw_importance` draws boxes; where they would be too many to tell apart it is a heat map."""
    tasks = len(importance.tasks)
    return tasks <= len(_COLORS) and tasks * len(importance.layers) <= _MOST_BOXES


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
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install 'tsbn_hub[pictures]'.") from error
    with rc_context({"text.parse_math": False}):  # a task may be named "$5 or $10"
        figure = _figure(importance)
        path, drawn_as = Path(path), Path(path).suffix.removeprefix(".") or "png"
        write_atomically({path: lambda file: figure.savefig(file, format=drawn_as, dpi=_DOTS_AN_INCH)})


def _figure(importance: Importance) -> Any:
    from matplotlib.figure import Figure

    names = [_cut(name) for name in _short(list(importance.layers))]
    boxes, several = has_boxes(importance), len(importance.tasks) > 1
    heights = [3.0 if boxes else min(max(1.4, 0.2 * len(importance.tasks)), 0.2 * _MOST_NAMES)] + [2.0] * several
    beside = 0 if boxes else max(len(_cut(task)) for task in importance.tasks)
    size = (
        min(max(6.0, 1.0 + 0.45 * len(names)) + 0.08 * beside, _WIDEST),
        sum(heights) + 1.0 + 0.06 * max(map(len, names)),  # the names lean, and the plots keep their height
    )
    figure = Figure(figsize=size, dpi=_DOTS_AN_INCH, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    panels[0].set_title("What each task lets through")
    (_draw_boxes if boxes else _draw_heat_map)(figure, panels[0], importance)
    if several:
        _draw_spread(panels[1], importance)
    panels[-1].set_xlim(-0.5, len(names) - 0.5)
    shown = _thinned(len(names))
    panels[-1].set_xticks(
        shown, [names[at] for at in shown], rotation=60, ha="right", rotation_mode="anchor", fontsize="small"
    )
    return figure


def _draw_boxes(figure: Any, axes: Any, importance: Importance) -> None:
    tasks = len(importance.tasks)
    handles = []
    for row, color in enumerate(_COLORS[:tasks]):
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
    names = [_cut(name) for name in importance.tasks]
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
    shown = _thinned(len(importance.tasks))
    axes.set_yticks(shown, [_cut(importance.tasks[at]) for at in shown], fontsize="small")


def _draw_spread(axes: Any, importance: Importance) -> None:
    spread = importance.matrix.amax(0) - importance.matrix.amin(0)
    means = [spread[columns].mean().item() for columns in importance.layers.values()]
    axes.bar(range(len(means)), means, color="grey")
    axes.set_ylabel("largest − smallest gate,\nmean over filters")
    axes.set_ylim(0, 1)  # as on every picture
    axes.set_title("How differently the tasks use a layer's filters", fontsize="medium")


def _thinned(names: int) -> range:
    """Which of the names along an axis are shown: all, or each n-th where they would overlap."""
    return range(0, names, -(-names // _MOST_NAMES))


def _cut(name: str) -> str:
    name = " ".join(name.split())
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _short(names: list[str]) -> list[str]:
    """The names of layers without the modules, before and after, that all are in, or all but those of a stem."""
    parts = [name.split(".") for name in names]
    while all(len(each) > 1 and each[0] == parts[0][0] for each in parts):
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 and each[-1] == parts[0][-1] for each in parts):
        parts = [each[:-1] for each in parts]
    module, layers = Counter(each[0] for each in parts).most_common(1)[0]
    inner = [each[1:] if each[0] == module else each for each in parts]
    if layers > 0.8 * len(parts) and all(inner) and len(set(map(tuple, inner))) == len(parts):
        parts = inner
    return [".".join(each) for each in parts]
