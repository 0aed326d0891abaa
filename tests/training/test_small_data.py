"""Data that are few, equal, or none: what can be scored chooses the epoch, what cannot be trained ends at the start."""

import math

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from tsbn_hub import Task
from tsbn_hub.data import Mixture, split_off
from tsbn_hub.results.recording import results_of_run
from tsbn_hub.tasks import Edges, Regression
from tsbn_hub.training import TrainingConfig, evaluate_run, loop, train
from tsbn_hub.training.evaluation import mean_score
from tsbn_hub.training.recipe.sources import DataSource
from tsbn_hub.training.timm.evaluator import MultiTaskEvaluator


class Toy(Dataset):
    """As many samples as it is told, of the same target."""

    def __init__(self, size, *tasks, side=48):
        self.size, self.tasks, self.side = size, tasks, side

    def __len__(self):
        return self.size

    def __getitem__(self, at):
        image = torch.rand(3, self.side, self.side, generator=torch.Generator().manual_seed(at))
        return {"image": image, "targets": {task.name: torch.tensor([1.0]) for task in self.tasks}}


class Stream(IterableDataset):
    num_classes = {"a": 2}

    def __iter__(self):
        return iter(())


NUMBERS = Task("a", kind="regression"), Task("b", kind="regression")


@pytest.fixture
def config_of(tmp_path, monkeypatch):
    def make(data, **changes):
        monkeypatch.setattr(DataSource, "dataset", lambda self, split: data)
        values = {"model": "test_resnet_tsbn", "epochs": 1, "batch_size": 4, "warmup_epochs": 0.0} | changes
        return TrainingConfig(data="unused", output=str(tmp_path / "run"), **values)

    return make


@pytest.mark.parametrize("size", [5, 24], ids=["one sample is held out", "all targets are equal"])
def test_the_epoch_is_chosen_by_a_metric_that_is_defined(size, config_of):
    config = config_of(Toy(size, *NUMBERS))
    scores = train(config)
    assert math.isnan(scores["a"]["r2"]) and scores["a"]["mae"] >= 0
    assert results_of_run(config, scores).epoch_chosen_by.startswith("the mean over tasks of mae on 10%")


def test_what_chooses_the_epoch():
    kinds = {"a": Regression(), "b": Regression(), "c": Edges()}
    nothing = {"mae": math.nan, "rmse": math.nan, "r2": math.nan}
    scores = {"a": {"mae": 3.0, "rmse": 4.0, "r2": math.nan}, "b": nothing, "c": {"ods_f": math.nan}}
    assert mean_score(kinds, scores) == 1 / (1 + 3)
    assert mean_score(kinds, scores | {"b": {"mae": 3.0, "rmse": 4.0, "r2": 0.75}}) == (0.25 + 0.75) / 2
    with pytest.raises(ValueError, match=r"No metric of \['b', 'c'\] is defined on the validation split.*hold out"):
        mean_score(kinds, {"b": nothing, "c": {"ods_f": math.nan}})
    evaluator = MultiTaskEvaluator({"a": Regression()})
    evaluator.update(torch.zeros(2, 1), {"a": torch.full((2, 1), 3.0)})
    assert evaluator.compute()["mean"] == 0.25


def test_at_least_one_sample_is_held_out():
    assert [[len(part) for part in split_off(Toy(size, *NUMBERS), 0.1)] for size in (2, 9, 10)] == [
        [1, 1],
        [8, 1],
        [9, 1],
    ]


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (Toy(0, *NUMBERS), {}, "Toy is empty: its split 'train' has no sample"),
        (Toy(1, *NUMBERS), {"batch_size": 1}, "Of the 1 training samples of Toy, validation=0.1 holds out none"),
        (
            Toy(3, *NUMBERS),
            {},
            "Toy gives no batch in an epoch: it has 2 samples, .* = 4. Take a smaller",
        ),
        (Toy(24, Task("a")), {}, "Task 'a' of kind 'classification': The number of classes is not known"),
        (Toy(24, Task("a", kind="segmentation")), {}, "Task 'a' of kind 'segmentation'.*'num_classes'"),
        (Stream(), {}, r"Data set 0 \(Stream\) has no length and index.*torch.utils.data.Dataset"),
    ],
    ids=["none", "one", "less than a batch", "no classes", "no classes in dense", "stream"],
)
def test_what_cannot_be_trained_ends_at_the_start(data, changes, message, config_of, monkeypatch, tmp_path):
    monkeypatch.setattr(loop.Training, "take_step", None)
    with pytest.raises(ValueError, match=message):
        train(config_of(data, **changes))
    assert not (tmp_path / "run").exists()


def test_one_value_to_normalise(config_of):
    with pytest.raises(ValueError, match="more than 1 value") as error:
        train(config_of(Toy(8, *NUMBERS, side=32), batch_size=1))
    assert "a batch_size of at least 2, larger images, or" in error.value.__notes__[0]


def test_a_mixture_of_what_has_no_index():
    with pytest.raises(ValueError, match=r"Data set 1 \(map\) has no length"):
        Mixture([Toy(2, *NUMBERS), map(str, [])])


@pytest.mark.parametrize(
    "changed",
    [{"labels": ["dog", "cat"]}, {"labels": ["cat", "dog", "cow"]}, {"kind": "attributes"}, {"num_classes": 3}],
    ids=["swapped labels", "a label more", "another kind", "a class more"],
)
def test_splits_that_disagree(changed, tmp_path, monkeypatch):
    labels = ["cat", "dog"] if "labels" in changed else None
    of_training = Task("a", num_classes=2, labels=labels)
    of_test = Task(**{"name": "a", "num_classes": None if labels else 2} | changed)
    monkeypatch.setattr(DataSource, "dataset", lambda self, split: Toy(24, of_test if split == "test" else of_training))
    config = TrainingConfig(model="test_resnet_tsbn", data="unused", output=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"Task 'a' is trained with .* a target would stand for something else"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_data_that_have_changed_since_the_training(config_of, tmp_path, monkeypatch):
    class Animals(Toy):
        def __getitem__(self, at):
            return super().__getitem__(at) | {"targets": {"a": at % 2}}

    train(config_of(Animals(24, Task("a", labels=["cat", "dog"])), model="timm/test_resnet"))
    changed = Animals(24, Task("a", labels=["dog", "cat"]))
    monkeypatch.setattr(DataSource, "dataset", lambda self, split: changed)
    with pytest.raises(ValueError, match=r"Task 'a' is trained with .*'cat', 'dog'.*'dog', 'cat'"):
        evaluate_run(tmp_path / "run")
