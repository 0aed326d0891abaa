"""Augmentation of a run: of training samples alone, the same whatever interrupts it, and in its recipe."""

import pytest
import torch
import yaml
from accelerate import Accelerator

from tests.training.small_runs import FIRST, TRAINING, left_by, signals, write_config
from tsbn_hub.data import Mixture, Scenes
from tsbn_hub.data.augmentation import Augmentation
from tsbn_hub.data.augmentation.step import augmentations
from tsbn_hub.files.own_code import import_all
from tsbn_hub.tasks import make_kind
from tsbn_hub.training import Stopped, TrainingConfig, train
from tsbn_hub.training.loaders import Loaders

STEPS = {"flip": True, "crop": {"scale": [0.5, 1.0]}, "shift": 0.2, "blur": 0.5}
KINDS = {task.name: make_kind(task) for task in Scenes.tasks}
OWN = """
from tsbn_hub.data.augmentation import Flip, register_augmentation


@register_augmentation("mostly_flip")
class MostlyFlip(Flip):
    def __init__(self):
        super().__init__(0.9)
"""
TRIED = FIRST + 1  # samples that are read before the training: for the images' shape, and to try the augmentation


def loaders(workers=0, steps=STEPS):
    config = TrainingConfig(model="x", data="Scenes", output="x", batch_size=2, workers=workers)
    return Loaders(config, KINDS, torch.nn.Identity(), Accelerator(cpu=True), 3, Augmentation(steps, KINDS))


def flat(steps):
    """All tensors of some steps, in order."""
    return [tensor for step in steps for batch in step for tensor in (batch["image"], *batch["targets"].values())]


def test_samples_are_the_same_from_anywhere():
    """With any number of workers, and from the midst of an epoch on; other ones in other epochs."""
    data = Mixture([Scenes("train", size=8, height=24, width=32)])
    whole = flat(loaders().training_steps(data).of_epoch(3))
    assert len(whole) == 4 * 5
    for other in (
        flat(loaders(workers=2).training_steps(data).of_epoch(3)),
        flat(loaders().training_steps(data).of_epoch(3, done=1)),
        flat(loaders(workers=2).training_steps(data).of_epoch(3, done=3)),
    ):
        assert all(map(torch.equal, whole[-len(other) :], other))
    plain = flat(loaders(steps={}).training_steps(data).of_epoch(3))
    assert not any(map(torch.equal, whole, plain))
    means = [sorted(batch["image"].mean().item() for (batch,) in loaders().training_steps(data).of_epoch(epoch))
             for epoch in (3, 4)]  # fmt: skip
    assert not set(means[0]) & set(means[1])


def test_what_is_evaluated_is_not_augmented():
    data = Mixture([Scenes("test", size=4, height=24, width=32)])
    batches = list(loaders().evaluation_batches(data))
    assert torch.equal(
        torch.cat([batch["image"] for batch in batches]), torch.stack([data[at]["image"] for at in range(4)])
    )


def run_here(config, monkeypatch, environment=None):
    for name, value in (environment or signals("", at=0)).items():
        monkeypatch.setenv(name, value)
    return train(TrainingConfig.read(config))


def test_an_interrupted_run_ends_bit_for_bit(tmp_path, monkeypatch):
    """Stopped in the midst of an epoch. A step of the user's own is found by the recipe."""
    own, steps = tmp_path / "own_steps.py", STEPS | {"mostly_flip": True}
    own.write_text(OWN)
    import_all([str(own)])
    try:
        whole, parts = (write_config(tmp_path, name, epochs=1, augmentation=steps) for name in ("whole", "parts"))
        run_here(whole, monkeypatch)
        with pytest.raises(Stopped, match=r"in epoch 1, after its step \d"):
            run_here(parts, monkeypatch, signals("SIGINT", TRIED + TRAINING // 3))
        run_here(parts, monkeypatch)
        assert left_by(parts) == left_by(whole)
        recipe = yaml.safe_load((tmp_path / "whole" / "training.yaml").read_text())
        assert recipe["augmentation"] == steps and recipe["imports"] == [str(own)]
    finally:
        del augmentations._entries["mostly_flip", None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation": {"flipp": True}}, r"There is no augmentation 'flipp'. Did you mean 'flip'\?"),
        ({"augmentation": {"crop": {"scale": 2}}}, r"augmentation.crop=\{'scale': 2\}: scale=2 must be two numbers"),
        ({"augmentation": {"color": True}}, r"'color' is for images with values from 0 to 1"),
        (
            {
                "augmentation": {"rand_augment": True},
                "data": "Scenes",
                "data_args": {"size": 40, "height": 24, "width": 32},
            },
            "the targets of task 'segmentation', of kind 'segmentation', cannot follow 'rand_augment'",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(changes, message, tmp_path, monkeypatch):
    def build_model(*args, **keywords):
        raise AssertionError("A model was built.")

    monkeypatch.setattr("tsbn_hub.training.loop.build_model", build_model)
    with pytest.raises(ValueError, match=message):
        run_here(write_config(tmp_path, "run", **changes), monkeypatch)


def test_the_command_line_sets_steps_one_by_one():
    values = {"model": "x", "data": "Scenes", "output": "x", "augmentation": {"shift": 0.1}}
    config = TrainingConfig.of(values, "here", **{"augmentation.flip": True, "augmentation.crop.scale": [0.5, 1.0]})
    assert config.augmentation == {"shift": 0.1, "flip": True, "crop": {"scale": [0.5, 1.0]}}
    # A run from before there was the key had none.
    earlier = {"model": "x", "data": "Scenes", "output": "x"}
    assert TrainingConfig(**earlier).differences(earlier | {"norm": "sigmoid"}) == []
    assert config.differences(earlier | {"norm": "sigmoid"})[0].startswith("augmentation: {}, here {'shift': 0.1")
