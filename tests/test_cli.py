"""The command line, as a newcomer meets it: what goes wrong is told in a line, and changes nothing."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
import typer
import yaml
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from tests.training.small_runs import write_config
from tsbn_hub.cli import app
from tsbn_hub.tasks import Classification
from tsbn_hub.training import loop

COMMANDS = list(typer.main.get_command(app).commands)


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, "run", epochs=1)


def tsbn(*arguments):
    AcceleratorState._reset_state(reset_partial_state=True)
    return CliRunner().invoke(app, list(map(str, arguments)), prog_name="tsbn", env={"COLUMNS": "100"})


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_no_arguments():
    told = tsbn()
    assert told.exit_code == 2 and "Usage: tsbn" in told.output
    assert all(command in told.output for command in COMMANDS)


@pytest.mark.parametrize("command", [[], *([each] for each in COMMANDS)], ids=["tsbn", *COMMANDS])
def test_help(command):
    told = tsbn(*command, "--help")
    assert told.exit_code == 0 and max(map(len, told.output.splitlines())) <= 100
    assert not command or f"Example: tsbn {command[0]} " in told.output


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_is_one(command, tmp_path):
    (example,) = re.findall(r"Example: tsbn (.+)", tsbn(command, "--help").output)
    for path in re.findall(r"examples/\S+", example):
        assert Path(__file__).parents[1].joinpath(path).is_file()
    assert tsbn(*example.split(), "--no-such-option").exit_code == 2


WRONG = {
    "--set epochs": "--set epochs: write KEY=VALUE.",
    "--set lr=[": r"--set lr=\[: \[ is no YAML",
    "--set lr=1e-3": "lr='1e-3' is no float. YAML reads 1e-3 as text: write 1.0e-3.",
    "--set mixed_precision=no": "mixed_precision=False is unknown.*write 'no'",
    "--set epoch=3": r"unknown keys \['epoch'\]. Known: \[.*'epochs'",
    "--set path=x": r"unknown keys \['path'\]",
    "--lr 0.1 --set lr=0.2": "--set lr=0.2: lr is given already, as 0.1.",
    "--set seed=1 --set seed=2": "--set seed=2: seed is given already, as 1.",
    "--tasks keys,smile": r"has no \['smile'\]. It has \['keys', 'corner'\].",
    "--tasks=": r"has no \[''\]. It has \['keys', 'corner'\].",
    "--epochs 0": "epochs=0 must be positive.",
    "--set tasks_per_step=3": r"tasks_per_step=3: there are 2 tasks, \['keys', 'corner'\].",
    "--set model=resnet10t": r"model='resnet10t' is none of timm's names.*Near: .*'resnet10t_tsbn'",
    "--set model=resnett_tsbn": "model='resnett_tsbn' is none of timm's names.*Near: ",
    '--set model_args={"depth":3}': "model_args={'depth': 3}: .*unexpected keyword",
    "--set data=Digits": "data='Digits' is unknown. Known: .*MultiDigits.*path/to/file.py",
    "--set data=digits.py:Digits": "there is no file digits.py.",
    '--set data_args={"depth":3}': "args={'depth': 3}: got an unexpected keyword argument 'depth'",
    "--set optimizer=adamz": r"optimizer='adamz' is unknown. Do you mean one of .*'adamw'",
    "--set balancing=fair": "'fair' is unknown. Known: fixed, ",
    "--set trackers=[fax]": r"trackers=\['fax'\]: fax is not installed.",
    "--batch-size 1000": "batch_size",
    "--config none.yaml": r"There is no file none\.yaml\.",
    "--config .": r"There is no file \.\.",
}


@pytest.mark.parametrize("arguments", WRONG)
@pytest.mark.parametrize("dry", [False, True], ids=["train", "dry run"])
def test_what_goes_wrong(arguments, dry, config, tmp_path):
    before = files(tmp_path)
    told = tsbn("train", "--config", config, *arguments.split(), *["--dry-run"] * dry)
    assert told.exit_code == 1 and "Traceback" not in told.output
    assert re.search(f"^tsbn: .*{WRONG[arguments]}", told.stderr), told.stderr
    assert files(tmp_path) == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["--norm", "bn"], ["--epochs", "ten"], ["--config"], ["--epoch", "3"], []])
def test_what_typer_refuses(arguments, config):
    told = tsbn("train", *([] if not arguments else ["--config", config]), *arguments)
    assert told.exit_code == 2 and "Error" in told.stderr and "Traceback" not in told.output


def test_overrides_reach_the_config(config, tmp_path):
    told = tsbn("train", "--config", config, "--tasks", "corner, keys", "--set", "ema_decay=null", "--set",
                "optimizer_args={betas: [0.8, 0.9]}", "--lr", "0.002", "--output", tmp_path / "other")  # fmt: skip
    assert told.exit_code == 0, told.output
    kept = yaml.safe_load((tmp_path / "other" / "training.yaml").read_text())
    assert kept["tasks"] == ["corner", "keys"] and kept["ema_decay"] is None and kept["lr"] == 0.002
    assert kept["optimizer_args"] == {"betas": [0.8, 0.9]}
    assert not (tmp_path / "run").exists()


def test_a_dry_run_writes_nothing(config, tmp_path):
    before = files(tmp_path)
    told = tsbn("train", "--config", config, "--dry-run")
    assert told.exit_code == 0, told.output
    assert max(map(len, told.output.splitlines())) <= 100
    for expected in ("Noisy", "48", "1x32x32", "keys 33%", "corner 100%", "gates of BatchNorms", "MiB", "9 steps"):
        assert expected in told.output, expected
    assert files(tmp_path) == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_train_then_evaluate(precision, config, tmp_path, monkeypatch):
    totals, seen = Classification.totals, set()
    monkeypatch.setattr(
        Classification, "totals", lambda self, logits, target: seen.add(logits.dtype) or totals(self, logits, target)
    )
    arguments = ["train", "--config", config, "--mixed-precision", precision, "--set", "data_args={size: 200}"]
    told = tsbn(*arguments)
    assert told.exit_code == 0, told.output
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "README.md", "config.json", "gates.png", "log.jsonl", "model.safetensors", "state.safetensors", "training.yaml"
    ]  # fmt: skip
    assert max(len(line) for line in told.output.splitlines() if str(tmp_path) not in line) <= 100
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    scores = log[-1]["test"]

    before = files(tmp_path)
    table = told.output[told.output.index("┏") : told.output.index("┘")]
    shown = tsbn("evaluate", run)
    assert shown.exit_code == 0 and table in shown.output
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    for task, score in scores.items():
        assert re.search(rf"{task} +│ accuracy │ +{score:.2%}", shown.output)
    assert json.loads(tsbn("evaluate", run, "--json").stdout) == scores
    (validated,) = [line["validation"] for line in log[:-1]]
    assert json.loads(tsbn("evaluate", run, "--split", "train", "--json").stdout).keys() == validated.keys()

    again = tsbn(*arguments)  # a finished run
    assert again.exit_code == 0 and table in again.output and "epoch   1" not in again.output
    assert files(tmp_path) == before


def test_a_task_that_the_test_set_lacks(config, tmp_path):
    (tmp_path / "noisy.py").write_text(
        (tmp_path / "noisy.py").read_text()
        + """

