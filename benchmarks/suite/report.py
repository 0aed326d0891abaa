"""Tables and a picture of what was measured."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsbn_hub.files.atomic import write_atomically
from tsbn_hub.norms.execution.choice import SHARE_FOR_BATCHED

from .cases import Case
from .results import CaseResult, Results

EXPLANATION = """\
Times are ratios to plain models of timm on the same images: of one task to one plain model, and of all tasks to one
plain model per task. A task per sample is compared with one pass of one plain model over the same batch. Each is the
ratio of the minima over alternating rounds; in brackets are the quartiles of the rounds' ratios. Memory is the ratio of
the most bytes held at once: weights, activations and gradients. A step is forward and backward in training, without
optimizer. "Shared" is the part of a pass before the first task-specific norm, in floating-point operations: all tasks
together need `tasks - shared * (tasks - 1)` passes, where plain models need `tasks`; "floor" is the ratio of these.
"""
_SHOWN = ("sequential", "batched")
_COLORS = {"sequential": "#E69F00", "batched": "#0072B2"}  # which people with any colour vision tell apart
_MARKERS = "osD^vPX<>*"


def write_report(results: Results, folder: Path) -> None:
    """Write `bench.md` and `bench.png` into a folder.

    Args:
        results: What was measured.
        folder: Where to; it is there.
    """
    picture = _figure(list(results.cases.values()))
    write_atomically(
        {
            folder / "bench.md": lambda file: file.write_text(markdown(results)),
            folder / "bench.png": lambda file: picture.savefig(file, format="png", dpi=120),
        }
    )


def markdown(results: Results) -> str:
    """Tables in Markdown: one per device, dtype, mode, and of forwards or steps."""
    environment = ", ".join(f"{key} {value}" for key, value in results.environment.items())
    parts = [f"# What tasks cost\n\nMeasured: {environment}.\n\n{EXPLANATION}"]
    for setting in sorted({case.setting for case in results.cases}):
        of_setting = [result for case, result in results.cases.items() if case.setting == setting]
        parts.append(f"## {', '.join(setting)}\n\n{_table(of_setting)}")
    return "\n".join(parts)


def floor(case: Case, shared_part: float) -> float:
    """The passes that all tasks need together, as a ratio to one per task."""
    return 1 - shared_part * (case.tasks - 1) / case.tasks


def _table(results: Sequence[CaseResult]) -> str:
    names = list(dict.fromkeys(name for each in results for name, run in each.runs.items() if run.ratio or run.failed))
    columns = ["model", "task-specific", "tasks", "batch", "shared", "floor", *names]
    columns += [f"memory, {name}" for name in names]
    rows = [columns, ["---"] * 2 + ["---:"] * (len(columns) - 2)]
    order = sorted(results, key=lambda each: (each.case.model, each.case.tasks, each.case.batch, each.shared_part))
    for result in order:
        case = result.case
        cells = [case.model, case.gated, str(case.tasks), str(case.batch), f"{result.shared_part:.2f}"]
        cells.append(f"{floor(case, result.shared_part):.2f}")
        times, memories = [], []
        for name in names:
            run = result.runs.get(name)
            times.append("" if run is None else "failed" if run.failed else _with_spread(run.ratio))
            memories.append(f"{run.memory_ratio:.2f}" if run and run.memory_ratio else "")
        rows.append(cells + times + memories)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _with_spread(ratio: tuple[float, float, float] | None) -> str:
    return "" if ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


def _figure(results: Sequence[CaseResult]) -> Any:
    """The time of all tasks against the part of a pass that they share: a panel for each setting and batch size."""
    from matplotlib.figure import Figure

    several = [each for each in results if each.case.tasks > 1]
    usual = Counter(each.case.tasks for each in several).most_common(1)
    several = [each for each in several if each.case.tasks == usual[0][0]]
    panels = sorted({(*each.case.setting, each.case.batch) for each in several})
    models = list(dict.fromkeys(each.case.model for each in several))
    columns = min(len(panels), 4) or 1
    rows = -(-len(panels) // columns) or 1
    figure = Figure(figsize=(1 + 3.2 * columns, 1 + 3 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel, ax in zip(panels, axes, strict=False):
        *setting, batch = panel
        ax.set_title(f"{', '.join(setting)}, batch {batch}", fontsize="small")
        _draw(ax, [each for each in several if (*each.case.setting, each.case.batch) == panel], models)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    handles = _handles(models)
    figure.legend(handles, [handle.get_label() for handle in handles], loc="outside right upper", fontsize="small")
    figure.supxlabel("part of a pass before the first task-specific norm")
    figure.supylabel(f"time of {usual[0][0] if usual else 'all'} tasks / plain models")
    return figure


def _draw(ax: Any, results: Sequence[CaseResult], models: Sequence[str]) -> None:
    for name in _SHOWN:
        for each in results:
            run = each.runs.get(name)
            if run is not None and run.ratio:
                marker = _MARKERS[models.index(each.case.model) % len(_MARKERS)]
                ax.plot(each.shared_part, run.ratio[0], marker, color=_COLORS[name], fillstyle="none")
                ax.vlines(each.shared_part, *run.ratio[1:], color=_COLORS[name], linewidth=1)
    ax.plot([0, 1], [1, floor(results[0].case, 1)], color="grey", linewidth=1)
    ax.axvline(SHARE_FOR_BATCHED, color="grey", linewidth=0.8, linestyle=":")
    ax.set_xlim(-0.05, 1)


def _handles(models: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="black", linestyle="", fillstyle="none", marker=_MARKERS[at % len(_MARKERS)], label=model)
        for at, model in enumerate(models)
    ]
    handles += [Line2D([], [], color=color, label=name) for name, color in _COLORS.items()]
    handles.append(Line2D([], [], color="grey", linewidth=1, label="passes needed"))
    handles.append(Line2D([], [], color="grey", linewidth=0.8, linestyle=":", label='from here on "auto" is batched'))
    return handles
