"""A regression learns in standard units of its training targets, and speaks in the user's."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from tests.training.small_runs import SMALL
from tsbn_hub import Task, from_pretrained
from tsbn_hub.hub import write_card
from tsbn_hub.results.recording import record_run
from tsbn_hub.tasks import Regression
from tsbn_hub.training import TrainingConfig, evaluate_run, train


class Prices(Dataset):
    """The price of a picture is from 30 to 90, by its brightness. Every fifth sample has none."""

    tasks = (Task("price", kind="regression"), Task("bright", num_classes=2))

    def __init__(self, split="train", size=320, low=30.0, high=90.0):
        generator = torch.Generator().manual_seed(len(split))
        self.brightness = torch.rand(size, generator=generator)
        self.noise = torch.rand(size, 3, 32, 32, generator=generator) * 0.1
        self.prices = low + (high - low) * self.brightness

    def __len__(self):
        return len(self.prices)

    def __getitem__(self, index):
        targets = {"bright": (self.brightness[index] > 0.5).long()}
        if index % 5:
            targets["price"] = self.prices[index, None]
        return {"image": self.noise[index] + 0.9 * self.brightness[index], "targets": targets}


def prices_run(folder, **changes):
    """The config of a run on `Prices`."""
    values = {
        "model": "test_resnet_tsbn",
        "model_args": SMALL,
        "data": f"{__file__}:Prices",
        "output": str(folder / "run"),
    }
    return TrainingConfig(**{**values, "batch_size": 16, "warmup_epochs": 0, **changes})


@pytest.fixture
def config(tmp_path):
    return prices_run(tmp_path, epochs=4, lr=5e-3)


@pytest.mark.nightly
def test_prices_are_learned_and_told_in_their_units(config, capsys):
    scores = train(config)
    assert scores["price"]["r2"] > 0.5 and scores["price"]["mae"] < 12
    printed = capsys.readouterr().out
    assert "price 0." in printed.replace("mae", "") and f"{scores['price']['r2']:.4g}" in printed
    model = from_pretrained(config.output).eval()
    kind = model.kinds["price"]
    known = torch.tensor([price for at, price in enumerate(Prices().prices) if at % 5])
    assert kind.mean[0] == pytest.approx(known.mean().item(), rel=0.05)
    assert kind.scale[0] == pytest.approx(known.std().item(), rel=0.2)
    images = torch.stack([Prices("test")[index]["image"] for index in range(8)])
    with torch.no_grad():
        predicted = kind.predict(model(images).logits["price"])
        backbone, head = model.fold("price"), model.fold_head("price")
        assert predicted.min() > 20 and predicted.max() < 100
        features = model.trunk.features(images, task="price")
        assert torch.equal(head(features, (32, 32)), predicted) and type(head.head) is type(model.head("price"))
    assert backbone is not None
    _, again = evaluate_run(config.output)
    assert again == scores
    record_run(config, scores)
    write_card(config.output, model, overwrite=True)
    card = Path(config.output, "README.md").read_text()
    assert f"| r2 ↑ | {scores['price']['r2']:.4g} |" in card
    assert train(config) == scores  # it is finished, and goes on with its units


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        ([], {}),
        ([[2.0], [4.0]], {"mean": [3.0], "scale": [1.0]}),
        ([[2.0], [float("nan")], [6.0]], {"mean": [4.0], "scale": [2.0]}),
        ([[5.0], [5.0]], {"mean": [5.0], "scale": [1.0]}),
        ([[float("nan")]], {"mean": [0.0], "scale": [1.0]}),
    ],
)
def test_what_is_taken_from_targets(targets, options):
    assert Regression().options_from([torch.tensor(target) for target in targets]) == options
    assert Regression(mean=1.0).options_from([torch.tensor(target) for target in targets]) == {}


def test_the_loss_is_of_standard_units():
    generator = torch.Generator().manual_seed(0)
    target, output = torch.randn(7, 2, generator=generator) * 30 + 60, torch.randn(7, 2, generator=generator)
    target[2, 1] = torch.nan
    kind = Regression(2, mean=[60.0, 50.0], scale=[30.0, 20.0])
    standard = (target - torch.tensor([60.0, 50.0])) / torch.tensor([30.0, 20.0])
    torch.testing.assert_close(kind.loss(output, target), (output - standard).abs().nanmean())
    torch.testing.assert_close(kind.loss((standard).nan_to_num(), target), torch.tensor(0.0))
    torch.testing.assert_close(kind.predict(standard), target, equal_nan=True)


@pytest.mark.parametrize("given", [{"mean": [1.0]}, {"mean": float("inf")}, {"scale": 0.0}, {"scale": [1.0, -1.0]}])
def test_units_that_are_none(given):
    with pytest.raises(ValueError, match="must be"):
        Regression(2, **given)
