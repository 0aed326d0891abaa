"""Saliency against scikit-learn, numpy and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score, log_loss

from tsbn_hub.tasks.kinds.saliency import Saliency


def scores(prediction, target):
    metrics = Saliency().new_metrics()
    metrics.update(prediction, target)
    return {name: value.item() for name, value in metrics.compute().items()}


def drawn(size=(5, 20, 30)):
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(size, generator=generator) < 0.4).long()
    prediction = (0.4 * target + 0.8 * torch.rand(size, generator=generator)).clamp(max=1)
    target[torch.rand(size, generator=generator) < 0.2] = -100
    return prediction, target


def test_the_loss_is_the_cross_entropy():
    prediction, target = drawn()
    valid = target != -100
    logits = prediction.clamp(0.01, 0.99).logit()
    expected = log_loss(target[valid].numpy(), logits[valid].double().sigmoid().numpy())
    assert Saliency().loss(logits[:, None], target).item() == pytest.approx(expected)


def test_the_best_f_of_scikit_learn():
    prediction, target = drawn()
    valid = target != -100
    p, t = prediction[valid].numpy(), target[valid].numpy()
    thresholds = (np.arange(1, 100) / 100).astype(np.float32)
    expected = max(fbeta_score(t, p >= at, beta=math.sqrt(0.3)) for at in thresholds)
    assert scores(prediction, target)["max_f"] == pytest.approx(expected)


def test_miou_is_a_mean_over_images_at_one_threshold():
    prediction, target = drawn()
    target[1] = -100  # no pixel
    target[2] = target[2].clamp(max=0)  # nothing salient, something predicted
    at_thresholds = []
    for at in np.linspace(0.2, 0.9, 15).astype(np.float32):
        overlaps = []
        for p, t in zip(prediction.numpy(), target.numpy(), strict=True):
            if (t != -100).any():
                predicted, true = p[t != -100] >= at, t[t != -100] == 1
                overlaps.append((predicted & true).sum() / (predicted | true).sum())
        at_thresholds.append(np.mean(overlaps))
    assert len(overlaps) == 4
    assert scores(prediction, target)["miou"] == pytest.approx(max(at_thresholds))


def test_an_image_with_nothing_to_see_and_nothing_seen():
    assert scores(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))["miou"] == 1
    assert scores(torch.ones(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))["miou"] == 0


def test_thresholds_of_miou_end_at_0_2_and_0_9():
    target = torch.tensor([[[1, 0]]])
    for probabilities, expected in [([0.2, 0.19], 1), ([0.19, 0.1], 0), ([1.0, 0.89], 1), ([1.0, 0.9], 0.5)]:
        assert scores(torch.tensor([[probabilities]]), target)["miou"] == expected


def test_probabilities_pass_no_second_sigmoid():
    """It would put every probability between 0.5 and 0.73."""
    prediction = Saliency().predict(torch.tensor([-3.0, 0.0, 3.0]).view(1, 1, 1, 3))
    assert prediction.flatten().tolist() == pytest.approx([1 / (1 + math.exp(3)), 0.5, 1 / (1 + math.exp(-3))])
    assert scores(torch.tensor([[[0.3, 0.2]]]), torch.tensor([[[1, 0]]])) == {"max_f": 1, "miou": 1}


def test_values_that_are_neither_0_nor_1():
    with pytest.raises(ValueError, match="target of saliency has the values -1, 2; expected are 0 to 1, and -100"):
        Saliency().check(torch.tensor([[[0, 1, 2, -1]]]), (1, 4))


def test_the_description():
    assert Saliency().describe(torch.tensor([[0.1, 0.9]])) == {"salient": 0.5}
