"""A comparison as Markdown, LaTeX, CSV and JSON, and for a terminal."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich import box
from rich.table import Table

from ..baselines import HARD_SHARING
from ..files.atomic import write_atomically
from ..results.intervals import Interval
from .table import Comparison, Measure, Row

_WITHOUT = "–"
_MOST_TASKS = 10  # whose scores a table shows


@dataclass(frozen=True)
class _Column:
    """A column, with what it shows of a row."""

    name: str
    shown: Callable[[Row], str]


def write_tables(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write `table.md`, `table.tex`, `table.csv` and `table.json` into a folder, all or none.

    Args:
        comparison: What is shown.
        folder: It is there.

    Returns:
        The files.
    """
    texts = {
        "table.md": markdown(comparison),
        "table.tex": latex(comparison),
        "table.csv": comma_separated(comparison),
        "table.json": as_json(comparison),
    }
    files = {Path(folder, name): text for name, text in texts.items()}
    write_atomically({file: partial(_write, text) for file, text in files.items()})
    return list(files)


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def markdown(comparison: Comparison) -> str:
    """A table in Markdown, and what its columns mean."""
    columns = _columns(comparison)
    rows = [[column.shown(row) for column in columns] for row in comparison.rows]
    table = markdown_table([column.name for column in columns], rows)
    return "\n".join([table, *(f"- {note}" for note in _notes(comparison))]) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells as a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def latex(comparison: Comparison) -> str:
    """A table in LaTeX, for the package booktabs."""
    columns = _columns(comparison)
    lines = [
        *(f"% {note}" for note in _notes(comparison)),
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        " & ".join(_for_latex(column.name) for column in columns) + r" \\",
        r"\midrule",
        *(" & ".join(_for_latex(column.shown(row)) for column in columns) + r" \\" for row in comparison.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(comparison: Comparison) -> str:
    """A row for each method, with every metric in full precision: mean, half-width of the interval, seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_intervals = [f"{measure.task}/{measure.metric}" for measure in comparison.measures]
    names = ["delta_m", *of_intervals]
    of_costs = ["parameters", "trainable", "of_a_task", "flops", "passes", "seconds", "memory"]
    writer.writerow(
        ["method", *(f"{name}{part}" for name in names for part in ("", " ±", " seeds")), *of_costs, "training seconds",
         "seeds", "runs missing", "settings"]
    )  # fmt: skip
    for row in comparison.rows:
        scores = comparison.scores(row)
        intervals = [comparison.delta(row), *(scores.get(measure) for measure in comparison.measures)]
        values = [
            value
            for each in intervals
            for value in (("", "", 0) if each is None else (each.mean, _or_empty(each.half_width), each.runs))
        ]
        cost = ["" if row.cost is None else getattr(row.cost, name) for name in of_costs]
        settings = "; ".join(f"{key}={value}" for key, value in row.settings.items())
        rest = [_or_empty(row.seconds), len(row.results), len(row.missing), settings]
        writer.writerow([row.label, *values, *cost, *rest])
    return text.getvalue()


def as_json(comparison: Comparison) -> str:
    """Everything, with the scores of each seed."""
    rows = []
    for row in comparison.rows:
        scores, delta = comparison.scores(row), comparison.delta(row)
        rows.append(
            {
                "method": row.label,
                "settings": row.settings,
                "delta_m": None if delta is None else asdict(delta),
                "scores": [
                    {**asdict(measure), **asdict(scores[measure])}
                    for measure in comparison.measures
                    if measure in scores
                ],
                "by_seed": {
                    str(seed): {
                        f"{each.task}/{each.metric}": value if math.isfinite(value) else None
                        for each, value in row.scores(seed).items()
                    }
                    for seed in sorted(row.results)
                },
                "missing": row.missing,
                "training_seconds": row.seconds,
                "cost": None if row.cost is None else asdict(row.cost),
            }
        )
    whole = {
        "reference": comparison.reference,
        "formula": comparison.formula,
        "left_out": comparison.left_out,
        "data": _data(comparison),
        "rows": rows,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _data(comparison: Comparison) -> list[dict[str, object]]:
    """The data sets that all rows were measured on, with the tasks that each has targets for."""
    tasks: dict[tuple[str, int], dict[str, None]] = {}
    for row in comparison.rows:
        for results in row.results.values():
            for data in (data for each in results for data in each.data):
                tasks.setdefault((data.name, data.samples), {}).update(dict.fromkeys(data.tasks))
    return [{"name": name, "samples": samples, "tasks": list(each)} for (name, samples), each in tasks.items()]


def console_table(comparison: Comparison) -> Table:
    """What fits a terminal of 80 columns: Δm, and what it costs."""
    table = Table(box=box.SIMPLE_HEAD, caption="\n".join(_notes(comparison)), caption_justify="left", caption_style="")
    table.add_column("method", overflow="fold", min_width=12)
    columns = [column for column in _columns(comparison)[1:] if column.name in _ON_THE_CONSOLE]
    for column in columns:
        table.add_column(column.name, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(row.label, *(column.shown(row) for column in columns))
    return table


_ON_THE_CONSOLE = ("Δm %", "parameters M", "step x", "seeds")


def _columns(comparison: Comparison) -> list[_Column]:
    reference = _reference_of_time(comparison)
    columns = [
        _Column("method", lambda row: row.label),
        _Column("Δm %", lambda row: shown_interval(comparison.delta(row), 2)),
    ]
    columns += [_Column(name, partial(_score, comparison, group)) for name, group in _shown_measures(comparison)]
    of_costs: list[tuple[str, Callable[[Row], str]]] = [
        ("parameters M", lambda row: _number(row, "parameters", 1e6)),
        ("trained M", lambda row: _number(row, "trainable", 1e6)),
        ("of a task M", lambda row: _number(row, "of_a_task", 1e6)),
        ("GFLOPs", lambda row: _number(row, "flops", 1e9)),
        ("passes", lambda row: _number(row, "passes", 1.0)),
        ("memory MiB", lambda row: _number(row, "memory", 2**20)),
    ]
    if any(row.cost is not None for row in comparison.rows):
        columns += [_Column(name, shown) for name, shown in of_costs]
        columns.append(
            _Column(
                "step x",
                lambda row: (
                    _WITHOUT
                    if row.cost is None or reference is None
                    else f"{row.cost.seconds / reference.seconds_of_a_step:.2f}"
                ),
            )
        )
    columns.append(_Column("hours", lambda row: _WITHOUT if row.seconds is None else f"{row.seconds / 3600:.2f}"))
    columns.append(_Column("seeds", _seeds))
    return columns


@dataclass(frozen=True)
class _Reference:
    label: str
    seconds_of_a_step: float


def _reference_of_time(comparison: Comparison) -> _Reference | None:
    """Hard sharing, or the first method whose step was measured."""
    measured = {row.label: row.cost.seconds for row in comparison.rows if row.cost is not None}
    label = next((label for label in measured if label.partition(",")[0] == HARD_SHARING), next(iter(measured), None))
    return None if label is None else _Reference(label, measured[label])


def _shown_measures(comparison: Comparison) -> list[tuple[str, list[Measure]]]:
    """The primary metric of each task; of many tasks the mean over those that have the same one."""
    primary = list({measure.task: measure for measure in reversed(comparison.measures)}.values())[::-1]
    if len(primary) <= _MOST_TASKS:
        return [(f"{measure.task} {_title(measure)}", [measure]) for measure in primary]
    groups: dict[str, list[Measure]] = {}
    for measure in primary:
        groups.setdefault(_title(measure), []).append(measure)
    return [(f"mean {title} ({len(group)} tasks)", group) for title, group in groups.items()]


def _notes(comparison: Comparison) -> list[str]:
    notes = [comparison.formula]
    if any(len(row.results) > 1 for row in comparison.rows):
        notes.append("±: half of the 95% interval of the mean, by Student's t over the seeds.")
    reference = _reference_of_time(comparison)
    if reference is not None:
        notes.append(
            f"step x: seconds of a training step for all tasks over those of {reference.label}, measured in turns in "
            "one process. GFLOPs: for one image and all tasks; passes: these, where a plain network for one task costs "
            "1. memory: of a training step; on a CPU, what is kept for its backward."
        )
    chosen = [
        f"{row.label}: " + ", ".join(f"{key}={value}" for key, value in row.settings.items())
        for row in comparison.rows
        if row.settings
    ]
    if chosen:
        notes.append("Chosen on validation data with seed 0: " + "; ".join(chosen) + ".")
    for row in comparison.rows:
        for reason, runs in Counter(row.missing.values()).items():
            notes.append(f"{row.label}, {runs} run{'s' if runs > 1 else ''}: {reason}")
    return notes


def _title(measure: Measure) -> str:
    arrow = "↑" if measure.higher_is_better else "↓"
    return f"{measure.metric} {'% ' if measure.is_share else ''}{arrow}"


def _score(comparison: Comparison, measures: list[Measure], row: Row) -> str:
    found = comparison.mean(row, measures)
    if found is None or not measures[0].is_share:
        return shown_interval(found, 4)
    half = None if found.half_width is None else 100 * found.half_width
    return shown_interval(Interval(100 * found.mean, half, found.runs), 1)


def shown_interval(found: Interval | None, digits: int) -> str:
    """A mean with its half-width, or what stands for none."""
    if found is None:
        return _WITHOUT
    half = "" if found.half_width is None else f" ± {found.half_width:.{digits}f}"
    return f"{found.mean:.{digits}f}{half}"


def _number(row: Row, name: str, unit: float) -> str:
    return _WITHOUT if row.cost is None else f"{getattr(row.cost, name) / unit:.3g}"


def _seeds(row: Row) -> str:
    return f"{len(row.results)}" + (f" ({len(row.missing)} runs missing)" if row.missing else "")


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _for_latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "Δ": r"$\Delta$", "σ": r"$\sigma$",
        "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--",
    }  # fmt: skip
    return "".join(special.get(each, each) for each in text)
