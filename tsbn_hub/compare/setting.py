"""What a setting changes: the gain of a method against the values of one key, as a table and as curves."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.figures import DOTS_AN_INCH, check_matplotlib, write_figure
from ..results.intervals import Interval
from .formats import markdown_table, shown_interval
from .picture import EXTRA, label_gains, mark_of
from .table import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = dict[str, dict[float, Interval]]
"""By what else a label says, Δm by the value of a setting."""


def gains_by_setting(comparison: Comparison, key: str) -> Curves:
    """Δm by the value of a setting, for each way in which the other settings were.

    Args:
        comparison: What was compared.
        key: The setting, as labels name it: the last part of its key, such as "gate_lr_scale". Its values are numbers.

    Returns:
        By the rest of the label, by value in rising order, Δm. Rows without the key, or without Δm, are left out.

    Example:
        >>> from tsbn_hub.compare import gains_by_setting, read_comparison
        >>> comparison = read_comparison("benchmarks/results/avatars_starts.json")
        >>> list(gains_by_setting(comparison, "gate_lr_scale")["tssigma, gate_noise=0"])
        [1.0, 10.0, 100.0, 300.0]
    """
    said = re.compile(rf"(, |^){re.escape(key)}=([-+.e\d]+)(?=, |$)")
    curves: Curves = {}
    for row in comparison.rows:
        match, delta = said.search(row.label), comparison.delta(row)
        if match and delta:
            rest = (row.label[: match.start()] + row.label[match.end() :]).removeprefix(", ")
            curves.setdefault(rest, {})[float(match[2])] = delta
    return {rest: dict(sorted(deltas.items())) for rest, deltas in curves.items()}


def setting_table(comparison: Comparison, key: str) -> str:
    """Δm by the value of a setting as a table in Markdown: a row for each way in which the other settings were.

    Args:
        comparison: What was compared.
        key: The setting, as `gains_by_setting` takes it.
    """
    curves = gains_by_setting(comparison, key)
    values = _values(curves)
    header = [f"Δm over {comparison.reference}, % by {key}", *(f"{value:g}" for value in values)]
    rows = [[label, *(shown_interval(deltas.get(value), 1) for value in values)] for label, deltas in curves.items()]
    return markdown_table(header, rows)


def draw_setting(comparison: Comparison, key: str, path: str | Path) -> bool:
    """Draw Δm with its 95% interval against a setting, a curve for each way in which the other settings were.

    Args:
        comparison: What was compared.
        key: The setting, as `gains_by_setting` takes it. Values from above 0 that span a factor of 10 are drawn on a
            logarithmic axis.
        path: The picture to write (.png, .pdf, .svg).

    Returns:
        Whether there was something to draw: the setting has two values at least.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_matplotlib(EXTRA)
    curves = gains_by_setting(comparison, key)
    if len(_values(curves)) < 2:
        return False
    write_figure(partial(_figure, curves, key, comparison.reference), path, EXTRA)
    return True


def _values(curves: Mapping[str, Mapping[float, Interval]]) -> list[float]:
    """All values of the setting, in rising order."""
    return sorted({value for deltas in curves.values() for value in deltas})


def _figure(curves: Mapping[str, Mapping[float, Interval]], key: str, reference: str | None) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 + 0.085 * max(map(len, curves)), 4.2), dpi=DOTS_AN_INCH, layout="constrained")
    axes = figure.subplots()
    values = _values(curves)
    logarithmic = values[0] > 0 and values[-1] >= 10 * values[0]
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    for number, (label, deltas) in enumerate(curves.items()):
        color, marker = mark_of(number)
        shift = 0.01 * (2 * number - len(curves) + 1)  # side by side: bars would cover each other
        axes.errorbar(
            [
                value * (values[-1] / values[0]) ** shift if logarithmic else value + shift * (values[-1] - values[0])
                for value in deltas
            ],
            [delta.mean for delta in deltas.values()],
            yerr=[delta.half_width or 0.0 for delta in deltas.values()],
            color=color,
            marker=marker,
            markersize=6,
            capsize=3,
            label=label,
        )
    axes.set_xlabel(key)
    label_gains(axes, f"Gain by {key}", reference, [delta for deltas in curves.values() for delta in deltas.values()])
    return figure
