"""Depth against numpy and numbers worked out by hand."""

import numpy as np
import pytest
import torch

from tsbn_hub.tasks import Task, make_kind
from tsbn_hub.tasks.kinds.depth import Depth


def scores(prediction, target):
    metrics = Depth().new_metrics()
    metrics.update(prediction, target)
    return {name: value.item() for name, value in metrics.compute().items()}


def row(*depths):
    return torch.tensor([[depths]], dtype=torch.float32)


def test_the_loss_is_the_mean_absolute_error_of_valid_pixels():
    output = row(1, 4, 100, -1)[:, None]
    assert Depth().loss(output, row(2, 1, 0, 3)).item() == pytest.approx((1 + 3 + 4) / 3)


def test_metrics_agree_with_numpy():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(4, 30, 40, generator=generator) * 10
    target[target < 2] = 0
    prediction = (target + torch.randn(target.shape, generator=generator)).clamp(min=0)
    valid = target > 0
    p, t = prediction[valid].double().numpy(), target[valid].double().numpy()
    with np.errstate(divide="ignore"):
        ratio = np.maximum(p / t, t / p)
    expected = {
        "abs_err": np.abs(p - t).mean(),
        "rel_err": (np.abs(p - t) / t).mean(),
        "rmse": np.sqrt(((p - t) ** 2).mean()),
        "delta1": (ratio < 1.25).mean(),
    }
    assert scores(prediction, target) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("prediction", "within"), [(1.24, 1), (1.26, 0), (0.81, 1), (0.79, 0), (0.0, 0), (-1.0, 0), (-9.0, 0)]
)
def test_what_is_within_a_ratio(prediction, within):
    """A prediction of 0 or less is not, though p / t and t / p of a negative one are below any ratio."""
    assert scores(row(prediction), row(1))["delta1"] == within


def test_a_ratio_of_exactly_the_limit_is_not_within():
    assert scores(row(5), row(4))["delta1"] == 0
    assert scores(row(4), row(5))["delta1"] == 0


def test_it_is_not_a_mean_over_batches():
    metrics = Depth().new_metrics()
    metrics.update(row(2, 0, 0), row(1, 0, 0))
    metrics.update(row(1, 1, 1), row(1, 1, 1))
    assert metrics["abs_err"].compute().item() == pytest.approx(1 / 4)
    assert metrics["rmse"].compute().item() == pytest.approx(0.5)


def test_digits_last_over_a_thousand_batches():
    """A running sum in float32, of about 10 million, would be off by a hundred: it rounds each batch's 10000.1875."""
    target = torch.ones(1, 1, 10001)
    prediction = target + 1
    prediction[..., -1] = 1.1875
    metrics = Depth().new_metrics()
    for _ in range(1000):
        metrics.update(prediction, target)
    found = {name: value.item() for name, value in metrics.compute().items()}
    mean, mean_square = 10000.1875 / 10001, (10000 + 0.1875**2) / 10001
    expected = {"abs_err": mean, "rel_err": mean, "rmse": mean_square**0.5, "delta1": 1 / 10001}
    assert found == pytest.approx(expected, rel=2e-7)


def test_predictions_are_not_negative():
    prediction = Depth().predict(row(-1, 0, 2.5)[:, None].half())
    assert prediction.dtype == torch.float32
    assert prediction.tolist() == [[[0, 0, 2.5]]]


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_values_that_are_no_depths(value):
    with pytest.raises(ValueError, match=f"has 1 pixels.*the first {value}.*set these to 0"):
        Depth().check(row(1, value, 0), (1, 3))


def test_the_picture_is_bright_where_it_is_near():
    picture = Depth().picture(row(0, 1, 2, 3, 4)[0], torch.zeros(3, 1, 5))
    assert picture[:, 0, 0].tolist() == [0, 0, 0]
    luminance = torch.tensor([0.299, 0.587, 0.114]) @ picture[:, 0].float()
    assert luminance[1:].tolist() == sorted(luminance[1:].tolist(), reverse=True)
    assert picture[:, 0, 1].tolist() == [253, 231, 37] and picture[:, 0, 4].tolist() == [68, 1, 84]


def test_the_picture_has_the_colours_of_viridis():
    colormaps = pytest.importorskip("matplotlib").colormaps
    depths = torch.linspace(2, 1, 100)
    picture = Depth().picture(depths[None], torch.zeros(3, 1, 100))[:, 0].T
    theirs = 255 * colormaps["viridis"]((2 - depths).numpy())[:, :3]
    assert np.abs(picture.numpy() - theirs).max() < 20


def test_the_picture_of_one_depth_and_of_none():
    same = Depth().picture(row(3, 3, 0)[0], torch.zeros(3, 1, 3))[:, 0].T.tolist()
    assert same == [[253, 231, 37], [253, 231, 37], [0, 0, 0]]
    assert not Depth().picture(row(0, 0)[0], torch.zeros(3, 1, 2)).any()


def test_the_legend_has_the_colours_of_the_picture():
    value = row(0, 1.5, 4, 2)[0]
    legend, drawn = Depth().legend(value), Depth().picture(value, torch.zeros(3, 1, 4))[:, 0].T
    assert (legend.label, legend.low, legend.high) == ("distance in m", 1.5, 4.0)
    assert torch.equal((legend.colors[[0, -1]] * 255).round().byte(), drawn[[1, 2]])
    assert Depth().legend(row(0, 0)[0]) is None


def test_the_description():
    assert Depth().describe(row(1, 5, 2)[0]) == {"min": 1, "median": 2, "max": 5}


def test_disparity_is_drawn_near_in_bright():
    """The other way round than depth, and with its own words; all else is depth's."""
    kind, depth = make_kind(Task("d", kind="disparity")), Depth()
    value, inverse = torch.tensor([[0.0, 0.25, 0.5, 1.0]]), torch.tensor([[0.0, 4.0, 2.0, 1.0]])
    image = torch.zeros(3, 1, 4)
    drawn = kind.picture(value, image)
    assert torch.equal(drawn[..., [0, 1, 3]], depth.picture(inverse, image)[..., [0, 1, 3]])
    assert drawn[:, 0, 3].tolist() == [253, 231, 37]
    legend = kind.legend(value)
    assert (legend.label, legend.low, legend.high) == ("inverse depth in the data's unit", 0.25, 1.0)
    torch.testing.assert_close(legend.colors.flip(0), depth.legend(inverse).colors)
    assert kind.metrics == Depth.metrics
    with pytest.raises(ValueError, match=r"A target of disparity has 1 pixels that are negative"):
        kind.check(torch.tensor([[[-1.0, 1.0]]]), (1, 2))
