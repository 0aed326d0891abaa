"""A stored comparison, read again."""

import json

import pytest

from tsbn_hub.compare import read_comparison, write_tables
from tsbn_hub.compare.formats import as_json, markdown
from tsbn_hub.compare.table import comparison_of
from tsbn_hub.results import Results

from .comparisons import results_of, row_of

SEEDS = [{"a": 0.5, "b": 0.75}, {"a": 0.625, "b": 0.5}, {"a": 0.25, "b": 0.875}, {"a": 0.375, "b": 0.5}]


@pytest.fixture
def stored(tmp_path):
    """Write a comparison, and give its table.json."""

    def write(name, rows, reference="hps"):
        (tmp_path / name).mkdir()
        write_tables(comparison_of(rows, reference), tmp_path / name)
        return tmp_path / name / "table.json"

    return write


def rows(*seeds, **keywords):
    return [
        row_of("hps", *seeds, passes=1.0, **keywords),
        row_of(
            "tssigma", *({task: 1 - value for task, value in each.items()} for each in seeds), passes=1.2, **keywords
        ),
    ]


def test_what_is_read_is_what_was_written(stored):
    written = rows(*SEEDS, seconds=3.5, settings={"lr": 0.01})
    written[1].missing = {"tssigma 4": "not finished"}
    comparison = comparison_of(written, "hps")
    read = read_comparison(stored("one", written))
    assert as_json(read) == as_json(comparison)
    assert markdown(read) == markdown(comparison)


def test_what_could_not_be_measured_stays_so(stored):
    results = results_of({"a": {"accuracy": (0.5, True)}, "b": {"accuracy": (None, True), "error": (1.5, False)}})
    written = row_of("hps", SEEDS[0])
    written.results[1] = [results]
    read = read_comparison(stored("one", [written]))
    assert as_json(read) == as_json(comparison_of([written], "hps"))


def test_the_runs_of_single_tasks_become_one(stored):
    written = row_of("stl", {"a": 0.5})
    written.results[0].append(results_of({"b": {"error": (2.0, False)}}, samples=32, name="Others"))
    read = read_comparison(stored("one", [written], "stl"))
    assert as_json(read) == as_json(comparison_of([written], "stl"))


def test_seeds_of_several_files_go_together(stored):
    first = stored("first", rows(*SEEDS[:3], seconds=3.0))
    others = rows(*SEEDS[3:], seconds=7.0)
    for row in others:
        row.results = {3: row.results[0]}
    assert as_json(read_comparison(first, stored("second", others))) == as_json(
        comparison_of(rows(*SEEDS, seconds=4.0), "hps")
    )


def test_what_does_not_fit_together(stored, tmp_path):
    first = stored("first", rows(*SEEDS[:2]))
    with pytest.raises(ValueError, match=r"second.*the seeds \[0\] of hps are in two files"):
        read_comparison(first, stored("second", rows(SEEDS[0])))
    later = row_of("hps", SEEDS[0], settings={"lr": 0.1})
    later.results = {5: later.results[0]}
    with pytest.raises(ValueError, match="hps has the settings"):
        read_comparison(first, stored("third", [later]))
    with pytest.raises(ValueError, match="different references"):
        read_comparison(first, stored("fourth", [row_of("stl", SEEDS[0])], "stl"))
    elsewhere = row_of("others")
    elsewhere.results = {0: [results_of({"a": {"accuracy": (0.5, True)}}, samples=65)]}
    with pytest.raises(ValueError, match="measured on the same data"):
        read_comparison(first, stored("fifth", [elsewhere]))
    with pytest.raises(FileNotFoundError):
        read_comparison(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"No table\.json"):
        read_comparison()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"reference": "hps", "data": [], "rows": [{}]}', "no json"])
def test_no_table(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ValueError, match=r"no table\.json of a comparison"):
        read_comparison(tmp_path / "table.json")


def test_results_keep_their_own_file(stored, tmp_path):
    """A table is none of a checkpoint: what is read of it has no weights."""
    read = read_comparison(stored("one", rows(*SEEDS)))
    assert all(isinstance(each, Results) and not each.weights for each in read.rows[0].results[0])
    assert json.loads((tmp_path / "one" / "table.json").read_text())["data"] == [
        {"name": "Corners", "samples": 64, "tasks": ["a", "b"]}
    ]
