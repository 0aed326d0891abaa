"""A comparison as a picture: what a method gains, against what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..files.atomic import write_atomically
from .table import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that people with any colour vision tell apart (Okabe and Ito); with more methods, markers tell them apart.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX*"


def draw_comparison(comparison: Comparison, path: str | Path) -> bool:
    """Draw Δm with its 95% interval against the trunk passes that a method needs for all tasks.

    Args:
        comparison: What is shown: the methods that have both.
        path: The picture to write (.png, .pdf, .svg).

    Returns:
        Whether there was something to draw.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install 'tsbn_hub[pictures]'.") from error
    points = [
        (row.label, row.cost.passes, delta)
        for row in comparison.rows
        if row.cost is not None and (delta := comparison.delta(row)) is not None
    ]
    if not points:
        return False
    with rc_context({"text.parse_math": False}):  # a label may hold dollars
        figure = Figure(figsize=(7.5, 4.2), dpi=120, layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="0.6", linewidth=1, zorder=0)
        for number, (label, passes, delta) in enumerate(points):
            axes.errorbar(
                passes,
                delta.mean,
                yerr=delta.half_width,
                color=_COLORS[number % len(_COLORS)],
                marker=_MARKERS[number // len(_COLORS) % len(_MARKERS)],
                markersize=8,
                capsize=4,
                linestyle="none",
                label=label,
            )
        axes.set_xlabel("trunk passes for all tasks (floating-point operations of one pass = 1)")
        axes.set_ylabel(f"Δm over {comparison.reference}, %")
        axes.set_title("What a method gains, against what it costs; bars: 95% interval over seeds")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
        _save(figure, Path(path))
    return True


def _save(figure: "Figure", path: Path) -> None:
    drawn_as = path.suffix.removeprefix(".") or "png"
    write_atomically({path: lambda file: figure.savefig(file, format=drawn_as)})
