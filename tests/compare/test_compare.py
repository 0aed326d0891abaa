"""What a comparison does with its runs: which it begins, what it makes of failures and deadlines, what it chooses."""

from pathlib import Path

import pytest

from tsbn_hub.compare import Budget, compare, read_comparison, write_tables
from tsbn_hub.compare.formats import markdown

from .comparisons import InstantRuns, grid_of, write_config


@pytest.fixture
def runs(monkeypatch):
    return InstantRuns(monkeypatch)


def said(config):
    """What tells runs apart in these tests."""
    return config.method, config.seed, config.lr, config.tasks


def by_label(comparison):
    return {row.label: row for row in comparison.rows}


def test_a_finished_grid_begins_nothing(runs, tmp_path):
    first = compare(grid_of(tmp_path, seeds=2))
    assert [said(config)[::3] for config in runs.trained] == [
        *[("stl", [task]) for _ in range(2) for task in ("corner", "side")],
        *[(method, None) for method in ("hps", "tssigma") for _ in range(2)],
    ]
    runs.trained.clear()
    assert markdown(compare(grid_of(tmp_path, seeds=2))) == markdown(first)
    assert not runs.trained


def test_further_seeds_on_another_machine(runs, tmp_path):
    """They are put together with the first ones by the tables alone: as if all had run in one folder."""
    tables = []
    for name, first, seeds in (("one", 0, 2), ("two", 2, 1)):
        grid = grid_of(tmp_path / name, "hps,mtan", write_config(tmp_path), first_seed=first, seeds=seeds)
        Path(grid.folder).mkdir(parents=True)
        comparison = compare(grid)
        assert {seed for row in comparison.rows for seed in row.results} == set(range(first, first + seeds))
        write_tables(comparison, grid.folder)
        tables.append(Path(grid.folder, "table.json"))
    assert markdown(read_comparison(*tables)) == markdown(compare(grid_of(tmp_path, "hps,mtan", seeds=3)))


def test_a_changed_grid_adds_runs(runs, tmp_path):
    compare(grid_of(tmp_path, "stl,hps", seeds=1))
    runs.trained.clear()
    compare(grid_of(tmp_path, "stl,hps,mtan", seeds=2))
    assert [said(config)[:2] for config in runs.trained] == [("stl", 1)] * 2 + [("hps", 1), ("mtan", 0), ("mtan", 1)]
    runs.trained.clear()
    compare(grid_of(tmp_path, "stl,hps", write_config(tmp_path, epochs=2)))
    assert [config.epochs for config in runs.trained] == [2, 2, 2]


def test_grids_in_two_folders_share_single_task_runs(runs, tmp_path):
    compare(grid_of(tmp_path, "stl,hps"))
    runs.trained.clear()
    comparison = compare(grid_of(tmp_path, "stl,mtan", folder=tmp_path / "another", balancings=["gls"]))
    assert [config.method for config in runs.trained] == ["mtan"]
    assert comparison.reference == "stl" and all(row.results for row in comparison.rows)


def test_a_failed_run_is_told_in_its_row_and_tried_again(runs, tmp_path):
    def scores(config):
        if (config.method, config.seed) == ("hps", 1):
            raise ValueError("the loss is not finite")
        return {"corner": 0.5, "side": 0.75}

    runs.scores = scores
    comparison = compare(grid_of(tmp_path, seeds=2))
    rows = by_label(comparison)
    (reason,) = rows["hps"].missing.values()
    assert reason == "ValueError: the loss is not finite" and list(rows["hps"].results) == [0]
    assert list(rows["tssigma"].results) == [0, 1] and "- hps, 1 run: ValueError: the loss" in markdown(comparison)
    runs.trained.clear()
    compare(grid_of(tmp_path, seeds=2))
    assert [said(config)[:2] for config in runs.trained] == [("hps", 1)]


def test_what_a_config_refuses_is_a_row(runs, tmp_path):
    comparison = compare(grid_of(tmp_path, "stl,hps", settings={"epochs": [0, 1]}))
    assert {row.label: list(row.missing.values()) for row in comparison.rows} == {
        "stl, epochs=0": ["epochs=0 must be positive."],
        "stl, epochs=1": [],
        "hps, epochs=0": ["epochs=0 must be positive."],
        "hps, epochs=1": [],
    }
    with pytest.raises(ValueError, match=r"epochs=0 must be positive"):  # of all: nothing could be compared
        compare(grid_of(tmp_path, "stl,hps", overrides={"epochs": 0}))


def test_the_reference_is_there_whatever_its_settings(runs, tmp_path):
    comparison = compare(grid_of(tmp_path, "hps,stl", settings={"weight_decay": [0.0, 0.1]}))
    assert comparison.reference == "stl, weight_decay=0.0"
    assert compare(grid_of(tmp_path, "tssigma,hps")).reference == "hps"


def test_no_time_is_left(runs, tmp_path):
    compare(grid_of(tmp_path, "stl"))
    runs.trained.clear()
    comparison = compare(grid_of(tmp_path, seeds=2), Budget(hours=1e-9))
    assert not runs.trained
    rows = by_label(comparison)
    assert list(rows["stl"].results) == [0] and list(rows["stl"].missing.values()) == ["not finished"] * 2
    assert not rows["hps"].results and len(rows["hps"].missing) == 2


