"""`tsbn train`, as a newcomer meets it: what goes wrong is told in a line, and changes nothing."""

import json
import re
import sys

import pytest
import torch
import yaml

from tests.matrices import NIGHTLY, cases_of
from tsbn_hub.files.names import MARK
from tsbn_hub.hub import Results
from tsbn_hub.tasks import Classification

from .commands import files, tsbn

WRONG = {
    "--set epochs": "--set epochs: write KEY=VALUE.",
    "--set lr=[": r"--set lr=\[: \[ is no YAML",
    "--set lr=1e-3": "lr='1e-3' is no float. YAML reads 1e-3 as text: write 1.0e-3.",
    "--set mixed_precision=no": "mixed_precision=False is unknown.*write 'no'",
    "--set epoch=3": r"unknown keys \['epoch'\]. Did you mean 'epochs'\? `tsbn config` lists all keys",
    "--set path=x": r"unknown keys \['path'\]. `tsbn config` lists all keys",
    "--set data_arg.size=9": r"unknown keys \['data_arg'\]. Did you mean 'data_args'\?",
    "--set data_args.sise=9": "args={'sise': 9}: got an unexpected keyword argument 'sise'",
    "--set model.depth=9": "model.depth=9: model is 'test_resnet_tsbn', no mapping. Give model as a whole.",
    "--set epochs.x=9": "epochs.x=9: epochs is 1, no mapping.",
    "--set lr.x=9": "lr.x=9: lr is 0.01, no mapping.",
    "--set heads.keys=9": "heads={'keys': 9}: keys has 9; a head is a name",
    "--set data_args..size=9": "--set data_args..size=9: write KEY=VALUE.",
    "--set =9": "--set =9: write KEY=VALUE.",
    "--set data_args.size=8 --set data_args={}": "--set data_args={}: data_args.size is given already, as 8.",
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
    "--set balancing=fair": "no balancing 'fair'. Known: cagrad, dwa, equal, ",
    "--set trackers=[fax]": r"trackers=\['fax'\]: fax is not installed.",
    "--batch-size 1000": "batch_size",
    "--config none.yaml": r"There is no file none\.yaml\.",
    "--config .": r"There is no file \.\.",
}


@pytest.mark.parametrize("arguments", WRONG)
@pytest.mark.parametrize("dry", [False, True], ids=["train", "dry run"])
def test_what_goes_wrong(arguments, dry, config, tmp_path):
    before = files(tmp_path)
    given = [] if arguments.startswith("--config") else [config]
    told = tsbn("train", *given, *arguments.split(), *["--dry-run"] * dry)
    assert told.exit_code == 1 and "Traceback" not in told.output
    assert re.search(f"^tsbn: .*{WRONG[arguments]}", told.stderr), told.stderr
    assert files(tmp_path) == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["--norm", "bn"], ["--epochs", "ten"], ["--config"], ["--epoch", "3"], []])
def test_what_typer_refuses(arguments, config):
    told = tsbn("train", *([] if not arguments else ["--config", config]), *arguments)
    assert told.exit_code == 2 and "Error" in told.stderr and "Traceback" not in told.output


@pytest.mark.parametrize("several", [False, True])
def test_one_config(several, config):
    told = tsbn("train", *[config, "--config", config] * several)
    assert told.exit_code == 2 and "Usage: tsbn train [OPTIONS] [FILE]" in told.stderr
    message = "FILE and --config are both given: leave one out." if several else "Give a YAML file: tsbn train FILE."
    assert message in " ".join(told.stderr.split())


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
    told = tsbn("train", config, "--dry-run")
    assert told.exit_code == 0, told.output
    assert max(map(len, told.output.splitlines())) <= 100
    for expected in ("Noisy", "48", "1x32x32", "keys 33%", "corner 100%", "gates of BatchNorms", "MiB", "9 steps"):
        assert expected in told.output, expected
    assert files(tmp_path) == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", cases_of(["no", "bf16"], ["bf16"]))
def test_train_then_evaluate(precision, config, tmp_path, monkeypatch):
    predict, seen = Classification.predict, set()
    monkeypatch.setattr(Classification, "predict", lambda self, logits: seen.add(logits.dtype) or predict(self, logits))
    arguments = ["train", config, "--mixed-precision", precision, "--set", f"data_args.size={200 if NIGHTLY else 48}"]
    told = tsbn(*arguments)
    assert told.exit_code == 0, told.output
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        MARK, "README.md", "config.json", "gates.jsonl", "gates.png", "log.jsonl", "model.safetensors",
        "predictions.png", "results.json", "state.safetensors", "training.yaml",
    ]  # fmt: skip
    assert max(len(line) for line in told.output.splitlines() if str(tmp_path) not in line) <= 100
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    scores = log[-1]["test"]

    before = files(tmp_path)
    table = told.output[told.output.index("┏") : told.output.index("┘")]
    shown = tsbn("evaluate", run)
    assert shown.exit_code == 0 and table in shown.output
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    for task, values in scores.items():
        assert re.search(rf"{task} +│ accuracy ↑ │ +{values['accuracy']:.2%}", shown.output)
    assert json.loads(tsbn("evaluate", run, "--json").stdout) == scores
    for task in Results.read(run).tasks:
        assert {metric.name: metric.value for metric in task.metrics} == scores[task.name]
        assert f"| {task.name} | classification | {task.classes} | accuracy ↑ | " in (run / "README.md").read_text()
    (validated,) = [line["validation"] for line in log[:-1]]
    assert json.loads(tsbn("evaluate", run, "--split", "train", "--json").stdout).keys() == validated.keys()

    again = tsbn(*arguments)  # a finished run
    assert again.exit_code == 0 and table in again.output and "epoch   1" not in again.output
    assert files(tmp_path) == before


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
