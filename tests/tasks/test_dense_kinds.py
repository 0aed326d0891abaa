"""What holds for every kind of task with a value for every pixel."""

import json
import math
import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import processes
from tsbn_hub.tasks.kind import make_kind
from tsbn_hub.tasks.kinds.depth import Depth
from tsbn_hub.tasks.kinds.edges import Edges
from tsbn_hub.tasks.kinds.normals import Normals
from tsbn_hub.tasks.kinds.saliency import Saliency
from tsbn_hub.tasks.kinds.segmentation import Segmentation
from tsbn_hub.tasks.task import Task

KINDS = {
    "segmentation": Segmentation(5),
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
    "saliency": Saliency(),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def valid_target(kind, size, generator):
    batch, height, width = size
    if isinstance(kind, Depth):
        return torch.rand(size, generator=generator) + 0.5
    if isinstance(kind, Normals):
        return F.normalize(torch.randn(batch, 3, height, width, generator=generator), dim=1)
    return torch.randint(kind.num_classes or 2, size, generator=generator)


def invalid_like(kind, target):
    return torch.full_like(target, kind.missing)


def sample(kind, size=(6, 7, 9), seed=0):
    """An output and a target with a third of its pixels invalid, and all of its last image."""
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(size[0], kind.outputs, *size[1:], generator=generator)
    target = valid_target(kind, size, generator)
    keep = torch.rand(size, generator=generator) < 2 / 3
    keep[-1] = False
    keep = keep[:, None] if target.ndim == 4 else keep
    return output, torch.where(keep, target, invalid_like(kind, target))


def pixels_valid(kind, target):
    """Of the target, (B, 1, H, W)."""
    return target.ne(kind.missing).any(dim=1, keepdim=True) if target.ndim == 4 else target.ne(kind.missing)[:, None]


def values_of(metrics):
    return {name: value.item() for name, value in metrics.compute().items()}


def score(kind, batches):
    metrics = kind.new_metrics()
    for output, target in batches:
        metrics.update(kind.predict(output), target)
    return values_of(metrics)


@each_kind
def test_a_task_finds_its_kind(kind):
    name = next(name for name, known in KINDS.items() if known is kind)
    made = make_kind(Task("it", kind=name, num_classes=kind.num_classes))
    assert type(made) is type(kind)
    assert made.dense and made.head == "small" and made.outputs == kind.outputs


@each_kind
def test_the_metrics_are_those_it_names(kind):
    metrics = kind.new_metrics()
    assert {name: metric.higher_is_better for name, metric in metrics.items()} == kind.metrics
    assert kind.metrics[kind.chosen_by]
    assert kind.primary == next(iter(kind.metrics))


@each_kind
def test_count_is_of_valid_pixels(kind):
    _, target = sample(kind)
    count = kind.count(target)
    assert count.dtype == torch.int64 and count.ndim == 0
    assert count == pixels_valid(kind, target).sum() > 0
    assert kind.count(invalid_like(kind, target)) == 0


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_without_valid_pixels_the_loss_is_0_and_moves_nothing(kind, dtype):
    output, target = sample(kind)
    output = output.to(dtype).requires_grad_()
    loss = kind.loss(output, invalid_like(kind, target))
    loss.backward()
    assert loss.item() == 0 and loss.dtype == torch.float32
    assert output.grad.dtype == dtype and not output.grad.any()


@each_kind
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_without_valid_pixels_metrics_are_nan_and_nobody_warns(kind, batches):
    output, target = sample(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(kind, [(output, invalid_like(kind, target))] * batches)
    assert scores.keys() == kind.metrics.keys()
    assert all(math.isnan(value) for value in scores.values())


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(kind, dtype):
    output, target = sample(kind)
    half = output.to(dtype).requires_grad_()
    loss = kind.loss(half, target)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, kind.loss(half.detach().float(), target))
    assert half.grad.isfinite().all() and half.grad.any()
    assert score(kind, [(half.detach(), target)]) == score(kind, [(half.detach().float(), target)])


@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_said_of_invalid_pixels_does_not_matter(kind, value):
    output, target = sample(kind)
    spoilt = torch.where(pixels_valid(kind, target), output, value).requires_grad_()
    output.requires_grad_()
    losses = [kind.loss(each, target) for each in (output, spoilt)]
    for loss in losses:
        loss.backward()
    assert losses[0] == losses[1] and losses[0].isfinite()
    assert output.grad.any()
    torch.testing.assert_close(spoilt.grad, output.grad, rtol=0, atol=0)
    assert not output.grad.masked_select(~pixels_valid(kind, target)).any()


@each_kind
def test_what_is_said_of_invalid_pixels_is_not_scored(kind):
    output, target = sample(kind)
    valid = pixels_valid(kind, target)
    scores = [score(kind, [(torch.where(valid, output, value), target)]) for value in (0.0, 7.0, -7.0)]
    assert scores[0] == scores[1] == scores[2]


@each_kind
def test_the_loss_is_a_mean_over_pixels(kind):
    output, target = sample(kind)
    counts = [kind.count(each) for each in target.split(2)]
    losses = [kind.loss(*each) for each in zip(output.split(2), target.split(2), strict=True)]
    together = sum(count * loss for count, loss in zip(counts, losses, strict=True)) / sum(counts)
    torch.testing.assert_close(kind.loss(output, target), together)


@each_kind
@settings(max_examples=20, deadline=None)
@given(splits=st.lists(st.integers(1, 5), max_size=4, unique=True), backwards=st.booleans())
def test_metrics_do_not_depend_on_the_batches(kind, splits, backwards):
    output, target = sample(kind)
    together = score(kind, [(output, target)])
    bounds = [0, *sorted(splits), len(output)]
    batches = [(output[start:end], target[start:end]) for start, end in pairwise(bounds)]
    assert score(kind, batches[::-1] if backwards else batches) == pytest.approx(together, rel=1e-6)


@each_kind
def test_a_first_batch_without_valid_pixels_changes_nothing(kind):
    """A collection left to itself takes metrics with equal states, all 0 after such a batch, for one."""
    output, target = sample(kind)
    batches = [(output, invalid_like(kind, target)), (output, target)]
    assert score(kind, batches) == pytest.approx(score(kind, [(output, target)]))
    assert len(set(score(kind, batches).values())) == len(kind.metrics)


def score_in_processes(folder):
    """Every kind's metrics over three batches of which one process has two, and over one that another has alone."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    scores = {}
    for name, kind in KINDS.items():
        batches = [sample(kind, seed=seed) for seed in range(3)]
        scores[name] = score(kind, batches[rank::2])
        scores[f"{name}, one batch"] = score(kind, batches[:1] if rank else [])
    (folder / f"{rank}.json").write_text(json.dumps(scores))
    dist.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    assert processes.train(tmp_path, 2, target=score_in_processes) == [0, 0], processes.printed(tmp_path)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1]
    for name, kind in KINDS.items():
        batches = [sample(kind, seed=seed) for seed in range(3)]
        assert seen[0][name] == pytest.approx(score(kind, batches), rel=1e-6)
        assert seen[0][f"{name}, one batch"] == pytest.approx(score(kind, batches[:1]), rel=1e-6)


@each_kind
def test_metrics_start_afresh(kind):
    output, target = sample(kind)
    metrics = kind.new_metrics()
    metrics.update(kind.predict(output), target)
    first = values_of(metrics)
    metrics.reset()
    assert all(math.isnan(value) for value in values_of(metrics).values())
    metrics.update(kind.predict(output), target)
    assert values_of(metrics) == first


@each_kind
def test_one_pixel_images(kind):
    output, target = torch.ones(2, kind.outputs, 1, 1), valid_target(kind, (2, 1, 1), torch.Generator().manual_seed(0))
    kind.check(target, (1, 1))
    assert kind.loss(output, target).isfinite() and kind.count(target) == 2
    assert score(kind, [(output, target)]).keys() == kind.metrics.keys()
    assert kind.picture(kind.predict(output)[0], torch.zeros(3, 1, 1)).shape == (3, 1, 1)
    assert kind.describe(kind.predict(output)[0])


@each_kind
def test_pictures_and_descriptions(kind):
    output, target = sample(kind)
    image = torch.rand(3, 7, 9)
    prediction = kind.predict(output)
    for value in (prediction[0], target[0], target[-1]):
        picture = kind.picture(value, image)
        assert picture.shape == (3, 7, 9) and picture.dtype == torch.uint8
    assert json.loads(json.dumps(kind.describe(prediction[0]), allow_nan=False)) == kind.describe(prediction[0])


@each_kind
def test_right_targets_pass(kind):
    _, target = sample(kind)
    kind.check(target, (7, 9))
    kind.check(invalid_like(kind, target), (7, 9))


@each_kind
def test_targets_of_another_shape_or_dtype(kind):
    _, target = sample(kind)
    shape = r"\(B, 3, 7, 8\)" if target.ndim == 4 else r"\(B, 7, 8\)"
    with pytest.raises(
        ValueError, match=rf"has the shape \(6, .*7, 9\); expected is {shape}.*together with their images"
    ):
        kind.check(target, (7, 8))
    for wrong in (target[0], target[:, None]):
        with pytest.raises(ValueError, match="has the shape"):
            kind.check(wrong, (7, 9))
    with pytest.raises(ValueError, match=r"is torch.float16; expected is torch.(int64|float32): convert it with"):
        kind.check(target.half(), (7, 9))


def test_scores_wait_for_torchmetrics_until_there_is_something_to_score(python):
    code = (
        "import sys, tsbn_hub, tsbn_hub.tasks.kinds\n"
        "sys.exit(str([name for name in ('torchmetrics', 'matplotlib') if name in sys.modules]))"
    )
    done = python(code)
    assert done.stderr.strip() == "[]"