@pytest.mark.parametrize("budget", [{"jobs": 0}, {"hours": 0}, {"hours": -1.0}])
def test_budgets_that_are_none(budget):
    with pytest.raises(ValueError, match="must be positive"):
        Budget(**budget)


LR = (0.1, 0.01)


def test_the_learning_rate_is_chosen_by_the_gain_on_validation_data(runs, tmp_path):
    """By Δm over single-task runs with rates of their own, and not by the mean score, which says otherwise here."""

    def scores(config):
        return {
            ("stl", 0.1): {"corner": 0.1, "side": 0.9},
            ("stl", 0.01): {"corner": 0.05, "side": 0.95},
            ("hps", 0.1): {"corner": 0.2, "side": 0.7},  # +100% and -26%
            ("hps", 0.01): {"corner": 0.1, "side": 0.9},
        }[config.method, config.lr]

    runs.scores = lambda config: {task: scores(config)[task] for task in config.tasks or ("corner", "side")}
    comparison = compare(grid_of(tmp_path, "hps,stl", seeds=2), Budget(learning_rates=LR))
    rows = by_label(comparison)
    assert rows["stl"].settings == {"lr of corner": 0.1, "lr of side": 0.01} and rows["hps"].settings == {"lr": 0.1}
    assert [said(config)[:3] for config in runs.trained if config.method == "hps"] == [
        ("hps", 0, 0.1), ("hps", 0, 0.01), ("hps", 1, 0.1)
    ]  # fmt: skip
    assert comparison.delta(rows["hps"]).mean == pytest.approx(100 * (1 - 0.25 / 0.95) / 2)
    assert "hps: lr=0.1; stl: lr of corner=0.1, lr of side=0.01" in markdown(comparison)


def test_without_single_task_runs_hard_sharing_chooses_first(runs, tmp_path):
    table = {
        ("hps", 0.1): (0.1, 0.9), ("hps", 0.01): (0.05, 0.8),
        ("mtan", 0.1): (0.2, 0.7), ("mtan", 0.01): (0.1, 0.9),
    }  # fmt: skip
    runs.scores = lambda config: dict(zip(("corner", "side"), table[config.method, config.lr], strict=True))
    rows = by_label(compare(grid_of(tmp_path, "mtan,hps"), Budget(learning_rates=LR)))
    assert rows["hps"].settings == {"lr": 0.1} and rows["mtan"].settings == {"lr": 0.1}


def test_a_rate_that_fails_is_not_chosen(runs, tmp_path):
    def scores(config):
        if config.lr == 0.1:
            raise ValueError("the loss is not finite")
        return {"corner": 0.5, "side": 0.5}

    runs.scores = scores
    rows = by_label(compare(grid_of(tmp_path, "hps,mtan", seeds=2), Budget(learning_rates=LR)))
    assert rows["hps"].settings == {"lr": 0.01} and not rows["hps"].missing and len(rows["hps"].results) == 2


def test_no_rate_is_chosen_before_all_are_tried(runs, tmp_path):
    def scores(config):
        if config.method == "hps":
            raise ValueError("out of memory")
        return {"corner": 0.5, "side": 0.5}

    runs.scores = scores
    rows = by_label(compare(grid_of(tmp_path, "hps,mtan", seeds=2), Budget(learning_rates=LR)))
    assert {config.lr for config in runs.trained if config.method == "hps"} == set(LR)  # never that of the file
    assert list(rows["hps"].missing.values()) == ["ValueError: out of memory"] * 2 and not rows["hps"].settings
    late = by_label(compare(grid_of(tmp_path, "stats"), Budget(learning_rates=LR, hours=1e-9)))["stats"]
    assert len(late.missing) == 2 and not late.settings and not late.results


def test_one_rate_is_that_of_all(runs, tmp_path):
    rows = compare(grid_of(tmp_path, "stl,hps"), Budget(learning_rates=[0.5])).rows
    assert {config.lr for config in runs.trained} == {0.5} and not any(row.settings for row in rows)


def test_equal_compute(runs, tmp_path):
    """Hard sharing for as many passes as two tasks take, but for what is before the first norm."""
    config = write_config(tmp_path, epochs=10)
    comparison = compare(grid_of(tmp_path, "stl,hps,tsbn,tssigma", config), Budget(equal_compute=True))
    labels = [row.label for row in comparison.rows]
    assert labels == ["stl", "hps", "hps, 1.97x epochs", "tsbn", "tssigma"]
    assert [config.epochs for config in runs.trained if config.method == "hps"] == [10, 20]


def test_equal_compute_counts_heads_for_both(runs, tmp_path):
    """Those of dense tasks cost more than this trunk; hard sharing has them, too."""
    scenes = {"data": "Scenes", "data_args": {"size": 8, "height": 48, "width": 64}, "epochs": 100}
    config = write_config(tmp_path, **scenes, model_args={"gated": "last 20%"})
    labels = [row.label for row in compare(grid_of(tmp_path, "hps,tssigma", config), Budget(equal_compute=True)).rows]
    assert labels == ["hps", "hps, 1.03x epochs", "tssigma"]


def test_a_comparison_goes_on_without_costs(runs, tmp_path):
    """Here nothing is measured, as where the memory is too short for it."""
    comparison = compare(grid_of(tmp_path, "stl,hps"))
    assert [row.cost for row in comparison.rows] == [None, None] and "parameters" not in markdown(comparison)
