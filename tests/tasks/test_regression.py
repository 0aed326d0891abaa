"""Regression against scikit-learn and closed forms."""

import math
import warnings

import numpy
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tsbn_hub.tasks import Kind, Task, make_kind
from tsbn_hub.tasks.kinds.regression import Regression

from .test_classification import IMAGE, score


def data(images=300, size=2, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    target = offset + torch.randn(images, size, generator=generator) * torch.arange(1, size + 1)
    output = target + torch.randn(images, size, generator=generator)
    target[::5, 0] = math.nan
    target[::7] = math.nan
    return output, target


def by_scikit_learn(output, target):
    output, target = output.double().numpy(), target.double().numpy()  # scikit-learn 1.5 takes no tensors
    known = ~numpy.isnan(target)
    flat = target[known], output[known]
    columns = [(target[rows, at], output[rows, at]) for at, rows in enumerate(known.T)]
    return {
        "mae": mean_absolute_error(*flat),
        "rmse": root_mean_squared_error(*flat),
        "r2": sum(r2_score(truth, guess) for truth, guess in columns) / len(columns),
    }


def test_what_it_says_of_itself():
    task = make_kind(Task("pose", kind="regression", kind_args={"size": 6}))
    assert isinstance(task, Kind)
    assert (task.outputs, task.num_classes, task.dense, task.head) == (6, None, False, "linear")
    assert math.isnan(task.missing) and (task.primary, task.chosen_by) == ("mae", "r2")
    assert {name: metric.higher_is_better for name, metric in task.new_metrics().items()} == task.metrics
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        Regression(0)


def test_the_loss_and_its_gradient_in_closed_form():
    output, target = data()
    output.requires_grad_()
    task, known = Regression(2), ~target.isnan()
    loss = task.loss(output, target)
    loss.backward()
    assert loss.item() == pytest.approx(mean_absolute_error(target[known], output.detach()[known]))
    torch.testing.assert_close(output.grad, (output.detach() - target).sign().nan_to_num(0) / known.sum())
    assert task.count(target) == known.sum() < target.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_no_target_at_all(dtype):
    task, output = Regression(2), torch.randn(4, 2).to(dtype).requires_grad_()
    target = torch.full((4, 2), math.nan)
    task.check(target, (8, 8))
    loss = task.loss(output, target)
    loss.backward()
    assert loss == 0 and task.count(target) == 0 and output.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    task, (output, target) = Regression(2), data(offset=1e5)
    output = output.clamp(max=6e4).to(dtype)
    assert torch.equal(task.loss(output, target), task.loss(output.float(), target)) and task.loss(output, target) < 5e4
    assert torch.equal(task.predict(output), output.float())


@pytest.mark.parametrize("offset", [0.0, 2000.0])
@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_the_metrics_by_scikit_learn_however_the_data_set_is_split(batch_size, offset):
    output, target = data(offset=offset)
    mine = score(Regression(2), output, target, batch_size)
    assert mine == pytest.approx(by_scikit_learn(output, target), rel=1e-6)
    assert mine == score(Regression(2), output, target)


def test_very_many_batches_lose_no_digits():
    """A float32 sum of 2^25 stays there, however many ones are added one by one."""
    metrics = Regression().new_metrics()
    for value in [2.0**25] + [1.0] * 1000:
        metrics.update(torch.tensor([[value]]), torch.zeros(1, 1))
    assert metrics.compute()["mae"].item() == pytest.approx((2**25 + 1000) / 1001, rel=1e-7)


def test_r2_of_known_predictions():
    target = torch.tensor([[1.0], [2.0], [6.0]])
    for output, expected in ((target, 1.0), (torch.full((3, 1), 3.0), 0.0), (-target + 6, -3.0)):
        assert score(Regression(), output, target)["r2"] == pytest.approx(expected)


@pytest.mark.parametrize("target", [[[0.1]], [[0.1]] * 10, [[0.1], [math.nan]]])
def test_r2_of_targets_that_do_not_vary(target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(Regression(), torch.rand(len(target), 1), torch.tensor(target), 3)
    assert math.isnan(found["r2"]) and found["mae"] > 0


def test_r2_leaves_out_a_number_whose_targets_do_not_vary():
    output, target = data()
    expected = score(Regression(1), output[:, :1], target[:, :1])["r2"]
    target[:, 1] = 0.1
    assert score(Regression(2), output, target)["r2"] == pytest.approx(expected)


def test_the_metrics_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(value.isnan() for value in Regression(2).new_metrics().compute().values())
        missing = torch.full((3, 2), math.nan)
        assert all(map(math.isnan, score(Regression(2), torch.rand(3, 2), missing).values()))


@pytest.mark.parametrize("first", [110, 300])
def test_processes_add_up(first):
    """Also where one of them has no batch at all: what it sends has as many dimensions as the other's."""
    output, target = data()
    metrics = [Regression(2).new_metrics() for _ in range(2)]
    for part, rows in zip(metrics, (slice(0, first), slice(first, 300)), strict=True):
        if len(target[rows]):
            part.update(output[rows], target[rows])
    sent = [torch.cat(part["r2"].values) if len(part["r2"].values) else torch.tensor([]) for part in metrics]
    assert len({each.ndim for each in sent}) == 1
    for name, expected in score(Regression(2), output, target).items():
        joined = Regression(2).new_metrics()[name]
        joined.values = torch.cat(sent)  # as torchmetrics sets it once it has gathered a state
        assert joined.compute().item() == expected


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            torch.zeros(4, 2, dtype=torch.float64),
            r"is float32 \(B, 2\); this one is torch.float64 \(4, 2\).*\.float\(\)",
        ),
        (torch.zeros(4), r"torch.float32 \(4,\).*\[:, None\]"),
        (torch.zeros(4, 3), r"torch.float32 \(4, 3\)"),
        (torch.tensor([[1.0, math.inf]]), "infinite.*NaN"),
    ],
)
def test_bad_targets(target, message):
    with pytest.raises(ValueError, match=message):
        Regression(2).check(target, (8, 8))
    Regression(2).check(torch.tensor([[1.0, math.nan]]), (8, 8))


def test_describe_and_pictures(monkeypatch):
    task, value, written = Regression(2), torch.tensor([3.14159, -1e6]), []
    assert task.describe(value) == {"values": [pytest.approx(3.14159), -1e6]}
    assert task.picture(value, IMAGE).shape == IMAGE.shape and task.picture(value, IMAGE).ne(128).any()
    monkeypatch.setattr("tsbn_hub.tasks.kinds.regression.write_lines", lambda image, lines: written.append(lines))
    task.picture(value, IMAGE)
    task.picture(torch.tensor([math.nan, 20.0]), IMAGE)
    assert written == [["3.142", "-1e+06"], ["nan", "20"]]
