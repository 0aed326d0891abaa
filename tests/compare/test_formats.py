"""The same numbers in Markdown, LaTeX, CSV, JSON and on the console."""

import csv
import io
import json
import re

import pytest
from rich.console import Console

from tsbn_hub.compare.formats import as_json, comma_separated, console_table, latex, markdown, write_tables
from tsbn_hub.compare.table import comparison_of

from .comparisons import row_of


@pytest.fixture
def comparison():
    rows = [
        row_of("stl", {"a": 0.5, "b": 0.8}, {"a": 0.4, "b": 0.7}, passes=2.0, seconds=7200.0),
        row_of("hps", {"a": 0.6, "b": 0.7}, {"a": 0.5, "b": 0.7}, passes=1.0, seconds=3600.0, settings={"lr": 0.01}),
        row_of("mtan", missing={"mtan-seed0-1": "ValueError: no stages", "mtan-seed1-2": "ValueError: no stages"}),
    ]
    return comparison_of(rows, "stl")


def cells_of_markdown(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def cells_of_latex(text):
    """Without the escapes."""
    lines = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")]
    for find, put in ((r"$\pm$", "±"), (r"$\Delta$", "Δ"), (r"$\uparrow$", "↑"), (r"\%", "%"), ("--", "–")):
        lines = [[cell.replace(find, put) for cell in line] for line in lines]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_all_agree(comparison):
    shown = cells_of_markdown(markdown(comparison))
    assert shown == cells_of_latex(latex(comparison))
    stored = json.loads(as_json(comparison))["rows"]
    exact = list(csv.DictReader(io.StringIO(comma_separated(comparison))))
    assert [row["method"] for row in shown] == [row["method"] for row in exact] == ["stl", "hps", "mtan"]
    assert [row["method"] for row in stored] == ["stl", "hps", "mtan"]
    for cells, values, line in zip(shown[:2], stored, exact, strict=False):
        delta, (a, b) = values["delta_m"], values["scores"]
        assert cells["Δm %"] == f"{delta['mean']:.2f} ± {delta['half_width']:.2f}"
        assert cells["a accuracy % ↑"] == f"{100 * a['mean']:.1f} ± {100 * a['half_width']:.1f}"
        assert float(line["delta_m"]) == delta["mean"] and float(line["delta_m ±"]) == delta["half_width"]
        assert float(line["b/accuracy"]) == b["mean"] and line["b/accuracy seeds"] == "2" == cells["seeds"]
        assert float(line["flops"]) == values["cost"]["flops"]
    assert [row["step x"] for row in shown] == ["2.00", "1.00", "–"]
    assert [row["hours"] for row in shown] == ["2.00", "1.00", "–"]
    assert shown[2]["Δm %"] == "–" and shown[2]["seeds"] == "0 (2 runs missing)" and exact[2]["runs missing"] == "2"
    assert stored[2]["missing"] == {f"mtan-seed{seed}-{seed + 1}": "ValueError: no stages" for seed in (0, 1)}


def test_steps_are_compared_with_hard_sharing_whatever_its_label_says_besides():
    rows = [
        row_of("mtan, epochs=2", {"a": 0.5}, seconds=7200.0, passes=2.0),
        row_of("hps, epochs=2", {"a": 0.6}, seconds=3600.0, passes=1.0),
    ]
    text = markdown(comparison_of(rows, None))
    assert [row["step x"] for row in cells_of_markdown(text)] == ["2.00", "1.00"]
    assert "over those of hps, epochs=2, measured" in text


def test_notes(comparison):
    notes = markdown(comparison)
    assert "- Δm = 100/T Σ" in notes and "that of stl" in notes
    assert "Chosen on validation data with seed 0: hps: lr=0.01." in notes
    assert "- mtan, 2 runs: ValueError: no stages" in notes  # once, for both


def test_what_the_formats_take_for_more_than_text():
    rows = [row_of("a_b & 5% | $x^2$ {c} \\ ~#", {"left|right_1": 0.5})]
    comparison = comparison_of(rows, None)
    escaped = r"a\_b \& 5\% | \$x\textasciicircum{}2\$ \{c\} \textbackslash{} \textasciitilde{}\#"
    assert escaped in latex(comparison) and r"left|right\_1 accuracy" in latex(comparison)
    table = [line for line in markdown(comparison).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(re.findall(r"\|", table[1]))}
    assert next(csv.DictReader(io.StringIO(comma_separated(comparison))))["left|right_1/accuracy"] == "0.5"


def test_json_is_strict():
    """What could not be measured is null: NaN is no JSON."""
    rows = [row_of("hps", {"a": 0.5, "b": None})]

    def refuse(name):
        raise AssertionError(name)

    stored = json.loads(as_json(comparison_of(rows, None)), parse_constant=refuse)
    assert stored["rows"][0]["by_seed"] == {"0": {"a/accuracy": 0.5, "b/accuracy": None}}


def test_forty_tasks():
    """Their mean is shown, and each of them is in the CSV."""
    tasks = {f"attribute{number}": number / 40 for number in range(1, 41)}
    comparison = comparison_of([row_of("stl", tasks), row_of("hps", tasks)], "stl")
    (cells, _) = cells_of_markdown(markdown(comparison))
    assert cells["mean accuracy % ↑ (40 tasks)"] == "51.2" and len(cells) < 10
    assert comma_separated(comparison).splitlines()[0].count("/accuracy seeds") == 40


def test_the_console_has_80_columns(comparison):
    long = row_of("cross-stitch + uncertainty, gate_lr_scale=100, 5.87x epochs", {"a": 0.5, "b": 0.9}, passes=1.0)
    long.missing = {f"{number}": "ValueError: " + "a long story " * 20 for number in range(9)}
    comparison = comparison_of([*comparison.rows, long], "stl")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(comparison))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "Δm %" in text and "step x" in text and "8.12 ± 55.59" in text and "…" not in text


def test_files(comparison, tmp_path):
    files = write_tables(comparison, tmp_path)
    assert [file.name for file in files] == ["table.md", "table.tex", "table.csv", "table.json"]
    assert files[0].read_text("utf-8") == markdown(comparison) and sorted(tmp_path.iterdir()) == sorted(files)
