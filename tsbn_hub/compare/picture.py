"""A comparison as a picture: what a method gains, against what it costs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.figures import COLORS, DOTS_AN_INCH, check_matplotlib, write_figure
from ..results.intervals import Interval
from .table import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRA = "compare"
_COLORS = (*COLORS, "#000000")  # with more rows, markers tell them apart
_MARKERS = "osD^vPX*"


Point = tuple[str, float, Interval]
"""The label of a row, its operations, and its Δm."""


def draw_comparison(comparison: Comparison, path: str | Path) -> bool:
    """Draw Δm with its 95% interval against the floating-point operations that a method needs for all tasks.

    Methods that cost nearly the same are drawn side by side.

    Args:
        comparison: What is shown: the methods that have both.
        path: The picture to write (.png, .pdf, .svg).

    Returns:
        Whether there was something to draw.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_matplotlib(EXTRA)
    points = [
        (row.label, row.cost.passes, delta)
        for row in comparison.rows
        if row.cost is not None and (delta := comparison.delta(row)) is not None
    ]
    if not points:
        return False
    write_figure(partial(_figure, points, comparison.reference), path, EXTRA)
    return True


def _figure(points: Sequence[Point], reference: str | None) -> "Figure":
    from matplotlib.figure import Figure

    longest = max(len(label) for label, _, _ in points)
    figure = Figure(
        figsize=(6 + 0.085 * longest, max(4.2, 0.5 + 0.22 * len(points))), dpi=DOTS_AN_INCH, layout="constrained"
    )
    axes = figure.subplots()
    for number, (x, (label, _, delta)) in enumerate(zip(_apart([each[1] for each in points]), points, strict=True)):
        color, marker = mark_of(number)
        axes.errorbar(
            x,
            delta.mean,
            yerr=delta.half_width,
            color=color,
            marker=marker,
            markersize=8,
            capsize=4,
            linestyle="none",
            label=label,
        )
    axes.set_xlabel("floating-point operations for all tasks (a plain network for one task = 1)")
    label_gains(axes, "Gain against cost", reference, [delta for _, _, delta in points])
    return figure


def mark_of(number: int) -> tuple[str, str]:
    """The colour and the marker of a row, by its place in the picture."""
    return _COLORS[number % len(_COLORS)], _MARKERS[number // len(_COLORS) % len(_MARKERS)]


def label_gains(axes: "Axes", title: str, reference: str | None, deltas: Sequence[Interval]) -> None:
    """Say what the vertical axis, its zero and the bars are, and beside the axes what each mark is."""
    axes.axhline(0, color="0.6", linewidth=1, zorder=0)
    axes.set_ylabel(f"Δm over {reference}, %")
    bars = any(delta.half_width is not None for delta in deltas)
    axes.set_title(title + ("; bars: 95% interval over seeds" if bars else ""), fontsize="medium")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.legend(loc="outside right upper", frameon=False)


def _apart(values: Sequence[float]) -> list[float]:
    """Values of which those that are nearly the same lie side by side."""
    step = 0.015 * ((max(values) - min(values)) or 1.0)
    groups: list[list[int]] = []
    for at in sorted(range(len(values)), key=lambda at: values[at]):
        if groups and values[at] - values[groups[-1][0]] < 2 * step:
            groups[-1].append(at)
        else:
            groups.append([at])
    shifts = {at: step * (place - (len(group) - 1) / 2) for group in groups for place, at in enumerate(group)}
    return [value + shifts[at] for at, value in enumerate(values)]
