"""Attributes against scikit-learn and closed forms."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss
from torchmetrics.classification import MultilabelAccuracy, MultilabelAveragePrecision, MultilabelF1Score

from tsbn_hub.tasks import Kind
from tsbn_hub.tasks.kinds.attributes import Attributes

from .test_classification import IMAGE, score


def data(images=150, attributes=4, unknown=0.2):
    """Of the attributes the first is rare, and the last is unknown for nobody."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.linspace(0.05, 0.6, attributes)
    present = torch.rand(images, attributes, generator=generator) < shares
    output = torch.randn(images, attributes, generator=generator) + 2 * present - 1
    target = present.long()
    hidden = torch.rand(images, attributes, generator=generator) < unknown
    hidden[:, -1] = False
    target[hidden] = -100
    return output, target


def by_scikit_learn(output, target):
    """The averages over attributes, each over its known images; what is undefined is left out."""
    accuracies, f1s, precisions = [], [], []
    predictions = (output > 0).long().where(target != -100, 0)  # what is not known is made a right no
    for logits, truth in zip(output.T, target.T, strict=True):
        known = truth != -100
        if known.any():
            predicted = logits[known] > 0
            accuracies.append(accuracy_score(truth[known], predicted))
            f1s.append(f1_score(truth[known], predicted, zero_division=math.nan))
        if (truth == 1).any():
            precisions.append(average_precision_score(truth[known], logits[known].sigmoid()))
    defined = [each for each in f1s if not math.isnan(each)]
    micro, sample = (
        f1_score(target.clamp(min=0), predictions, average=average, zero_division=math.nan)
        for average in ("micro", "samples")
    )
    return {
        "accuracy": sum(accuracies) / len(accuracies) if accuracies else math.nan,
        "f1": sum(defined) / len(defined) if defined else math.nan,
        "micro_f1": micro,
        "sample_f1": sample,
        "map": sum(precisions) / len(precisions) if precisions else math.nan,
    }


def test_what_it_says_of_itself():
    task = Attributes(3, labels=["smiling", "hat", "young"])
    assert isinstance(task, Kind)
    assert (task.outputs, task.num_classes, task.dense, task.head, task.missing) == (3, 3, False, "linear", -100)
    assert task.primary == task.chosen_by == "accuracy" and Attributes(2).labels == ["0", "1"]
    assert {name: metric.higher_is_better for name, metric in task.new_metrics().items()} == task.metrics
    with pytest.raises(ValueError, match="num_classes=2, but there are 3 labels"):
        Attributes(2, labels=["smiling", "hat", "young"])


def test_the_loss_and_its_gradient_by_scikit_learn_and_in_closed_form():
    output, target = data()
    output.requires_grad_()
    task, known = Attributes(4), target != -100
    loss = task.loss(output, target)
    loss.backward()
    probabilities = output.detach().sigmoid()
    assert loss.item() == pytest.approx(log_loss(target[known], probabilities[known].double()))
    torch.testing.assert_close(output.grad, (probabilities - target) * known / known.sum())
    assert task.count(target) == known.sum() < target.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_no_target_at_all(dtype):
    task, output = Attributes(3), torch.randn(4, 3).to(dtype).requires_grad_()
    target = torch.full((4, 3), -100)
    task.check(target, (8, 8))
    loss = task.loss(output, target)
    loss.backward()
    assert loss == 0 and task.count(target) == 0 and output.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    task, (output, target) = Attributes(4), data()
    output = output.to(dtype)
    assert torch.equal(task.loss(output, target), task.loss(output.float(), target))
    assert torch.equal(task.predict(output), output.float().sigmoid())


@pytest.mark.parametrize("batch_size", [1, 7, 150])
def test_the_metrics_by_scikit_learn_however_the_data_set_is_split(batch_size):
    output, target = data()
    expected = by_scikit_learn(output, target)
    assert expected["f1"] < expected["accuracy"] < 0.95
    assert score(Attributes(4), output, target, batch_size) == pytest.approx(expected)


def test_the_metrics_by_torchmetrics_where_all_is_defined():
    output, target = data()
    theirs = {
        name: metric(4, average=average, ignore_index=-100)(output.sigmoid(), target).item()
        for name, metric, average in (
            ("accuracy", MultilabelAccuracy, "macro"),
            ("f1", MultilabelF1Score, "macro"),
            ("micro_f1", MultilabelF1Score, "micro"),
            ("map", MultilabelAveragePrecision, "macro"),
        )
    }
    mine = score(Attributes(4), output, target)
    assert {name: mine[name] for name in theirs} == pytest.approx(theirs)


def test_attributes_that_are_never_known_or_never_present():
    output, target = data()
    target[:, 0] = -100
    target[:, 1], output[:, 1] = 0, -1.0
    mine = score(Attributes(4), output, target)
    assert mine == pytest.approx(by_scikit_learn(output, target))
    # Averaged over 3 attributes and over 2: torchmetrics counts the others as 0.
    others = torch.stack([MultilabelAccuracy(4, average="none", ignore_index=-100)(output.sigmoid(), target)])
    assert mine["accuracy"] == pytest.approx(others.sum().item() / 3) and others[0, 0] == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.sampled_from([0, 1, -100])] * 3, *[st.sampled_from([-1.0, 1.0])] * 3), min_size=1, max_size=8
    )
)
def test_any_targets_by_scikit_learn(rows):
    table = torch.tensor(rows)
    output, target = table[:, 3:], table[:, :3].long()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = by_scikit_learn(output, target)
        assert score(Attributes(3), output, target, 3) == pytest.approx(expected, nan_ok=True)


