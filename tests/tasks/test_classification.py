"""Classification against closed forms and scikit-learn."""

import math
import warnings

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics import MetricCollection

from tsbn_hub.tasks import Classification, Kind, Task, make_kind

IMAGE = torch.full((3, 64, 96), 0.5)


def score(task, output, target, batch_size=1000):
    metrics = task.new_metrics()
    for start in range(0, len(target), batch_size):
        batch = slice(start, start + batch_size)
        metrics.update(task.predict(output[batch]), target[batch])
    return {name: value.item() for name, value in metrics.compute().items()}


def data(images=200, classes=5):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (images,), generator=generator)
    output = torch.randn(images, classes, generator=generator)
    output[::2] += 3 * torch.nn.functional.one_hot(target[::2], classes)
    target[::7] = -100
    return output, target


def test_what_it_says_of_itself():
    task = make_kind(Task("age", num_classes=8))
    assert isinstance(task, Kind) and isinstance(task.new_metrics(), MetricCollection)
    assert (task.outputs, task.dense, task.head, task.missing) == (8, False, "linear", -100)
    assert task.primary == task.chosen_by == "accuracy" and task.metrics == {"accuracy": True}
    assert task.labels == [*"01234567"] and Classification(labels=["cat", "dog"]).num_classes == 2
    assert {name: metric.higher_is_better for name, metric in task.new_metrics().items()} == task.metrics


def test_without_the_number_of_classes():
    task = Classification()
    assert task.num_classes is None and task.labels is None
    with pytest.raises(ValueError, match="give num_classes or labels"):
        _ = task.outputs
    task.check(torch.tensor([1000, -100]), (8, 8))
    assert task.describe(torch.tensor([0.1, 0.9]))["class"] == "1"
    assert score(task, *data()) == score(Classification(5), *data())


@pytest.mark.parametrize("classes", [0, -1])
def test_classes_that_make_no_sense(classes):
    with pytest.raises(ValueError, match=f"num_classes={classes} must be at least 1"):
        Classification(classes)
    with pytest.raises(ValueError, match=r"num_classes=3, but there are 1 labels: \['cat'\]"):
        Classification(3, labels=["cat"])


def test_the_loss_and_its_gradient_by_scikit_learn_and_in_closed_form():
    output, target = data()
    output.requires_grad_()
    task, known = Classification(5), target != -100
    loss = task.loss(output, target)
    loss.backward()
    probabilities = output.detach().double().softmax(1)
    assert loss.item() == pytest.approx(log_loss(target[known], probabilities[known], labels=[*range(5)]))
    expected = (probabilities - torch.nn.functional.one_hot(target.clamp(min=0), 5)) * known[:, None] / known.sum()
    torch.testing.assert_close(output.grad, expected.float())
    assert task.count(target) == known.sum() == 171


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_no_target_at_all(dtype):
    task, output = Classification(5), torch.randn(4, 5).to(dtype).requires_grad_()
    target = torch.full((4,), -100)
    task.check(target, (8, 8))
    loss = task.loss(output, target)
    loss.backward()
    assert loss == 0 and task.count(target) == 0 and output.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    task, (output, target) = Classification(5), data()
    output = output.to(dtype)
    assert torch.equal(task.loss(output, target), task.loss(output.float(), target))
    assert task.predict(output).dtype == torch.float32
    assert torch.equal(task.predict(output), task.predict(output.float()))


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_accuracy_by_scikit_learn_however_the_data_set_is_split(batch_size):
    output, target = data()
    known = target != -100
    expected = accuracy_score(target[known], output[known].argmax(1))
    assert 0.5 < expected < 0.9
    assert score(Classification(5), output, target, batch_size) == {"accuracy": pytest.approx(expected)}


def test_the_accuracy_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(Classification(5).new_metrics().compute()["accuracy"])
        assert math.isnan(score(Classification(5), torch.randn(3, 5), torch.full((3,), -100))["accuracy"])


def test_the_accuracy_of_very_many_images():
    """More than the 2^24 up to which a float32 counts."""
    metrics = Classification(2).new_metrics()
    metrics["accuracy"].right += 2**24 + 1
    metrics["accuracy"].known += 2**24 + 1
    metrics.update(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), torch.tensor([0, 1]))
    assert metrics["accuracy"].right == 2**24 + 2 and metrics["accuracy"].known == 2**24 + 3


def test_processes_add_up():
    output, target = data()
    task, parts = Classification(5), []
    for rows in (slice(0, 150), slice(150, 200)):
        parts.append(task.new_metrics()["accuracy"])
        parts[-1].update(task.predict(output[rows]), target[rows])
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == pytest.approx(score(task, output, target)["accuracy"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 5, -1, 2]), r"the classes \[-1, 5\]. Known are 0 to 4, and -100"),
        (torch.tensor([0.0, 1.0]), r"is int64 \(B,\).*this one is torch.float32 \(2,\).*\.long\(\)"),
        (torch.eye(5).long(), r"torch.int64 \(5, 5\).*argmax"),
        (torch.tensor(3), r"torch.int64 \(\)"),
    ],
)
def test_bad_targets(target, message):
    with pytest.raises(ValueError, match=message):
        Classification(5).check(target, (8, 8))
    Classification(5).check(torch.tensor([0, 4, -100]), (8, 8))


def test_bad_targets_without_the_number_of_classes():
    with pytest.raises(ValueError, match=r"the classes \[-1\]. Known are 0 to K - 1"):
        Classification().check(torch.tensor([-1, 1000]), (8, 8))


def test_describe():
    prediction = torch.tensor([0.02, 0.5, 0.03, 0.25, 0.05, 0.15])
    described = Classification(labels=[*"abcdef"]).describe(prediction)
    assert (described["class"], described["score"]) == ("b", 0.5)
    assert [*described["scores"]] == ["b", "d", "f", "e", "c"]
    assert described["scores"] == pytest.approx({"b": 0.5, "d": 0.25, "f": 0.15, "e": 0.05, "c": 0.03})
    assert Classification(2).describe(torch.tensor([0.25, 0.75]))["scores"] == {"1": 0.75, "0": 0.25}


def test_pictures(monkeypatch):
    task, written = Classification(labels=["cat", "dog", "cow", "hen"]), []
    for value in (torch.tensor(1), torch.tensor(-100), torch.tensor([0.5, 0.25, 0.05, 0.2])):
        picture = task.picture(value, IMAGE)
        assert picture.shape == IMAGE.shape and picture.dtype == torch.uint8
        changed = picture != 128
        assert changed.any() and not changed[:, -8:].any(), "the text is in the upper part"
        monkeypatch.setattr(
            "tsbn_hub.tasks.kinds.classification.write_lines", lambda image, lines: written.append(lines)
        )
        task.picture(value, IMAGE)
        monkeypatch.undo()
    assert written == [["dog"], ["no target"], ["cat 0.50", "dog 0.25", "hen 0.20"]]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (32, 32), (33, 257)])
def test_pictures_of_any_size(size):
    image = torch.rand(3, *size)
    assert Classification(labels=["a very long name of a class"]).picture(torch.tensor(0), image).shape == image.shape
