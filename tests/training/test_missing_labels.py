"""A sample may lack any target; what lacks counts nowhere, and moves nothing."""

import copy
import json
import math
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.metrics import accuracy_score
from torch.utils.data import Dataset

import tsbn_hub
from tsbn_hub.data import Collate
from tsbn_hub.tasks import Classification
from tsbn_hub.training import TrainingConfig, evaluate, train
from tsbn_hub.training.evaluation import TaskMetrics
from tsbn_hub.training.loop import Training
from tsbn_hub.training.recipe.sources import DataSource
from tsbn_hub.training.state.signals import StopSignals

MISSING = {"b": -100, "a": -100}


def sample(**targets):
    return {"image": torch.rand(1, 8, 8), "targets": targets}


def test_collate():
    batch = Collate(MISSING)([sample(b=2), sample(), sample(b=torch.tensor(0))])
    assert batch["image"].shape == (3, 1, 8, 8)
    assert batch["targets"].keys() == {"b"} and batch["targets"]["b"].tolist() == [2, -100, 0]
    assert Collate(MISSING)([sample(), sample(other=1)])["targets"] == {}
    assert Collate(MISSING)([sample(a=1, b=2)] * 2)["targets"]["a"].dtype == torch.int64


def test_the_loss_and_the_metric_are_those_of_what_is_labelled():
    torch.manual_seed(0)
    task, logits = Classification(), torch.randn(6, 3)
    target = torch.tensor([0, -100, 2, 1, -100, 2])
    kept = target != -100
    torch.testing.assert_close(task.loss(logits, target), F.cross_entropy(logits[kept], target[kept]))
    metrics = TaskMetrics({"a": task, "b": task}, torch.device("cpu"))
    metrics.update("a", logits, target)
    nothing = torch.full((6,), -100)
    metrics.update("b", logits, nothing)
    scores = metrics.compute()
    assert scores["a"] == {"accuracy": accuracy_score(target[kept], logits[kept].argmax(1))}
    assert task.loss(logits, nothing) == 0 and math.isnan(scores["b"]["accuracy"])


class Partly(Dataset):
    """Every sample has `b`; some have `a`, in runs, so that whole batches lack it."""

    num_classes = {"b": 2, "a": 3}
    labelled = staticmethod(lambda at: at % 32 < 8)

    def __init__(self, split, size=128):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(size, 1, 32, 32, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        targets = {"b": at % 2}
        if self.labelled(at):
            targets["a"] = at % 3
        return {"image": self.images[at], "targets": targets}


def test_evaluation_leaves_out_what_has_no_target():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet_tsbn", num_classes=Partly.num_classes, in_chans=1).eval()
    data, tasks = Partly("test"), {name: Classification() for name in Partly.num_classes}
    batches = [Collate(MISSING)([data[at] for at in range(start, start + 16)]) for start in range(0, 128, 16)]
    assert any("a" not in batch["targets"] for batch in batches)
    scores = evaluate(model, batches, tasks, Accelerator(cpu=True))
    with torch.no_grad():
        outputs = {task: output.argmax(1) for task, output in model(data.images).items()}
    labelled = [at for at in range(128) if Partly.labelled(at)]
    assert scores["b"] == {"accuracy": accuracy_score([at % 2 for at in range(128)], outputs["b"])}
    assert scores["a"] == {"accuracy": accuracy_score([at % 3 for at in labelled], outputs["a"][labelled])}


class Never(Partly):
    labelled = staticmethod(lambda at: False)


@pytest.fixture
def config(tmp_path):
    return TrainingConfig(
        model="test_resnet_tsbn", data="unused", output=str(tmp_path / "run"), epochs=2, batch_size=8, validation=0.25
    )


def test_training_on_partly_labelled_data(config, monkeypatch):
    monkeypatch.setattr(DataSource, "dataset", lambda self, split: Partly(split))
    scores = train(config)
    assert scores.keys() == {"b", "a"}
    lines = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    steps = lines[-2]["steps"]
    assert 0 < steps["a"] < steps["b"] == 2 * lines[0]["steps"]["b"]


def test_a_task_without_any_label_moves_nothing(config, monkeypatch, tmp_path):
    monkeypatch.setattr(DataSource, "dataset", lambda self, split: Never(split))
    training = Training(config, Accelerator(), StopSignals())
    initial = copy.deepcopy(training.model.state_dict())
    training.go_on_or_start(restart=False)
    with pytest.raises(ValueError, match=r"No sample of epoch 1 had a target for \['a'\].*tasks=\['b'\]"):
        training.run()
    model, moved = training.model, 0
    row = model.tasks.index("a")
    for name, module in model.named_modules():
        if isinstance(module, tsbn_hub.norms.TaskParameters):
            for stacked in module.stacked_names():
                own, before = getattr(module, stacked), initial[f"{name}.{stacked}"]
                assert torch.equal(own[module.rows(row)], before[module.rows(row)]), f"{name}.{stacked}"
                moved += not torch.equal(own, before)
    assert moved
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all("a" not in line["loss"] for line in lines[:-1])


def test_no_target_at_all(config, monkeypatch):
    class Nothing(Partly):
        def __getitem__(self, at):
            return {"image": self.images[at], "targets": {}}

    monkeypatch.setattr(DataSource, "dataset", lambda self, split: Nothing(split))
    with pytest.raises(ValueError, match=r"No sample of epoch 1 had a target for \['b', 'a'\]"):
        train(config)
