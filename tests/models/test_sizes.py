"""Numbers of classes, and others that say how large a task is: checked before anything is built or changed."""

import copy
import json

import numpy as np
import pytest
import timm
import torch
from torch import nn

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.models.timm.classifiers import TaskClassifier
from tsbn_hub.norms import TaskNorm, TaskParameters, TaskSelector
from tsbn_hub.tasks import make_kind

WRONG = [-1, "3", 2.5, True, torch.tensor(2.0)]
TOO_MANY = 10**13


def build(**kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet_tsbn", num_classes={"b": 2, "a": 3}, **kwargs).eval()


def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_no_model_is_built_with_them(wrong):
    for kwargs in (
        {"num_classes": {"b": wrong, "a": 3}},
        {"num_classes": wrong, "tasks": ["b", "a"]},
        {"task_classes": [wrong, 3], "tasks": ["b", "a"]},
    ):
        with pytest.raises(ValueError, match=r"num_classes\['b'\]=.* must be at least 0"):
            timm.create_model("test_resnet_tsbn", **kwargs)


def test_numbers_of_other_libraries():
    model = timm.create_model("test_resnet_tsbn", num_classes={"b": np.int64(2), "a": torch.tensor(3)})
    assert model.task_classes == [2, 3] and all(type(size) is int for size in model.task_classes)


def test_no_classes_for_some_tasks():
    with pytest.raises(ValueError, match=r"\['b', 'a'\] have \[0, 3\] classes: either each has at least one"):
        timm.create_model("test_resnet_tsbn", num_classes={"b": 0, "a": 3})
    model = timm.create_model("test_resnet_tsbn", num_classes={"b": 0, "a": 0})
    assert {task: output.shape for task, output in model(images()).items()} == {"b": (2, 96), "a": (2, 96)}


def test_a_classifier_does_not_cut_rows_off():
    for sizes in ([-1, 3], [2, 5]):
        with pytest.raises(ValueError, match=r"at least 0|only 3"):
            TaskClassifier(nn.Linear(4, 3), TaskSelector(["b", "a"]), sizes)


def test_a_config_of_anybodys(tmp_path):
    tsbn_hub.save_pretrained(build(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"]["task_classes"] = [-1, 3]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"num_classes\['b'\]=-1"):
        tsbn_hub.from_pretrained(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("wrong", [*WRONG, 0, TOO_MANY], ids=repr)
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_task_that_cannot_be_added_changes_nothing(tasks, wrong):
    model = build()
    if tasks == 1:
        model.remove_task("a")
    x, before = images(), copy.deepcopy(model)
    with pytest.raises((ValueError, RuntimeError)):
        model.add_task("c", num_classes=wrong)
    if (tasks, wrong) != (1, 0):  # then no task has a classifier
        with pytest.raises((ValueError, RuntimeError)):
            model.reset_classifier({"b": wrong})
    assert (model.tasks, model.task_classes, model.num_classes) == (
        before.tasks,
        before.task_classes,
        before.num_classes,
    )
    assert model._model_args == before._model_args
    for task in before.tasks:
        assert torch.equal(model(x, task=task), before(x, task=task))
    model.add_task("c", num_classes=4)
    assert model(x, task="c").shape == (2, 4)


@torch.no_grad()
@pytest.mark.parametrize(
    "change", [lambda m: m.add_task("c"), lambda m: m.add_task("c", like="a"), lambda m: m.remove_task("a")]
)
@pytest.mark.parametrize("kind", ["timm", "transformers"])
def test_a_change_of_tasks_that_fails_midway_changes_nothing(kind, change, monkeypatch):
    """However it fails: memory may be used up at the last layer."""
    if kind == "timm":
        model = build()
    else:
        tasks = [Task("b", num_classes=2), Task("a", num_classes=3)]
        model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
        add = model.add_task
        model.add_task = lambda name, like=None: add(Task(name, num_classes=2), like)
    x = images()
    before, state = model(x, task="b"), copy.deepcopy(model.state_dict())
    last = [module for module in model.modules() if isinstance(module, TaskNorm)][-1]
    stack = TaskParameters.stack_rows

    def failing(self, parts):
        if self is last:
            raise MemoryError("none left")
        return stack(self, parts)

    monkeypatch.setattr(TaskParameters, "stack_rows", failing)
    with pytest.raises(MemoryError):
        change(model)
    assert model.tasks == ["b", "a"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    after = model(x, task="b")
    assert torch.equal(
        *(output if isinstance(output, torch.Tensor) else output.logits["b"] for output in (after, before))
    )


@pytest.mark.parametrize("wrong", [-1, 0, "3", 2.5, True], ids=repr)
def test_kinds(wrong):
    for kind in ("classification", "attributes", "segmentation"):
        with pytest.raises(ValueError, match=r"num_classes=.* must be at least 1"):
            make_kind(Task("a", kind, num_classes=wrong))
    with pytest.raises(ValueError, match=r"size=.* must be at least 1"):
        make_kind(Task("a", "regression", kind_args={"size": wrong}))
    with pytest.raises(ValueError, match=r"channels=.* must be at least 1"):
        TsbnForMultiTask.from_backbone(
            "timm/test_resnet", [Task("a", "depth", head_args={"channels": wrong})], pretrained=False
        )


@pytest.mark.parametrize("tolerance", [-1, 0.5, float("nan"), float("inf")])
def test_the_tolerance_of_edges(tolerance):
    with pytest.raises(ValueError, match="must be a number of pixels"):
        make_kind(Task("a", "edges", kind_args={"tolerance": tolerance}))


@pytest.mark.parametrize("dropout", [-0.1, 1, float("nan")])
def test_dropout(dropout):
    with pytest.raises(ValueError, match=r"dropout=.* must lie in \[0, 1\)"):
        TsbnForMultiTask.from_backbone(
            "timm/test_resnet", [Task("a", num_classes=2, head_args={"dropout": dropout})], pretrained=False
        )
