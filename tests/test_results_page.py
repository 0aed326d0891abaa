"""Every figure of docs/results.md is one of a stored result."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "results.md").read_text("utf-8")


def rows_of(heading):
    """The cells of a table of the page, by the first one."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {first: cells for first, *cells in lines[2:]}, lines[0][1:]


def shown(value, digits):
    return f"{value['mean']:.{digits}f}" + (
        f" ± {value['half_width']:.{digits}f}" if value["half_width"] is not None else ""
    )


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Avatars", "avatars_methods"),
        ("Avatars: the last stage gated", "avatars_last_stage"),
        ("Avatars: the last stage gated, 100 epochs", "avatars_last_stage_long"),
        ("Scenes", "scenes_methods"),
    ],
)
def test_a_comparison(heading, name):
    stored = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    rows, titles = rows_of(heading)
    assert list(rows) == [row["method"] for row in stored["rows"]]
    for row in stored["rows"]:
        cells = dict(zip(titles, rows[row["method"]], strict=True))
        assert cells["Δm %"] == (shown(row["delta_m"], 2) if row["delta_m"] else "–")
        for score in row["scores"]:
            title = next((each for each in titles if each.startswith(f"{score['task']} {score['metric']} ")), None)
            if title is not None:
                scale, digits = (100, 1) if score["is_share"] else (1, 4)
                half = score["half_width"]
                value = {"mean": scale * score["mean"], "half_width": None if half is None else scale * half}
                assert cells[title] == shown(value, digits), (row["method"], title)


def test_the_control_of_the_last_stage():
    stored = json.loads((RESULTS / "avatars_last_stage_control.json").read_text("utf-8"))
    accuracies = [task["metrics"][0]["value"] for task in stored["tasks"]]
    assert f"seed 0 scores {100 * sum(accuracies) / len(accuracies):.1f}%" in PAGE


def test_what_learns():
    stored = json.loads((RESULTS / "learning.json").read_text("utf-8"))
    rows, _ = rows_of("Every method and balancing learns")
    assert rows == {name: [f"{scores['untrained']:.3f}", f"{scores['trained']:.3f}"] for name, scores in stored.items()}
