"""Losses by name in a run: from the config into the steps, the state and the checkpoint."""

import pytest

from tsbn_hub import from_pretrained
from tsbn_hub.tasks import Task, make_kind
from tsbn_hub.training import TrainingConfig, evaluate_run, train
from tsbn_hub.training.recipe.building import build_data, build_tasks
from tsbn_hub.training.state.description import OPTIONS
from tsbn_hub.training.state.run import description_of_state

from .test_units_of_regression import prices_run

BALANCED = {"class_weights": "balanced"}


@pytest.fixture
def config(tmp_path):
    losses = {"price": {"loss": {"name": "huber", "delta": 0.5}}, "bright": {"loss": BALANCED}}
    return prices_run(tmp_path, data_args={"size": 64}, kind_args=losses, epochs=1, batch_size=8)


def test_what_is_balanced_is_kept_in_the_run_and_the_checkpoint(config):
    train(config)
    kinds = from_pretrained(config.output).kinds
    weights = kinds["bright"].criterion.class_weights
    assert kinds["price"].criterion.delta == 0.5 and kinds["price"].scale[0] > 5
    # Of the training part alone: n / (2 n_0) and n / (2 n_1), which have the harmonic mean 1.
    assert weights[0] != weights[1] and 1 / weights[0] + 1 / weights[1] == pytest.approx(2)
    assert description_of_state(config.output)[OPTIONS]["bright"]["loss"]["class_weights"] == weights
    evaluate_run(config.output)


def test_a_checkpoint_goes_on_with_another_loss(config, tmp_path):
    train(config)
    further = TrainingConfig(
        checkpoint=config.output, data=config.data, data_args=config.data_args, output=str(tmp_path / "further"),
        kind_args={"price": {"loss": "mse"}}, epochs=1, batch_size=8, warmup_epochs=0,
    )  # fmt: skip
    train(further)
    assert from_pretrained(further.output).kinds["price"].scale == from_pretrained(config.output).kinds["price"].scale


def test_a_model_of_timm_is_trained_with_it(config, tmp_path):
    values = {"data": "MultiDigits", "output": str(tmp_path / "digits")}
    alone = TrainingConfig(model="test_resnet_tsbn", kind_args={"left": {"loss": "focal"}}, **values)
    (left, right) = build_tasks(alone, build_data(alone, "train"))
    assert make_kind(left).criterion.gamma == 2 and right == Task("right", num_classes=10, labels=right.labels)


@pytest.mark.parametrize(
    ("kind_args", "message"),
    [
        ({"cost": {"loss": "mse"}}, r"kind_args=\['cost'\]: .* has no \['cost'\]. It has \['price', 'bright'\]"),
        ({"price": {"loss": "dice"}}, "'price': loss='dice' is no loss of regression.*Known: huber, l1, mse"),
        ({"price": {"los": "mse"}}, "'los'. Did you mean 'loss'"),
        ({"price": "mse"}, "price has 'mse'; expected is a mapping"),
    ],
)
def test_what_is_refused_before_the_training(config, kind_args, message):
    with pytest.raises(ValueError, match=message):
        train(TrainingConfig(**{**vars(config), "kind_args": kind_args}))
