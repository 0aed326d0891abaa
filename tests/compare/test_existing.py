"""A comparison of runs that are there."""

import pytest
import yaml

from tests.cli.commands import tsbn
from tsbn_hub.compare import compare_runs
from tsbn_hub.files.names import RECIPE
from tsbn_hub.results.recording import record_run
from tsbn_hub.training import TrainingConfig, train

from .comparisons import results_of, write_config

SCORES = {"corner": 0.5, "side": 0.75}


@pytest.fixture
def run(tmp_path):
    """Leave what `tsbn train` would; the folder."""
    config = write_config(tmp_path)

    def leave(name, scores=SCORES, finished=True, **changes):
        folder = tmp_path / name
        folder.mkdir()
        changes = {"output": str(folder), **changes}
        values = {
            key: value for key, value in vars(TrainingConfig.read(config, **changes)).items() if value is not None
        }
        (folder / RECIPE).write_text(yaml.safe_dump(values))
        if finished:
            tasks = changes.get("tasks") or list(scores)
            results_of({task: {"accuracy": (scores[task], True)} for task in tasks}).write(folder)
        return folder

    return leave


def rows(comparison):
    return {row.label: sorted(row.results) for row in comparison.rows}


def test_seeds_and_single_task_runs_are_joined(run):
    folders = [run(f"{task}{seed}", tasks=[task], norm="shared", seed=seed) for task in SCORES for seed in (0, 1)]
    folders += [run(f"ours{seed}", {"corner": 0.6, "side": 0.75}, seed=seed) for seed in (0, 1)]
    folders += [run("mtan", method="mtan"), run("gls", balancing="gls")]
    comparison = compare_runs(folders)
    assert comparison.reference == "stl"
    assert rows(comparison) == {"stl": [0, 1], "tssigma": [0, 1], "mtan": [0], "tssigma + gls": [0]}
    assert comparison.delta(comparison.rows[1]).mean == pytest.approx(10)


def test_labels_say_what_differs_and_matters(run):
    folders = [
        run("alone", tasks=["corner"], method="stl", lr=0.1),
        run("shared", method="hps", gate_lr_scale=3.0, epochs=2),
        run("one", method="tssigma", gate_lr_scale=1.0, epochs=2, workers=1),
        run("two", method="tssigma", gate_lr_scale=10.0, epochs=2),
        run("three", method="tssigma", gate_lr_scale=10.0, epochs=2, heads={"side": "small"}),
        run("four", method="tssigma", gate_lr_scale=10.0, epochs=2, model_args={"gated": "layer4*"}),
    ]
    assert list(rows(compare_runs(folders))) == [
        "stl, epochs=1",
        "hps, epochs=2",
        "tssigma, epochs=2, gate_lr_scale=1.0",
        "tssigma, epochs=2, gate_lr_scale=10.0",
        "tssigma, heads.side=small, epochs=2, gate_lr_scale=10.0",
        "tssigma, gated=layer4*, epochs=2, gate_lr_scale=10.0",
    ]


def test_what_all_have_alike_is_not_said(run):
    """Hard sharing has no gates, and so none of their settings."""
    gated = {"model_args": {"gated": "layer4*"}}
    folders = [run("shared", method="hps"), run("one", gate_noise=1.0, **gated), run("two", **gated)]
    assert list(rows(compare_runs(folders))) == ["hps", "tssigma, gate_noise=1.0", "tssigma, gate_noise=0.0"]


def test_what_follows_from_the_epochs_is_not_said(run):
    """As many epochs more for equal compute stretch warm-up and decay, too; a warm-up of its own is said."""
    equal = dict(method="hps", epochs=22, warmup_epochs=1.21, decay_epochs=36.3)  # of 21.78
    folders = [run("shared", method="hps", epochs=18), run("equal", **equal), run("ours", epochs=18)]
    assert list(rows(compare_runs(folders))) == ["hps, epochs=18", "hps, epochs=22", "tssigma, epochs=18"]
    other = compare_runs([*folders, run("other", method="hps", epochs=18, warmup_epochs=3.0)])
    assert "hps, epochs=18, warmup_epochs=3.0" in rows(other)


def test_runs_that_differ_in_their_warm_up_alone_are_two_rows(run):
    folders = [run(name, epochs=18, warmup_epochs=each) for name, each in (("one", 1.0), ("two", 1.05))]
    assert list(rows(compare_runs(folders))) == ["tssigma, warmup_epochs=1.0", "tssigma, warmup_epochs=1.05"]


def test_gates_of_one_task_are_not_single_task_learning(run):
    one = ["corner"]
    comparison = compare_runs([run("one", tasks=one, method="stl"), run("two", tasks=one), run("three")])
    assert rows(comparison) == {"stl": [0], "tssigma, tasks=['corner']": [0], "tssigma, tasks=None": [0]}


def test_a_run_that_is_not_finished_is_missing(run):
    comparison = compare_runs([run("shared", method="hps"), run("later", method="hps", seed=1, finished=False)])
    (row,) = comparison.rows
    assert list(row.results) == [0] and row.missing == {"later": "not finished"}


def test_the_same_run_twice(run):
    with pytest.raises(ValueError, match=r"two runs of hps with the seed 0 for corner, side: .*two is one"):
        compare_runs([run("one", method="hps"), run("two", method="hps")])


def test_the_command(tmp_path):
    """Of real runs, with what they cost; what is no run is left out, and a second time nothing is measured."""
    config = write_config(tmp_path)
    for name, changes in {"shared": {"method": "hps"}, "ours": {}}.items():
        run = TrainingConfig.read(config, output=str(tmp_path / name), **changes)
        train(run, on_scores=lambda scores, run=run: record_run(run, scores))
    told = tsbn("compare", *(tmp_path / name for name in ("shared", "ours", "corners.py")), "--out", tmp_path / "table")
    assert told.exit_code == 0, told.output
    assert (
        "left out: " in told.output and "corners.py" in told.output and "Measuring what the methods cost" in told.output
    )
    table = (tmp_path / "table/table.md").read_text()
    assert "| hps | 0.00 |" in table and "| tssigma |" in table and "| step x |" in table and "| 1.00 |" in table
    assert (tmp_path / "table/comparison.png").stat().st_size > 0
    again = tsbn("compare", tmp_path / "shared", tmp_path / "ours", "--out", tmp_path / "table")
    assert again.exit_code == 0 and "Measuring" not in again.output
    assert (tmp_path / "table/table.md").read_text() == table
    nothing = tsbn("compare", tmp_path / "table")
    assert nothing.exit_code == 1 and "There is no run among" in nothing.stderr


def test_costs_import_nothing_of_a_stranger(run, tmp_path):
    """The recipe names a file that this user never ran: the table is there, and says why it has no costs."""
    folder = run("theirs", method="hps", data=f"{tmp_path}/a_strangers.py:Corners")
    marker = tmp_path / "imported"
    (tmp_path / "a_strangers.py").write_text(f"open({str(marker)!r}, 'w')")
    told = tsbn("compare", folder, "--out", tmp_path / "table")
    assert told.exit_code == 0 and not marker.exists(), told.output
    assert "could not be measured: " in told.output and "| hps | 0.00 |" in (tmp_path / "table/table.md").read_text()