class Partly(Noisy):
    def __init__(self, split):
        super().__init__(split)
        self.split = split

    def targets(self, at):
        return {"corner": self.corner[at]} if self.split == "test" else super().targets(at)
"""
    )
    told = tsbn("train", "--config", config, "--set", f"data={tmp_path}/noisy.py:Partly")
    assert told.exit_code == 0, told.output
    scores = json.loads(
        tsbn("evaluate", tmp_path / "run", "--json").stdout, parse_constant=lambda name: pytest.fail(name)
    )
    assert scores["keys"] is None and scores["corner"] >= 0


@pytest.mark.parametrize("folder", ["nowhere", ""])
def test_a_folder_without_a_run(folder, config, tmp_path):
    told = tsbn("evaluate", tmp_path / folder)
    assert told.exit_code == 1 and re.search(r"^tsbn: There is no file .*training\.yaml\.", told.stderr)
    assert "Traceback" not in told.output and (folder or f"There are ['{config}']" in told.stderr)


def test_a_run_without_a_model_yet(config, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(loop.Training, "run", fail)
    assert tsbn("train", "--config", config).exit_code == 1
    told = tsbn("evaluate", tmp_path / "run")
    assert told.exit_code == 1 and "has no config.json" in told.stderr and "Traceback" not in told.output


def test_without_matplotlib(config, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = tsbn("train", "--config", config)
    assert told.exit_code == 0 and "tsbn_hub[pictures]" in told.stderr
    assert (tmp_path / "run" / "README.md").is_file() and not (tmp_path / "run" / "gates.png").exists()


def test_without_a_network(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    told = tsbn("train", "--config", config, "--set", "pretrained=true")
    assert told.exit_code == 1 and "tsbn: " in told.stderr and "Traceback" not in told.output
    assert not (tmp_path / "run").exists()
