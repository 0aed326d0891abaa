"""What `evaluate` and its metrics refuse: NaN, and targets that are none. What they score is tested with the kinds."""

import math

import pytest
import timm
import torch
from torch import nn

from tsbn_hub.tasks import Classification, Regression
from tsbn_hub.training import evaluate
from tsbn_hub.training.evaluation import TaskMetrics


class Given(nn.Module):
    """Gives what it is made of, whatever it sees."""

    tasks = ["a"]

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(torch.tensor(output))

    def forward(self, images):
        return self.output


IMAGES = torch.rand(2, 3, 8, 8)


@pytest.mark.parametrize("kind", [Classification(2), Regression(2)], ids=["classification", "regression"])
def test_nan_is_no_prediction(kind):
    target = torch.tensor([0, 1]) if isinstance(kind, Classification) else torch.zeros(2, 2)
    model = Given([[1.0, math.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="What the model gives for the task 'a' is NaN"):
        evaluate(model, [{"image": IMAGES, "targets": {"a": target}}], {"a": kind})
    assert math.isnan(evaluate(model, [], {"a": kind})["a"][kind.primary])


def test_a_prediction_of_nan_is_no_missing_target():
    metrics = Regression(2).new_metrics()
    metrics.update(torch.tensor([[1.0, 2.0], [math.nan, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert {name: math.isnan(value) for name, value in metrics.compute().items()} == dict.fromkeys(metrics, True)
    metrics.reset()
    metrics.update(torch.tensor([[math.nan, 2.0], [1.0, 5.0]]), torch.tensor([[math.nan, 2.0], [2.0, 4.0]]))
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        "mae": pytest.approx(2 / 3), "rmse": pytest.approx(math.sqrt(2 / 3)), "r2": 0.5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 1, 0]), "A batch has 2 images, and 3 targets of 'a'"),
        (torch.tensor([0, 7]), r"has the classes \[7\]. Known are 0 to 1"),
        (torch.tensor([0.0, 1.0]), r"one class for each image; this one is torch.float32"),
    ],
    ids=["one more", "another class", "floats"],
)
def test_targets_that_are_none(target, message):
    with pytest.raises(ValueError, match=message):
        evaluate(
            Given([[1.0, 0.0], [0.0, 1.0]]), [{"image": IMAGES, "targets": {"a": target}}], {"a": Classification(2)}
        )


def test_who_watches_sees_what_is_scored():
    """Each batch once, in order, with the outputs of the tasks that it has targets for."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 2, "b": 3}).eval()
    kinds = {"a": Classification(2), "b": Classification(3)}
    first, second = torch.tensor([0, 1]), torch.tensor([1, 2])
    given = [{"a": first}, {}, {"b": second}, {"b": first, "a": first}]
    batches = [{"image": torch.rand(2, 3, 32, 32), "targets": targets} for targets in given]
    seen = []
    scores = evaluate(model, batches, kinds, watch=lambda *told: seen.append(told))
    assert scores == evaluate(model, batches, kinds)
    assert [sorted(outputs) for _, outputs in seen] == [["a"], [], ["b"], ["a", "b"]]
    metrics = TaskMetrics(kinds, torch.device("cpu"))
    for (batch, outputs), own in zip(seen, batches, strict=True):
        assert torch.equal(batch["image"], own["image"]) and batch["targets"].keys() == own["targets"].keys()
        for task, output in outputs.items():
            with torch.no_grad():
                torch.testing.assert_close(output, model(own["image"], task=task))
            metrics.update(task, output, batch["targets"][task])
    assert metrics.compute() == scores


def test_nobody_is_told_of_a_batch_that_cannot_be_scored():
    batches = [{"image": IMAGES, "targets": {"a": target}} for target in (torch.tensor([0, 1]), torch.tensor([0]))]
    seen = []
    with pytest.raises(ValueError, match="2 images, and 1 targets"):
        evaluate(
            Given([[1.0, 0.0], [0.0, 1.0]]), batches, {"a": Classification(2)}, watch=lambda *told: seen.append(told)
        )
    assert len(seen) == 1
