"""Some of the tasks in one batched pass: as one after another, and nothing of the others moves."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from tsbn_hub import convert
from tsbn_hub.models.libraries import surface_of
from tsbn_hub.models.outputs import outputs_by_task
from tsbn_hub.models.task_parts import task_state_dict
from tsbn_hub.norms import TaskModule
from tsbn_hub.norms.execution import choice

from .families import FAMILIES as SMALL
from .hf_backbones import BACKBONES, randomized
from .test_execution import assert_same, build

ALL = ["a", "b", "c"]
SOME = ["c", "a"]  # not in the order of the rows


class Counted(nn.Conv2d):
    """Counts its calls."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def network(**kwargs: object) -> TaskModule:
    """A convolution with a shared norm, the fork, and a convolution with a shared norm."""
    torch.manual_seed(0)
    parts = [Counted(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.BatchNorm2d(8), Counted(8, 8, 3)]
    return randomized(convert(nn.Sequential(*parts, nn.BatchNorm2d(8)), ALL, gated="3", **kwargs))


def after_a_step(model: nn.Module, x: Tensor, execution: str, tasks: list[str], repeated: bool = False) -> nn.Module:
    """A copy that has made a forward and backward."""
    model = copy.deepcopy(model).train()
    model.execution = execution
    outputs = outputs_by_task(model, x, tasks, repeated)
    assert list(outputs) == tasks
    torch.manual_seed(1)
    sum((output * torch.randn_like(output)).sum() for output in outputs.values()).backward()
    return model


def assert_same_step(ours: nn.Module, theirs: nn.Module) -> None:
    gradients = [{name: each.grad for name, each in model.named_parameters()} for model in (ours, theirs)]
    assert_same(*gradients, bound=1e-10)
    for (name, mine), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("family", ["resnet", "vision_transformer", "convnext", "efficientnet", "swin_transformer"])
def test_a_training_step(family):
    model, x = build(family), SMALL[family].images(6).double()
    together, apart = (after_a_step(model, x, execution, SOME) for execution in ("batched", "sequential"))
    assert_same_step(together, apart)
    for name, before in model.named_buffers():
        if before.ndim and len(before) == len(ALL):
            idle, after = ALL.index("b"), dict(together.named_buffers())[name]
            assert torch.equal(after[idle], before[idle]), name
            assert not before.is_floating_point() or not torch.equal(after, before), name


@pytest.mark.parametrize("repeated", [False, True])
def test_statistics_of_shared_norms(repeated):
    model, x = network().double(), torch.randn(4, 3, 8, 8).double()
    together, apart = (after_a_step(model, x, execution, SOME, repeated) for execution in ("batched", "sequential"))
    assert_same_step(together, apart)
    counted = [int(together[at].num_batches_tracked - model[at].num_batches_tracked) for at in (1, 5)]
    assert counted == [0 if repeated else 1, 2]
    assert (together[3].num_batches_tracked - model[3].num_batches_tracked).tolist() == [1, 0, 1]


def test_what_is_before_the_fork_is_computed_once_and_tried_once():
    """The trial is for all tasks: other sets of them are not tried again."""
    model, x = network().train(), torch.randn(4, 3, 8, 8)
    outputs_by_task(model, x, SOME)
    assert model.task_selector.differences == dict.fromkeys(model.task_selector.differences, "")
    for tasks in (SOME, ["b", "c"], ALL):
        model[0].calls = model[4].calls = 0
        outputs_by_task(model, x, tasks)
        assert (model[0].calls, model[4].calls) == (1, 1), tasks
    model[0].calls = 0
    outputs_by_task(model, x, ["b"])
    assert model[0].calls == 1 and len(model.task_selector.differences) == 1


@torch.no_grad()
def test_a_task_that_is_set_does_not_matter():
    model, x = network().eval(), torch.randn(2, 3, 8, 8)
    expected = model(x)
    model.set_task("b")
    model[0].calls = 0
    for task, output in outputs_by_task(model, x, SOME).items():
        torch.testing.assert_close(output, expected[task])
    assert model[0].calls == 1 and model.task == "b"


@torch.no_grad()
def test_features_and_tasks_with_different_classes():
    model = timm.create_model("resnet18_tsbn", tasks=ALL, features_only=True, gated="layer4*", execution="batched")
    model, x = randomized(model).eval(), torch.randn(2, 3, 64, 64)
    for task, features in outputs_by_task(model, x, SOME).items():
        for ours, theirs in zip(features, model(x, task=task), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    sizes = {"a": 2, "b": 5, "c": 3}
    model = timm.create_model("resnet18_tsbn", num_classes=sizes, gated="layer4*", execution="batched").eval()
    for task, output in outputs_by_task(model, x, SOME).items():
        assert output.shape == (2, sizes[task])
        torch.testing.assert_close(output, model(x, task=task), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_labels_of_some_tasks(name, monkeypatch):
    """With heads: nothing of a task without labels moves."""
    monkeypatch.setattr(choice, "SHARE_FOR_BATCHED", 0.0)
    tiny = BACKBONES[name]
    model, x, labels = tiny.multi_task().double().train(), tiny.images(4).double(), tiny.labels(4)
    together, apart = copy.deepcopy(model), copy.deepcopy(model)
    together.execution = "auto"
    for each in (together, apart):
        outputs = each(x, labels={task: labels[task] for task in ("z", "m")})
        assert list(outputs.logits) == list(outputs.losses) == ["z", "m"]
        sum(logits.square().mean() for logits in outputs.logits.values()).backward()  # the losses are in float32
    assert list(together.task_selector.differences.values()) == [""], "it was batched"
    gradients = [
        {key: each.grad for key, each in model.named_parameters() if each.grad is not None}
        for model in (together, apart)
    ]
    assert_same(*gradients, bound=1e-10)
    for (key, ours), theirs in zip(together.named_buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=key)
    before, after = (task_state_dict(surface_of(each), "a") for each in (model, together))
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_compiled():
    """In a graph the statistics of idle tasks stay, too. Beside one, a compiled model takes one task after another."""
    model, x = network(), torch.randn(4, 3, 8, 8)
    expected = after_a_step(model, x, "sequential", SOME)

    def compiled(model: nn.Module, tasks: list[str]) -> dict[str, Tensor]:
        return torch.compile(outputs_by_task, backend="aot_eager", fullgraph=True)(model, x, tasks)

    torch._dynamo.reset()
    together = copy.deepcopy(model).train()
    together.execution = "batched"
    compiled(together, SOME)
    for (name, ours), theirs in zip(together.named_buffers(), expected.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs[1], msg=name)
    model.compile(backend="eager")
    with torch.no_grad():
        model.eval()
        for task, output in outputs_by_task(model, x, SOME).items():
            torch.testing.assert_close(output, model(x, task=task))
