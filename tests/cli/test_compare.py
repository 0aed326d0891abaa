"""`tsbn compare`: its options, and what it prints."""

import pytest

from tests.cli.commands import tsbn
from tests.compare.comparisons import InstantRuns, write_config
from tsbn_hub.baselines import methods
from tsbn_hub.cli.compare import _settings
from tsbn_hub.training.balancing.balancing import balancings


def test_the_help_lists_all_methods_and_balancings():
    told = " ".join(tsbn("compare", "--help", columns=200).output.replace("│", " ").split())
    named = set(told.replace(",", " ").replace(".", " ").replace(":", " ").split())
    assert {*methods, *(name for name in balancings if balancings[name].__module__.startswith("tsbn_hub"))} <= named


def test_a_grid(monkeypatch, tmp_path):
    runs = InstantRuns(monkeypatch)
    command = [
        "compare", "--config", write_config(tmp_path), "--methods", "stl, hps,tssigma", "--balancing", "equal,gls",
        "--seeds", 2, "--set", "gate_lr_scale=1,10", "--set", "epochs=2", "--out", tmp_path / "grid",
    ]  # fmt: skip
    told = tsbn(*command)
    assert told.exit_code == 0, told.output
    assert (
        "table.md, table.tex, table.csv, table.json" in told.output and "tssigma + gls, gate_lr_scale=10" in told.output
    )
    assert len(runs.trained) == 2 * (2 + 2 + 4) and {config.epochs for config in runs.trained} == {2}
    assert "missing" not in told.output and len(list((tmp_path / "single_task").glob("stl*"))) == 4
    late = tsbn(*command, "--methods", "tssigma,mtan", "--max-hours", 1e-9)
    assert late.exit_code == 0 and "mtan, 2 runs: not finished" in " ".join(late.output.split())
    assert "Runs that are missing: 4. The same command goes on with them." in late.output
    assert "| mtan | – |" in (tmp_path / "grid/table.md").read_text()


def test_values():
    assert _settings(["lr=0.001,0.01", "tasks=[left, right]", "schedule=step", "model_args={drop_rate: 0.1}"]) == (
        {"lr": [1e-3, 1e-2]},
        {"tasks": ["left", "right"], "schedule": "step", "model_args": {"drop_rate": 0.1}},
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give either --config FILE, or the folders of runs"),
        (["--config", "CONFIG", "a"], "Give either --config FILE, or the folders of runs"),
        (["--config", "CONFIG", "--set", "lr"], "--set lr: write KEY=VALUE"),
        (["--config", "CONFIG", "--set", "lr="], "--set lr=: write KEY=VALUE"),
        (["--config", "CONFIG", "--set", "lr=[1"], "--set lr=[1: [1 is no YAML"),
        (["--config", "CONFIG", "--set", "lr=1", "--set", "lr=2"], "lr is given already. Give its values with commas"),
        (["--config", "CONFIG", "--lr", "fast"], "--lr fast: these are no numbers with commas"),
        (["--config", "CONFIG", "--methods", "hpz"], "There is no method 'hpz'. Did you mean 'hps'?"),
        (["--config", "CONFIG", "--jobs", "0"], "jobs=0, max_hours=None: both must be positive"),
        (["nowhere"], "There is no run among nowhere"),
    ],
)  # fmt: skip
def test_what_it_refuses(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path)
    output = tsbn("compare", *(config if each == "CONFIG" else each for each in arguments))
    assert output.exit_code in (1, 2) and told in " ".join(output.stderr.replace("│", " ").split())
    assert not (tmp_path / "runs").exists()