def test_the_metrics_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(value.isnan() for value in Attributes(3).new_metrics().compute().values())


def test_processes_add_up():
    output, target = data()
    task, parts = Attributes(4), []
    for rows in (slice(0, 110), slice(110, 150)):
        parts.append(task.new_metrics())
        parts[-1].update(task.predict(output[rows]), target[rows])
    for name, expected in score(task, output, target).items():
        parts[0][name].merge_state(parts[1][name])
        assert parts[0][name].compute() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([[1, -1, 2]]), r"the values \[-1, 2\]. Known are 0 \(absent\).*\(target \+ 1\) // 2.* -100"),
        (torch.tensor([[1.0, 0.0, 1.0]]), r"is int64 \(B, 3\); this one is torch.float32 \(1, 3\).*\.long\(\)"),
        (torch.tensor([[1, 0]]), r"3 attributes.*torch.int64 \(1, 2\)"),
        (torch.tensor([1, 0, 1]), r"torch.int64 \(3,\).*\[:, None\]"),
    ],
)
def test_bad_targets(target, message):
    with pytest.raises(ValueError, match=message):
        Attributes(3).check(target, (8, 8))
    Attributes(3).check(torch.tensor([[1, 0, -100]]), (8, 8))


def test_describe():
    described = Attributes(3, labels=["smiling", "hat", "young"]).describe(torch.tensor([0.75, 0.25, 1.0]))
    assert described == {"present": ["young", "smiling"], "scores": {"smiling": 0.75, "hat": 0.25, "young": 1.0}}
    assert Attributes(1).describe(torch.tensor([0.5])) == {"present": [], "scores": {"0": 0.5}}


def test_what_is_above_its_threshold_is_present():
    output, target = data()
    thresholds = [0.2, 0.5, 0.7, 0.35]
    tuned = Attributes(4, thresholds=thresholds)
    # The same answers as of logits that are shifted by the thresholds' logits.
    shifted = output - torch.tensor(thresholds).logit()
    expected, mine = by_scikit_learn(shifted, target), score(tuned, output, target)
    assert mine.pop("map") == pytest.approx(by_scikit_learn(output, target)["map"])
    assert mine == pytest.approx({name: expected[name] for name in mine}) != score(Attributes(4), output, target)
    kind = Attributes(2, labels=["smiling", "hat"], thresholds=[0.25, 0.75])
    assert kind.describe(torch.tensor([0.3, 0.7])) == {
        "present": ["smiling"],
        "scores": pytest.approx({"smiling": 0.3, "hat": 0.7}),
    }
    assert kind.caption(torch.tensor([0.3, 0.7]), torch.tensor([1, 1])) == ["1 of 2 right", "true: hat"]
    by_label = Attributes(2, labels=["smiling", "hat"], thresholds={"hat": 0.75, "smiling": 0.25})
    assert by_label.thresholds == kind.thresholds
    assert kind.present(torch.tensor([[0.25, 0.76]])).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "thresholds",
    [
        [0.5],
        [0.1, 1.5],
        [0.1, -0.1],
        [0.1, math.nan],
        [0.1, True],
        ["0.1", 0.2],
        0.5,
        "ab",
        [[0.1], [0.2]],
        {0: 0.1, 1: 2},
    ],
)
def test_thresholds_that_are_none(thresholds):
    with pytest.raises(ValueError, match=r"thresholds=.* must be a probability for each of 2, in \[0, 1\]"):
        Attributes(2, thresholds=thresholds)


def test_thresholds_of_other_labels():
    with pytest.raises(ValueError, match=r"thresholds has no label 'hta'.* 'hat'"):
        Attributes(2, labels=["smiling", "hat"], thresholds={"hta": 0.75, "smiling": 0.25})


def test_whether_to_tune_is_yes_or_no():
    with pytest.raises(ValueError, match="tune_thresholds='f1' must be true or false"):
        Attributes(2, tune_thresholds="f1")


def test_pictures(monkeypatch):
    task, written = Attributes(3, labels=["smiling", "hat", "young"]), []
    many = Attributes(10)
    assert task.picture(torch.tensor([1, 0, -100]), IMAGE).ne(128).any()
    assert task.picture(torch.tensor([0, 0, -100]), IMAGE).eq(128).all(), "nothing to write"
    monkeypatch.setattr("tsbn_hub.tasks.kinds.attributes.write_lines", lambda image, lines: written.append(lines))
    task.picture(torch.tensor([1, 0, -100]), IMAGE)
    task.picture(torch.tensor([0.75, 0.25, 1.0]), IMAGE)
    many.picture(torch.ones(10, dtype=torch.int64), IMAGE)
    assert written == [["smiling"], ["young 1.00", "smiling 0.75"], [*"01234567", "…"]]
