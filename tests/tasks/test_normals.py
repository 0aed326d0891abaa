"""Normals against numpy in double precision and angles that are known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tsbn_hub.tasks.kinds.normals import Normals


def scores(prediction, target):
    metrics = Normals().new_metrics()
    metrics.update(prediction, target)
    return {name: value.item() for name, value in metrics.compute().items()}


def turned(*degrees):
    """Vectors that many degrees from z, (1, 3, 1, W)."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()]).float()[None, :, None]


def random_normals(size, seed):
    return F.normalize(torch.randn(size, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_1_less_the_cosine():
    output = turned(0, 60, 90, 180) * torch.tensor([1.0, 0.1, 30.0, 2.0])
    assert Normals().loss(output, turned(0, 0, 0, 0)).item() == pytest.approx((0 + 0.5 + 1 + 2) / 4)


def test_metrics_agree_with_numpy():
    target = random_normals((3, 3, 31, 41), seed=0)
    prediction = F.normalize(target + 0.8 * random_normals(target.shape, seed=1), dim=1)
    invalid = torch.rand(3, 31, 41, generator=torch.Generator().manual_seed(2)) < 0.3
    target = target.masked_fill(invalid[:, None], 0)
    p, t = (each.double().movedim(1, -1)[~invalid].numpy() for each in (prediction, target))
    angles = np.degrees(np.arccos(np.clip((p * t).sum(1), -1, 1)))
    expected = {
        "mean_angle": angles.mean(),
        "within_11_25": (angles < 11.25).mean(),
        "within_22_5": (angles < 22.5).mean(),
        "within_30": (angles < 30).mean(),
    }
    found = scores(prediction, target)
    assert found.pop("median_angle") == pytest.approx(np.sort(angles)[(len(angles) - 1) // 2], abs=0.006)
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0.01 < expected["within_11_25"] < expected["within_22_5"] < expected["within_30"] < 1


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 180), st.integers(0, 1000))
def test_angles_are_precise_at_every_size(degrees, seed):
    """An arc cosine in float32 would say 0 or 0.028 degrees for 0.01, and is off by 0.02 at 0.1 and at 179.9."""
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    angle = math.radians(degrees)
    pair = torch.tensor([[math.sin(angle), 0, math.cos(angle)], [0, 0, 1]], dtype=torch.float64) @ rotation.T
    prediction, target = pair.float().view(2, 1, 3, 1, 1)
    assert scores(prediction, target)["mean_angle"] == pytest.approx(degrees, abs=2e-5)


@pytest.mark.parametrize("angles", [(3,), (1, 2, 70), (1, 2, 3, 80), (0, 0, 0, 180, 180), (180, 180)])
def test_the_median(angles):
    expected = sorted(angles)[(len(angles) - 1) // 2]
    assert scores(turned(*angles), turned(*[0] * len(angles)))["median_angle"] == pytest.approx(expected, abs=0.006)


def test_the_shares_are_of_angles_below():
    found = scores(turned(11.2, 11.3, 22.4, 22.6, 29.9, 30.1, 90, 180), turned(*[0] * 8))
    assert [found[name] for name in ("within_11_25", "within_22_5", "within_30")] == [1 / 8, 3 / 8, 5 / 8]


def test_targets_of_not_quite_unit_length():
    assert scores(turned(0), 1.009 * turned(0))["mean_angle"] == pytest.approx(0, abs=1e-5)
    assert Normals().loss(turned(0), 1.009 * turned(0)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("length", [0, 1e-7, 1e-3])
def test_a_prediction_without_length(dtype, length):
    output = (length * turned(40)).to(dtype).requires_grad_()
    loss = Normals().loss(output, turned(0))
    loss.backward()
    assert 0 <= loss <= 1 and output.grad.isfinite().all()
    assert output.grad[0, 2].item() < 0  # towards the target
    assert scores(Normals().predict(torch.zeros(1, 3, 1, 1)), turned(0))["mean_angle"] == pytest.approx(90)


def test_predictions_are_unit_vectors():
    prediction = Normals().predict((5 * turned(0, 30)).half())
    assert prediction.dtype == torch.float32
    torch.testing.assert_close(prediction, turned(0, 30), rtol=0, atol=1e-3)
    torch.testing.assert_close(prediction.norm(dim=1), torch.ones(1, 1, 2))


def test_a_prediction_that_is_not_a_number_is_no_crash():
    prediction = turned(0, 0, 0)
    prediction[..., 1:] = math.nan
    found = scores(prediction, turned(0, 0, 0))
    assert math.isnan(found["mean_angle"]) and found["within_30"] == pytest.approx(1 / 3)
    assert found["median_angle"] == pytest.approx(180, abs=0.006)


@pytest.mark.parametrize(("length", "message"), [(0.5, "of length 0.5"), (1.02, "of length 1.02"), (math.nan, "nan")])
def test_vectors_that_are_not_of_unit_length(length, message):
    target = turned(0, 20, 40)
    target[..., 1:] *= length
    with pytest.raises(ValueError, match=f"has 2 vectors.*{message}.*normalise them"):
        Normals().check(target, (1, 3))
    Normals().check(turned(0, 20, 40) * torch.tensor([1.009, 0.991, 0]), (1, 3))


def test_the_picture():
    value = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 0, 0]]).T[:, None]
    assert Normals().picture(value, torch.zeros(3, 1, 3))[:, 0].T.tolist() == [
        [255, 128, 128],
        [128, 128, 0],
        [0, 0, 0],
    ]


def test_the_description():
    (mean,) = Normals().describe(turned(-60, 60)[0]).values()
    assert mean == pytest.approx([0, 0, 0.5])
