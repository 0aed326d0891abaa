"""Edges against scikit-learn, scipy and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from sklearn.metrics import f1_score

from tsbn_hub.tasks.kinds.edges import Edges

THRESHOLDS = (np.arange(1, 100) / 100).astype(np.float32)


def ods_f(prediction, target, **keywords):
    metrics = Edges(**keywords).new_metrics()
    metrics.update(prediction, target)
    return metrics["ods_f"].compute().item()


def drawn(seed=0, size=(4, 20, 30)):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(size, generator=generator) < 0.2).long()
    prediction = (0.3 * target + torch.rand(size, generator=generator)).clamp(max=1)
    target[torch.rand(size, generator=generator) < 0.2] = -100
    return prediction, target


def test_the_loss_weighs_edges_and_the_rest():
    output, target = torch.tensor([2.0, -1.0, 0.5, 9.0]).view(1, 1, 1, 4), torch.tensor([[[1, 0, 0, -100]]])

    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    for weight in (0.95, 0.6):
        expected = -weight * math.log(sigmoid(2)) - (1 - weight) * (
            math.log(1 - sigmoid(-1)) + math.log(1 - sigmoid(0.5))
        )
        assert Edges(positive_weight=weight).loss(output, target).item() == pytest.approx(expected / 3)


def test_images_without_edges_have_a_loss():
    loss = Edges().loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
    assert loss.item() == pytest.approx(0.05 * math.log(2))


def test_without_tolerance_it_is_the_best_f1_of_scikit_learn():
    prediction, target = drawn()
    valid = target != -100
    p, t = prediction[valid].numpy(), target[valid].numpy()
    assert ods_f(prediction, target, tolerance=0) == pytest.approx(max(f1_score(t, p >= at) for at in THRESHOLDS))


@pytest.mark.parametrize("tolerance", [1, 2])
def test_with_tolerance(tolerance):
    prediction, target = drawn()
    square = np.ones((1, 2 * tolerance + 1, 2 * tolerance + 1))
    valid, true = (target != -100).numpy(), (target == 1).numpy()
    expected = []
    for at in THRESHOLDS:
        predicted = (prediction.numpy() >= at) & valid
        precision = (predicted & binary_dilation(true, square)).sum() / max(1, predicted.sum())
        recall = (true & binary_dilation(predicted, square)).sum() / true.sum()
        expected.append(2 * precision * recall / max(precision + recall, 1e-9))
    assert ods_f(prediction, target, tolerance=tolerance) == pytest.approx(max(expected))
    assert ods_f(prediction, target, tolerance=tolerance) > ods_f(prediction, target, tolerance=tolerance - 1)


def test_an_edge_that_is_one_pixel_off():
    target = torch.zeros(1, 5, 5, dtype=torch.int64)
    target[:, 2] = 1
    off = target.roll(1, dims=1).float()
    assert ods_f(off, target, tolerance=0) == 0
    assert ods_f(off, target) == 1
    assert ods_f(target.roll(2, dims=1).float(), target) == 0


def test_one_threshold_for_the_data_set():
    """The images alone would each have 1, at thresholds of their own."""
    prediction = torch.tensor([[[0.9, 0.8]], [[0.5, 0.4]]])
    target = torch.tensor([[[1, 0]], [[1, 0]]])
    assert ods_f(prediction, target, tolerance=0) == pytest.approx(4 / 5)


def test_a_probability_equal_to_a_threshold_is_above_it():
    for at in THRESHOLDS:
        prediction = torch.tensor([[[at, np.nextafter(at, np.float32(0))]]])
        assert ods_f(prediction, torch.tensor([[[1, 0]]]), tolerance=0) == 1


def test_nothing_predicted_and_nothing_to_find():
    nothing = torch.zeros(1, 3, 3)
    assert ods_f(nothing, torch.ones(1, 3, 3, dtype=torch.int64)) == 0
    for prediction in (nothing, torch.ones(1, 3, 3)):
        assert math.isnan(ods_f(prediction, nothing.long()))


def test_predictions_are_probabilities():
    prediction = Edges().predict(torch.tensor([-100.0, 0, 100]).view(1, 1, 1, 3).half())
    assert prediction.dtype == torch.float32
    assert prediction.tolist() == [[[pytest.approx(0), 0.5, 1]]]


def test_values_that_are_neither_0_nor_1():
    with pytest.raises(ValueError, match="target of edges has the values 255; expected are 0 to 1, and -100"):
        Edges().check(torch.tensor([[[0, 1, 255, -100]]]), (1, 4))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"positive_weight": 1}, "positive_weight=1 must lie between 0 and 1"),
        ({"positive_weight": 19}, "positive_weight=19"),
        (
            {"positive_weight": 0.9, "loss": "dice"},
            "positive_weight=0.9 is of the default loss, and loss='dice' is given",
        ),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"tolerance": 0.5}, "tolerance=0.5"),
    ],
)
def test_settings_that_make_no_sense(keywords, message):
    with pytest.raises(ValueError, match=message):
        Edges(**keywords)


def test_picture_and_description():
    kind = Edges()
    grey = kind.picture(torch.tensor([[0, 1, -100]]), torch.zeros(3, 1, 3))
    assert grey[:, 0].T.tolist() == [[0] * 3, [255] * 3, [128] * 3]
    assert kind.picture(torch.tensor([[0.2]]), torch.zeros(3, 1, 1)).flatten().tolist() == [51] * 3
    assert kind.describe(torch.tensor([[0.4, 0.5, 0.6, 0.7]])) == {"edge": 0.5}
