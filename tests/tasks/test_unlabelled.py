"""What a network says where there is no target changes nothing: no loss, gradient or metric, be it infinite or NaN."""

import math

import pytest
import torch
from torch import Tensor

from tsbn_hub.tasks import Kind, Task, make_kind

SIZE = (4, 6)
TASKS = [
    Task("t", "classification", num_classes=3),
    Task("t", "attributes", num_classes=3),
    Task("t", "regression", kind_args={"size": 3}),
    Task("t", "segmentation", num_classes=3),
    Task("t", "depth"),
    Task("t", "normals"),
    Task("t", "edges"),
    Task("t", "saliency"),
]
every_kind = pytest.mark.parametrize("kind", [make_kind(task) for task in TASKS], ids=[task.kind for task in TASKS])


def output_of(kind: Kind, batch: int = 4) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, kind.outputs, *(SIZE if kind.dense else ()))


def target_of(kind: Kind, batch: int = 4) -> Tensor:
    """With targets everywhere."""
    torch.manual_seed(1)
    pixels = SIZE if kind.dense else ()
    if kind.name in ("classification", "segmentation"):
        return torch.randint(0, 3, (batch, *pixels))
    if kind.name in ("edges", "saliency"):
        return torch.randint(0, 2, (batch, *pixels))
    if kind.name == "attributes":
        return torch.randint(0, 2, (batch, 3))
    if kind.name == "depth":
        return torch.rand(batch, *pixels) + 1
    values = torch.randn(batch, 3, *pixels)
    return values / values.norm(dim=1, keepdim=True) if kind.name == "normals" else values


def unlabelled(kind: Kind) -> tuple[Tensor, Tensor]:
    """A target without values at some places; and these places, in an output."""
    target = target_of(kind)
    if kind.name == "regression":
        places = torch.rand(target.shape) < 0.5
        return target.masked_fill(places, math.nan), places
    if kind.name == "attributes":
        places = torch.rand(target.shape) < 0.5
        return target.masked_fill(places, -100), places
    places = torch.rand(len(target), *(SIZE if kind.dense else ())) < 0.5
    places[0], places[1] = True, False
    of_target = places[:, None].expand_as(target) if kind.name == "normals" else places
    return target.masked_fill(of_target, kind.missing), places[:, None].expand_as(output_of(kind))


@every_kind
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30])
def test_the_loss_and_its_gradient(kind, value):
    target, places = unlabelled(kind)
    kind.check(target, SIZE)
    zeros = output_of(kind).masked_fill(places, 0).requires_grad_()
    wild = output_of(kind).masked_fill(places, value).requires_grad_()
    assert places.any() and not places.all()
    for output in (zeros, wild):
        kind.loss(output, target).backward()
    assert torch.equal(kind.loss(wild, target), kind.loss(zeros, target)) and kind.loss(zeros, target) > 0
    assert torch.equal(wild.grad, zeros.grad) and not wild.grad[places].any() and wild.grad.any()


@every_kind
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_batch_without_targets(kind, value):
    target = torch.full_like(target_of(kind), kind.missing)
    output = torch.full_like(output_of(kind), value).requires_grad_()
    loss = kind.loss(output, target)
    loss.backward()
    assert loss == 0 and not output.grad.any() and kind.count(target) == 0


@every_kind
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_the_metrics(kind, value):
    target, places = unlabelled(kind)
    scores = []
    for output in (output_of(kind).masked_fill(places, 0), output_of(kind).masked_fill(places, value)):
        metrics = kind.new_metrics()
        metrics.update(kind.predict(output), target)
        scores.append(metrics.compute())
    for name, score in scores[0].items():
        assert score.isfinite() and torch.equal(score, scores[1][name]), name


@pytest.mark.parametrize("kind", ["regression", "depth"])
def test_a_prediction_that_is_nan_is_not_a_missing_target(kind):
    """A network that has diverged must not score by the samples that it still has numbers for."""
    kind = make_kind(Task("t", kind))
    output, target = torch.ones(4, 1, *(SIZE if kind.dense else ())), torch.ones(4, *(SIZE if kind.dense else (1,)))
    output[0], target[1:2] = math.nan, 2
    metrics = kind.new_metrics()
    metrics.update(kind.predict(output), target)
    scores = metrics.compute()
    assert all(scores[name].isnan() for name in scores if name != "delta1"), scores
