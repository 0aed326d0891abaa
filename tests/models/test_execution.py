"""All tasks in one batched pass: the same outputs, gradients and statistics as one task after another."""

import copy

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.matrices import cases_of
from tsbn_hub.norms import TaskModule

from .families import FAMILIES, UNLIKE
from .hf_backbones import BACKBONES, each_day

TASKS = ["a", "b", "c"]
WITHOUT_RULE = {
    "sequencer": "aten::lstm",
}
FORK_WITHIN_A_BLOCK = ("resnet", "res2net")
"""In the middle of these networks a block adds, in place, what depends on the task to what does not."""
IN_SINGLE_PRECISION = ("deepseek_vit", "naflexvit")
"""These compute positions in float32, whatever the precision of the model."""


def build(family: str, **kwargs: object) -> TaskModule:
    """A model of which the last half of the gates are task-specific, in float64, without randomness."""
    torch.manual_seed(0)
    small = FAMILIES[family]
    names = small.converted(tasks=TASKS).recipe.names
    gated = "layer4*" if family in FORK_WITHIN_A_BLOCK else names[len(names) // 2 :]
    torch.manual_seed(0)
    model = small.converted(tasks=TASKS, gated=gated, **kwargs).double()
    for name, parameter in model.named_parameters():
        if name.endswith("gate_logits"):
            nn.init.normal_(parameter)
    for module in model.modules():
        if getattr(module, "drop_rate", 0):
            module.drop_rate = 0.0
        if isinstance(module, nn.modules.dropout._DropoutNd | DropPath):
            module.p = module.drop_prob = 0.0
    return model


def outcome(model: TaskModule, x: Tensor, execution: str) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Outputs, gradients and buffers of a training step."""
    model.execution = execution
    outputs = model.train()(x)
    assert list(outputs) == TASKS
    tensors = pytree.tree_leaves([outputs[task] for task in TASKS])
    torch.manual_seed(1)
    sum((tensor * torch.randn_like(tensor)).sum() for tensor in tensors).backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return [tensor.detach() for tensor in tensors], gradients, dict(model.named_buffers())


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], bound: float) -> None:
    assert ours.keys() == theirs.keys()
    largest = max(tensor.abs().max() for tensor in theirs.values())
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() <= bound * largest, name


@pytest.mark.parametrize("family", cases_of(FAMILIES, UNLIKE))
def test_a_training_step(family):
    model, x = build(family), FAMILIES[family].images(6).double()
    one_after_another, together = copy.deepcopy(model), model
    expected = outcome(one_after_another, x, "sequential")
    if family in WITHOUT_RULE:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(RuntimeError, match=WITHOUT_RULE[family]):
            outcome(model, x, "batched")
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    outputs, gradients, buffers = outcome(together, x, "auto" if family in WITHOUT_RULE else "batched")
    for mine, other in zip(outputs, expected[0], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
    assert_same(gradients, expected[1], 1e-7 if family in IN_SINGLE_PRECISION else 1e-10)
    for name, tensor in buffers.items():
        torch.testing.assert_close(tensor, expected[2][name], rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("family", cases_of(FAMILIES, UNLIKE[::3]))
def test_outputs_in_evaluation(family):
    model, x = build(family).float().eval(), FAMILIES[family].images(2)
    model.execution = "sequential"
    expected = model(x)
    model.execution = "auto" if family == "sequencer" else "batched"
    outputs = model(x)
    for task in TASKS:
        torch.testing.assert_close(outputs[task], expected[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", cases_of(BACKBONES, each_day(2)))
def test_backbones_of_transformers(name):
    """In evaluation: their dropouts would draw one mask for all tasks, or one for each."""
    tiny = BACKBONES[name]
    one_after_another, x, labels = tiny.multi_task(), tiny.images(), tiny.labels()
    together = copy.deepcopy(one_after_another)
    together.execution = "batched"
    outputs = [model(x, labels=labels) for model in (together, one_after_another)]
    for output in outputs:
        output.loss.backward()
    for task, logits in outputs[1].logits.items():
        torch.testing.assert_close(outputs[0].logits[task], logits, rtol=1e-4, atol=1e-5)
    gradients = [
        {key: each.grad for key, each in model.named_parameters() if each.grad is not None}
        for model in (together, one_after_another)
    ]
    assert_same(*gradients, bound=1e-4)
