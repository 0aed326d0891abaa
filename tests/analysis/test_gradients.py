"""Cosines of the tasks' gradients: against gradients by hand, and what the call must leave alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from tsbn_hub.analysis import gradient_cosines
from tsbn_hub.analysis.similarity import gradients
from tsbn_hub.tasks import Classification

LINEAR = SimpleNamespace(loss=lambda output, target: (output * target).mean(), count=len)  # the gradient is by hand


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False)

    def forward(self, x):
        output = self.second(self.first(x).relu())
        return {"a": output, "b": output, "opposed": output}


def two_layers():
    generator = torch.Generator().manual_seed(1)
    x, a, b = (torch.randn(8, size, generator=generator) for size in (6, 3, 3))
    return TwoLayers(), {"image": x, "targets": {"a": a, "b": b, "opposed": -a}}


def by_hand(model, batch, task):
    """The gradients of mean(output * target) in both layers, (6 * 5,) and (5 * 3,), with numpy alone."""
    x, target = batch["image"].double().numpy(), batch["targets"][task].double().numpy()
    first, second = (layer.weight.detach().double().numpy() for layer in (model.first, model.second))
    hidden = x @ first.T
    of_output = target / target.size
    of_hidden = (of_output @ second) * (hidden > 0)
    return (of_hidden.T @ x).ravel(), (of_output.T @ np.maximum(hidden, 0)).ravel()


def test_two_layers_by_hand():
    model, batch = two_layers()
    cosines = gradient_cosines(model, [batch], dict.fromkeys(batch["targets"], LINEAR))
    expected = [by_hand(model, batch, task) for task in batch["targets"]]
    for layer, vectors in zip(("first", "second"), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(cosines.layers[layer], cosine_similarity(vectors), atol=1e-6)
    whole = [np.concatenate(each) for each in expected]
    np.testing.assert_allclose(cosines.matrix, cosine_similarity(whole), atol=1e-6)
    assert cosines.matrix[0, 2].item() == pytest.approx(-1) and cosines.tasks == ["a", "b", "opposed"]


def test_several_batches_are_one_step():
    """A task's loss is the mean over its targets in all batches, which may lack them."""
    model, batch = two_layers()
    parts = [
        {"image": batch["image"][rows], "targets": {name: target[rows] for name, target in batch["targets"].items()}}
        for rows in (slice(0, 2), slice(2, 8))
    ]
    whole = gradient_cosines(model, [batch], dict.fromkeys("ab", LINEAR))
    assert torch.allclose(gradient_cosines(model, parts, dict.fromkeys("ab", LINEAR)).matrix, whole.matrix)
    del parts[0]["targets"]["b"]
    fewer = gradient_cosines(model, parts, dict.fromkeys("ab", LINEAR)).matrix
    vectors = [np.concatenate(by_hand(model, each, task)) for each, task in ((batch, "a"), (parts[1], "b"))]
    np.testing.assert_allclose(fewer, cosine_similarity(vectors), atol=1e-6)


CLASSES = {"left": 4, "again": 4, "other": 4}
KINDS = {task: Classification(4) for task in CLASSES}


def network(norm):
    """A network in which "again" has the head and gates of "left": with its labels, the same gradients."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet_tsbn", num_classes=CLASSES, norm=norm, drop_rate=0.5, drop_path_rate=0.2)
    with torch.no_grad():
        model.get_parameter("fc.weight")[4:8] = model.get_parameter("fc.weight")[:4]
    return model


def batch_of(size=8):
    labels = torch.arange(size) % 4
    images = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "targets": {"left": labels, "again": labels, "other": labels.flip(0)}}


@pytest.mark.parametrize("norm", ["sigmoid", "shared", "affine"])
def test_identical_tasks_and_nothing_is_touched(norm):
    model = network(norm).eval()
    model.conv1[0].train()
    model.set_task("other")
    some = next(model.parameters())
    some.grad = torch.ones_like(some)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    with torch.no_grad():  # as where models are evaluated
        cosines = gradient_cosines(model, [batch_of()], KINDS)
    assert cosines.matrix[0, 1].item() == pytest.approx(1, abs=1e-5) and cosines.matrix[0, 2] < 0.9
    assert {*cosines.layers} >= {"conv1.0", "layer4.0.conv1"} and not any("fc" in name for name in cosines.layers)
    assert ("conv1.1" in cosines.layers) == (norm == "shared")  # a norm whose affine is the task's is not shared
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert [each for each in model.parameters() if each.grad is not None] == [some]
    assert torch.equal(some.grad, torch.ones_like(some))
    assert model(batch_of()["image"]).shape == (8, 4)  # the task that was set still is


def test_in_parts_as_at_once(monkeypatch):
    model = network("sigmoid")
    whole = gradient_cosines(model, [batch_of()], KINDS)
    sizes, parts_of = [], gradients._parts
    monkeypatch.setattr(gradients, "_MOST_NUMBERS", 3 * 20_000)

    def noted(parameters, most):
        for part in parts_of(parameters, most):
            sizes.append(sum(parameter.numel() for parameter in part.values()))
            yield part

    monkeypatch.setattr(gradients, "_parts", noted)
    parts = gradient_cosines(model, [batch_of()], KINDS)
    largest = max(parameter.numel() for parameter in model.parameters())
    assert len(sizes) > 5 and max(sizes) <= max(largest, 20_000)
    assert torch.allclose(parts.matrix, whole.matrix, atol=1e-5) and parts.layers.keys() == whole.layers.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, batch: batch["targets"].pop("again"), r"The batches have no target of \['again'\]"),
        (lambda model, batch: model.requires_grad_(False), "No trainable parameter is shared"),
    ],
)
def test_what_cannot_be_compared(change, message):
    model, batch = network("shared"), batch_of()
    change(model, batch)
    with pytest.raises(ValueError, match=message):
        gradient_cosines(model, [batch], KINDS)
    with pytest.raises(ValueError, match="cosines are of two tasks or more"):
        gradient_cosines(model, [batch], {"left": KINDS["left"]})
