"""Comparisons that were written as `table.json`, read again: to print and draw them anew, and to add seeds to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.parsing import parse_json
from ..results import Results
from ..results.results import DataMeasured, Metric, TaskMeasured
from .costs import MethodCost
from .table import Comparison, Measure, Row, comparison_of


def read_comparison(*paths: str | Path) -> Comparison:
    """The comparison of one or more `table.json`, as `write_tables` leaves them.

    Of several, the rows of the same label become one with the seeds of all; what a row costs is that of the first file.

    Args:
        *paths: The files. They have the same reference, and no seed of a row twice.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a file is no such table, or two do not fit together; it names the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tsbn_hub.compare import Comparison, Row, read_comparison, write_tables
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = write_tables(Comparison([Row("hps")], "hps", []), folder)
        >>> [row.label for row in read_comparison(folder / "table.json").rows]
        ['hps']
    """
    if not paths:
        raise ValueError("No table.json was given.")
    rows: dict[str, Row] = {}
    references: dict[str | None, Path] = {}
    for path in map(Path, paths):
        try:
            stored: dict[str, Any] = parse_json(path.read_text("utf-8"))
            references.setdefault(stored["reference"], path)
            for row in _rows(stored):
                _add(rows, row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is no table.json of a comparison, or fits no other: {error!r}") from error
    if len(references) > 1:
        of_each = ", ".join(f"{path}: {reference}" for reference, path in references.items())
        raise ValueError(f"Tables with different references do not go together ({of_each}).")
    return comparison_of(list(rows.values()), next(iter(references)))


def _rows(stored: Mapping[str, Any]) -> list[Row]:
    measures = {
        f"{score['task']}/{score['metric']}": Measure(
            score["task"], score["metric"], score["higher_is_better"], score["is_share"]
        )
        for row in stored["rows"]
        for score in row["scores"]
    }
    return [
        Row(
            row["method"],
            {int(seed): [_results(scores, measures, stored["data"])] for seed, scores in row["by_seed"].items()},
            missing=row["missing"],
            settings=row["settings"],
            seconds=row["training_seconds"],
            cost=None if row["cost"] is None else MethodCost(**row["cost"]),
        )
        for row in stored["rows"]
    ]


def _results(
    scores: Mapping[str, float | None], measures: Mapping[str, Measure], data: list[Mapping[str, Any]]
) -> Results:
    by_task: dict[str, list[Metric]] = {}
    for name, value in scores.items():
        measure = measures.get(name)
        if measure is None:  # no seed of any row could measure it
            continue
        metric = Metric(measure.metric, value, measure.higher_is_better, measure.is_share)
        by_task.setdefault(measure.task, []).append(metric)
    return Results(
        weights="",
        data=[
            DataMeasured(each["name"], each["samples"], [name for name in each["tasks"] if name in by_task])
            for each in data
        ],
        split="test",
        epoch_chosen_by="",
        tasks=[TaskMeasured(name, "", None, metrics) for name, metrics in by_task.items()],
    )


def _add(rows: dict[str, Row], row: Row) -> None:
    """Add the seeds of a row to those of the same label."""
    known = rows.setdefault(row.label, row)
    if known is row:
        return
    if twice := sorted(known.results.keys() & row.results.keys()):
        raise ValueError(f"the seeds {twice} of {row.label} are in two files")
    if known.settings != row.settings:
        raise ValueError(f"{row.label} has the settings {row.settings}, and {known.settings} elsewhere")
    if known.seconds is not None and row.seconds is not None and (known.results or row.results):
        total = len(known.results) * known.seconds + len(row.results) * row.seconds
        known.seconds = total / (len(known.results) + len(row.results))
    known.results |= row.results
    known.missing |= row.missing
