"""A run goes on with the tasks, classes and data that it had, each in its place."""

import pytest
import yaml

from tests.training import processes
from tsbn_hub import from_pretrained
from tsbn_hub.results.recording import results_of_run
from tsbn_hub.training import Stopped, TrainingConfig, evaluate_run, train
from tsbn_hub.training.state.description import differences

# A data set whose tasks differ as the environment says: their order as JSON, or what else.
DATA = """
import json, os, signal
import torch
from torch.utils.data import Dataset
from tsbn_hub import Task


class Toy(Dataset):
    def __init__(self, split):
        says = {"order": "ab", "labels": "xyz", "size": 12, "side": 32, **json.loads(os.environ.get("SAYS", "{}"))}
        says |= json.loads(os.environ.get("OF_RANK_" + os.environ.get("RANK", ""), "{}"))
        says |= json.loads(os.environ.get("OF_" + split.upper(), "{}"))
        self.says = says
        kinds = {"a": {"labels": list(says["labels"])}, "b": {"num_classes": 2}, "c": {"num_classes": 2}}
        self.tasks = [Task(name, **kinds[name]) for name in says["order"]]

    def __len__(self):
        return self.says["size"]

    def __getitem__(self, index):
        if index == int(os.environ.get("STOP_AT", -1)):
            os.kill(os.getpid(), signal.SIGTERM)
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, self.says["side"], self.says["side"], generator=generator)
        return {"image": image, "targets": {"a": index % 3, "b": index % 2, "c": index % 2}}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(DATA)
    values = {
        "model": "test_resnet_tsbn", "data": f"{tmp_path}/toy.py:Toy", "output": f"{tmp_path}/run", "epochs": 2,
        "batch_size": 4, "validation": 0.34, "balancing": "uncertainty", "checkpoint_steps": 1,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "config.yaml"


@pytest.fixture
def stopped(config, monkeypatch):
    with monkeypatch.context() as stopping:
        stopping.setenv("STOP_AT", "5")
        with pytest.raises(Stopped, match="epoch 1"):
            train(TrainingConfig.read(config))
    return config


def left(folder):
    return (folder / "model.safetensors").read_bytes(), (folder / "log.jsonl").read_text()


def test_another_order_of_the_data_changes_nothing(stopped, monkeypatch, tmp_path):
    monkeypatch.setenv("SAYS", '{"order": "ba"}')
    run = TrainingConfig.read(stopped)
    results = results_of_run(run, train(run))
    assert from_pretrained(tmp_path / "run").tasks == [task.name for task in results.tasks] == ["a", "b"]
    monkeypatch.delenv("SAYS")
    train(TrainingConfig.read(stopped, output=f"{tmp_path}/whole"))
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_a_restart_takes_the_order_of_the_data(stopped, monkeypatch, tmp_path):
    monkeypatch.setenv("SAYS", '{"order": "ba"}')
    train(TrainingConfig.read(stopped), restart=True)
    assert from_pretrained(tmp_path / "run").tasks == ["b", "a"]


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ('{"labels": "xzy"}', r"task 'a' labels: \['x', 'y', 'z'\], here \['x', 'z', 'y'\]"),
        ('{"size": 15}', r"samples: \[\['Toy', 12\]\], here \[\['Toy', 15\]\]"),
        ('{"side": 64}', r"image: \[3, 32, 32\], here \[3, 64, 64\]"),
        ('{"order": "abc"}', r"tasks: \['a', 'b'\], here \['a', 'b', 'c'\]; .*task 'c': None, here"),
    ],
)
def test_other_data_are_another_run(says, message, stopped, monkeypatch, tmp_path):
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    monkeypatch.setenv("SAYS", says)
    with pytest.raises(
        ValueError, match=rf"run holds another run \(.*{message}.*\)\. Choose another output, or restart"
    ):
        train(TrainingConfig.read(stopped))
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_a_difference_in_long_lists_is_told_in_short():
    many = [str(number) for number in range(1000)]
    other = [*many[:700], "x", *many[701:]]
    assert differences({"labels": many}, {"labels": other}) == ["labels[700]: 700, here x"]
    assert len(differences({"labels": many}, {"labels": many[1:]})[0]) < 500


def test_test_data_with_classes_in_another_order(config, monkeypatch, tmp_path):
    with monkeypatch.context() as other:
        other.setenv("OF_TEST", '{"labels": "zyx"}')
        with pytest.raises(ValueError, match=r"Task 'a' is trained with .* a target would stand for something else"):
            train(TrainingConfig.read(config))
    assert not (tmp_path / "run").exists()
    train(TrainingConfig.read(config, epochs=1))
    monkeypatch.setenv("SAYS", '{"labels": "zyx"}')
    with pytest.raises(ValueError, match=r"Task 'a' is trained with .* a target would stand for something else"):
        evaluate_run(tmp_path / "run")


def test_processes_whose_data_name_tasks_in_another_order(config, tmp_path):
    """As from a set: each process has its own order. All take that of the first."""
    assert processes.train(config, 2, {"OF_RANK_1": '{"order": "ba"}'}) == [0, 0], processes.printed(config, 1)
    assert from_pretrained(tmp_path / "run").tasks == ["a", "b"]
    other = config.with_name("whole.yaml")
    other.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"output": f"{tmp_path}/whole"}))
    assert processes.train(other, 2) == [0, 0], processes.printed(other)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_processes_with_other_data(config):
    assert processes.train(config, 2, {"OF_RANK_1": '{"size": 15}'}) == [1, 1]
    for rank in range(2):
        assert "Process 1 has other data than process 0 (samples: [['Toy', 12]]" in processes.printed(config, rank)
