"""The command line, as a newcomer meets it: what goes wrong is told in a line, and changes nothing."""

import json
import re
import sys
from pathlib import Path

import pytest
import timm
import torch
import typer
import yaml
from accelerate.state import AcceleratorState
from PIL import Image
from typer.testing import CliRunner

from tests.training.small_runs import write_config
from tsbn_hub import save_pretrained
from tsbn_hub.cli.main import app
from tsbn_hub.deploy import prediction
from tsbn_hub.files.names import MARK
from tsbn_hub.hub import Results
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
    predict, seen = Classification.predict, set()
    monkeypatch.setattr(Classification, "predict", lambda self, logits: seen.add(logits.dtype) or predict(self, logits))
    arguments = ["train", "--config", config, "--mixed-precision", precision, "--set", "data_args={size: 200}"]
    told = tsbn(*arguments)
    assert told.exit_code == 0, told.output
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        MARK, "README.md", "config.json", "gates.png", "log.jsonl", "model.safetensors", "results.json",
        "state.safetensors", "training.yaml",
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
    assert scores["keys"] == {"accuracy": None} and scores["corner"]["accuracy"] >= 0


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


# --- cards ---


def test_single_task_runs_in_the_card(config, tmp_path):
    run, alone = tmp_path / "run", [tmp_path / task for task in ("keys", "corner")]
    for folder, tasks in ((run, "keys,corner"), *((folder, folder.name) for folder in alone)):
        assert tsbn("train", "--config", config, "--tasks", tasks, "--output", folder).exit_code == 0
    options = [option for folder in alone for option in ("--single-task", folder)]
    told = tsbn("card", run, *options, "--license", "mit")
    assert told.exit_code == 0 and "results.json" in told.output
    card, measured = (run / "README.md").read_text(), [Results.read(folder).tasks[0].metrics[0] for folder in alone]
    assert "the same recipe" in card and "license: mit\n" in card
    for task, metric in zip(("keys", "corner"), measured, strict=True):
        assert re.search(rf"\| {task} \| .* \| {metric.value:.2%} \|\n", card)

    before = files(tmp_path)
    assert tsbn("card", run).exit_code == 0 and files(tmp_path) == before
    assert tsbn("train", "--config", config, "--tasks", "keys,corner").exit_code == 0  # it is finished
    assert files(tmp_path) == before


def test_a_card_of_a_checkpoint(checkpoint, tmp_path):
    told = tsbn("card", checkpoint)
    assert told.exit_code == 0, told.output
    assert {"README.md", "gates.png"} < {path.name for path in Path(checkpoint).iterdir()}
    card = (Path(checkpoint) / "README.md").read_text()
    assert "](gates.png)" in card and "Not measured" in card


def test_a_card_of_a_folded_model(tmp_path):
    save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4}).fold("keys"), tmp_path)
    assert tsbn("card", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--single-task", "runs/none"], "has no results.json: nothing measured was recorded"),
        (["--license", "Apache 2"], "license='Apache 2' is no licence's name on the Hub"),
    ],
)
def test_what_goes_wrong_with_a_card(options, message, checkpoint):
    before = {path.name: path.read_bytes() for path in Path(checkpoint).iterdir() if path.name != "gates.png"}
    told = tsbn("card", checkpoint, *options)
    assert told.exit_code == 1 and re.search(f"^tsbn: .*{message}", told.stderr) and "Traceback" not in told.output
    assert {name: (Path(checkpoint) / name).read_bytes() for name in before} == before


def test_a_card_of_nothing(tmp_path):
    told = tsbn("card", tmp_path)
    assert told.exit_code == 1 and re.search("^tsbn: .* has no config.json", told.stderr)


# --- checkpoints ---


@pytest.fixture
def checkpoint(tmp_path):
    save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4}), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_predict(checkpoint, picture, tmp_path):
    out = tmp_path / "out"
    told = tsbn("predict", checkpoint, picture, "--out", out)
    assert told.exit_code == 0 and f"{out}: predictions.json" in told.stdout
    assert {path.name for path in out.iterdir()} == {"predictions.json", "red.keys.png", "red.corner.png"}
    chosen = tsbn("predict", checkpoint, picture, "--out", out, "--task", "corner", "--device", "cpu")
    assert chosen.exit_code == 0
    assert list(json.loads((out / "predictions.json").read_text())[str(picture)]) == ["corner"]


def test_predict_with_a_run(config, picture, tmp_path):
    assert tsbn("train", "--config", config).exit_code == 0
    told = tsbn("predict", tmp_path / "run", picture, "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert Image.open(tmp_path / "out" / "red.keys.png").size == (32, 32)
    assert json.loads(tsbn("info", tmp_path / "run", "--json").stdout)["image_shape"] == [1, 32, 32]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"image": "none.png"}, 2, "does not exist"),
        ({"image": "."}, 2, "is a directory"),
        ({"image": "text"}, 1, "^tsbn: .*text is no image"),
        ({"checkpoint": "model"}, 1, "^tsbn: model is neither a folder nor a Hub repo"),
        ({"checkpoint": "org/name"}, 1, "^tsbn: org/name: HF_HUB_OFFLINE .* is set, and the cache has no copy"),
        ({"--task": "smile"}, 1, r"^tsbn: There are no tasks \['smile'\]\. The tasks of this model are"),
        ({"--device": "gpu"}, 1, "^tsbn: --device gpu: "),
        ({"--out": "text"}, 1, "^tsbn: .*exists.*text"),
    ],
)
def test_what_goes_wrong_in_predict(changes, status, message, checkpoint, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint)
    (checkpoint / "text").write_text("no image")
    before = files(tmp_path)
    given = {"checkpoint": checkpoint, "image": picture, "--out": tmp_path / "out"} | changes
    options = [part for name in given if name.startswith("--") for part in (name, given[name])]
    told = tsbn("predict", given["checkpoint"], given["image"], *options)
    assert told.exit_code == status and "Traceback" not in told.output
    assert re.search(message, told.stderr), told.stderr
    assert files(tmp_path) == before and not (tmp_path / "out").exists()


def test_predict_needs_an_image(checkpoint, tmp_path):
    told = tsbn("predict", checkpoint, "--out", tmp_path / "out")
    assert told.exit_code == 2 and "Missing argument" in told.stderr


def test_ctrl_c_in_predict(checkpoint, picture, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "predict", stop)
    told = tsbn("predict", checkpoint, picture, "--out", tmp_path / "out")
    assert told.exit_code == 130 and told.stderr.splitlines()[-1] == "tsbn: stopped by Ctrl-C"


def test_info(checkpoint):
    told = tsbn("info", checkpoint)
    assert told.exit_code == 0 and max(map(len, told.output.splitlines())) <= 100
    assert re.search(r"keys +classification \(2\) +linear +194", told.output)
    cost = json.loads(tsbn("info", checkpoint, "--json").stdout)
    assert [task["name"] for task in cost["tasks"]] == ["keys", "corner"] and cost["image_shape"] == [3, 160, 160]


def test_info_of_nothing(tmp_path):
    told = tsbn("info", tmp_path)
    assert told.exit_code == 1 and re.search("^tsbn: .* has no config.json", told.stderr)
