"""The main job, small: the same script gives TSσBN, TSBN, hard sharing and single-task."""

import json
import runpy
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import timm
import torch
import yaml
from sklearn.metrics import accuracy_score

import tsbn_hub
from tests.matrices import NIGHTLY, cases_of
from tests.training.small_runs import SMALL
from tsbn_hub.files.names import MARK
from tsbn_hub.norms import TaskNorm
from tsbn_hub.training import NotFiniteError, TrainingConfig, train
from tsbn_hub.training.recipe.building import build_data, build_model, build_tasks

ROOT = Path(__file__).parents[2]

TINY = '''
"""A small own data set."""
import torch
from torch.utils.data import Dataset


class Tiny(Dataset):
    num_classes = {"bright": 2, "corner": 4}

    def __init__(self, split, size=64):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.corner = torch.randint(4, (size,), generator=generator)
        self.bright = torch.randint(2, (size,), generator=generator)
        self.noise = torch.rand(size, 1, 32, 32, generator=generator) * 0.2

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        image = self.noise[at].clone()
        row, column = divmod(int(self.corner[at]), 2)
        image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 0.3 + 0.5 * self.bright[at]
        return {"image": image, "targets": {"bright": self.bright[at], "corner": self.corner[at]}}
'''


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    values = {
        "model": "test_resnet_tsbn",
        "model_args": SMALL,
        "data": f"{tmp_path}/tiny.py:Tiny",
        "output": str(tmp_path / "run"),
        "epochs": 2,
        "batch_size": 16,
        "validation": 0.25,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def launch(*arguments):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=1", "examples/finetune.py"]
    done = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Run the script: by night as accelerate launches it, by day in this process. What it prints."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["finetune.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "examples" / "finetune.py"), run_name="__main__")
        assert not ended.value.code
        return capsys.readouterr().out

    return launch if NIGHTLY else run_here


def test_the_script_leaves_a_checkpoint_that_timm_loads(config, tmp_path, run_script):
    printed = run_script("--config", config)
    run = tmp_path / "run"
    files = {path.name for path in run.iterdir()}
    of_the_run = {"state.safetensors", "log.jsonl", "gates.jsonl", "training.yaml", "results.json", MARK}
    assert files == {"config.json", "model.safetensors", "README.md", "gates.png", "predictions.png"} | of_the_run
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line.get("epoch") for line in lines] == [1, 2, None]
    assert lines[0]["loss"].keys() == lines[0]["validation"].keys() == lines[-1]["test"].keys() == {"bright", "corner"}
    model = timm.create_model(f"local-dir:{run}", pretrained=True)
    assert model.tasks == ["bright", "corner"] and model.task_classes == [2, 4]
    assert model.pretrained_cfg["input_size"] == (1, 32, 32)
    saved = (tmp_path / "run" / "config.json").read_text()
    assert "r160_in1k" not in saved and "license" not in saved  # of timm's weights, with which it did not begin
    assert "bright" in printed and "accuracy" in printed
    assert all(len(line) <= 100 for line in printed.splitlines() if str(tmp_path) not in line)


@pytest.mark.parametrize(
    ("norm", "tasks"),
    cases_of(product(["sigmoid", "affine", "shared"], [None, ["corner"]]), [("sigmoid", ["corner"]), ("shared", None)]),
)
def test_styles_and_single_task(config, norm, tasks):
    weights = {"weights": {"corner": 2, "bright": 0.5}}  # also of the task that single-task training leaves out
    scores = train(TrainingConfig.read(config, norm=norm, tasks=tasks, epochs=1, balancing_args=weights))
    assert list(scores) == (tasks or ["bright", "corner"])
    model = tsbn_hub.from_pretrained(TrainingConfig.read(config).output)
    assert model.tasks == (tasks or ["bright", "corner"])
    gated = [module for module in model.modules() if isinstance(module, TaskNorm)]
    assert bool(gated) == (norm != "shared")


def test_it_learns_and_the_score_is_that_of_the_saved_model(config, tmp_path):
    scores = train(TrainingConfig.read(config, epochs=6, lr=5e-3, data_args={"size": 256}))
    assert min(each["accuracy"] for each in scores.values()) > 0.9
    model = tsbn_hub.from_pretrained(tmp_path / "run").eval()
    (source,) = TrainingConfig.read(config, data_args={"size": 256}).sources()
    data = source.dataset("test")
    with torch.no_grad():
        outputs = model(torch.stack([sample["image"] for sample in map(data.__getitem__, range(len(data)))]))
    for task, values in scores.items():
        truth = [int(data[at]["targets"][task]) for at in range(len(data))]
        assert values == {"accuracy": pytest.approx(accuracy_score(truth, outputs[task].argmax(1)))}


def test_the_same_seed_gives_the_same_weights(config, tmp_path):
    weights = []
    for _ in range(2):
        train(TrainingConfig.read(config, epochs=1), restart=True)
        weights.append((tmp_path / "run" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_mixed_precision(config):
    assert train(TrainingConfig.read(config, epochs=1, mixed_precision="bf16")).keys() == {"bright", "corner"}


def test_a_loss_that_is_not_finite_names_the_task(config):
    of_a_step = r"loss of 'bright' is (nan|inf)|gradient of 'bright' is not"
    with pytest.raises(NotFiniteError, match=rf"{of_a_step}|gives for the task 'bright' is NaN"):
        train(TrainingConfig.read(config, lr=1e20))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, r"unknown keys \['epoch'\]. Did you mean 'epochs'\? `tsbn config` lists all keys"),
        ({"norm": "bn"}, "norm='bn' is unknown"),
        ({"epochs": 0}, "epochs=0 must be positive"),
        ({"validation": 0}, "validation=0 must lie in"),
        ({"mixed_precision": "fp8"}, "mixed_precision='fp8'"),
        ({"tasks": ["smile"]}, r"has no \['smile'\]. It has \['bright', 'corner'\]"),
        ({"balancing_args": {"weights": {"smile": 2}}}, r"weights=\['smile'\]: .* has no \['smile'\]"),
        ({"balancing_args": {"weights": {"corner": -1}}}, "The weight -1 of task 'corner' is no finite number"),
        ({"balancing_args": {"weights": [2, 1]}}, r"Unknown tasks \[2, 1\]"),
        ({"data": "MNIST"}, "data='MNIST' is unknown.*MultiDigits"),
        ({"data": "nowhere.py:Tiny"}, "there is no file nowhere.py"),
    ],
)
def test_errors_of_a_config(config, change, message):
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        train(TrainingConfig.read(config))


def test_config_files(tmp_path, python):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        TrainingConfig.read(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="must map names to values"):
        TrainingConfig.read(tmp_path / "list.yaml")
    (tmp_path / "less.yaml").write_text("model: test_resnet_tsbn")
    with pytest.raises(ValueError, match=r"lacks \['data', 'output'\]"):
        TrainingConfig.read(tmp_path / "less.yaml")
    done = python("import runpy; runpy.run_path('examples/finetune.py', run_name='__main__')", tmp_path / "none.yaml")
    assert done.returncode == 1 and "There is no file" in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_configs_are_right(path):
    config = TrainingConfig.read(path)
    assert config.output == f"runs/{path.stem}"
    if config.data == "Scenes":
        tasks = build_tasks(config, build_data(config, "test"))
        model = build_model(config, tasks, (3, 96, 128)).eval()
        with torch.no_grad():
            logits = model(torch.rand(1, 3, 96, 128)).logits
        assert {task: tuple(each.shape[2:]) for task, each in logits.items()} == dict.fromkeys(model.tasks, (96, 128))
