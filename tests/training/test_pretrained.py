"""Training from pretrained weights: images are normalised as the weights were trained, in the run and after it."""

from dataclasses import replace

import pytest
import timm
import torch
from accelerate import Accelerator
from transformers import BitImageProcessor, ViTConfig, ViTModel

import tsbn_hub
from tsbn_hub.models import from_pretrained, surface_of
from tsbn_hub.models.outputs import outputs_by_task
from tsbn_hub.training import TrainingConfig, evaluate_run, train
from tsbn_hub.training.loop import Training
from tsbn_hub.training.state.signals import StopSignals

MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.25, 0.75]

OWN_DATA = '''
"""Small own data."""
import torch
from torch.utils.data import Dataset


class Tiny(Dataset):
    num_classes = {"z": 2, "a": 4}

    def __init__(self, split, channels=3):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.images = torch.rand(64, channels, 32, 32, generator=generator)
        self.images[0::2] *= 0.5  # what a model learns of it does not hold for other values

    def __len__(self):
        return 64

    def __getitem__(self, at):
        return {"image": self.images[at], "targets": {"z": torch.tensor(at % 2), "a": torch.tensor(at % 4)}}
'''


def timm_folder(folder):
    model = timm.create_model("test_resnet_tsbn", num_classes={"z": 2, "a": 4})
    tsbn_hub.save_pretrained(model, folder, data_config={"mean": MEAN, "std": STD, "input_size": (3, 64, 64)})
    return f"local-dir:{folder}"


def transformers_folder(folder):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **size)).save_pretrained(folder)
    BitImageProcessor(size={"height": 64, "width": 64}, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=[timm_folder, transformers_folder])
def config(request, tmp_path):
    (tmp_path / "tiny.py").write_text(OWN_DATA)
    return TrainingConfig(
        model=request.param(tmp_path / "pretrained"),
        data=f"{tmp_path}/tiny.py:Tiny",
        output=str(tmp_path / "run"),
        pretrained=True,
        epochs=1,
        batch_size=16,
        validation=0.25,
    )


def normalized(images):
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def accuracy(outputs, truth):
    return pytest.approx((outputs.argmax(1) == truth).double().mean().item())


def images_of_training(config):
    training = Training(config, Accelerator(), StopSignals())
    return torch.cat([batch["image"] for step in training.steps.of_epoch(1) for batch in step])


def test_the_run_sees_images_as_the_weights_were_trained(config):
    images = images_of_training(config)
    assert images.amin((0, 2, 3)).tolist() == pytest.approx([-1, -1, -1 / 6], abs=0.01)
    assert images.amax((0, 2, 3)).tolist() == pytest.approx([1, 3, 7 / 6], abs=0.01)


def test_the_checkpoint_says_so_and_is_evaluated_so(config):
    scores = train(replace(config, epochs=6, lr=1e-2))
    model = from_pretrained(config.output).eval()
    normalization = surface_of(model).normalization()
    assert (list(normalization.mean), list(normalization.std)) == (MEAN, STD)
    (source,) = config.sources()
    data = source.dataset("test")
    with torch.no_grad():
        outputs = outputs_by_task(model, normalized(data.images), model.tasks)
        of_other_images = outputs_by_task(model, data.images, model.tasks)
    truth = {task: torch.tensor([int(data[at]["targets"][task]) for at in range(64)]) for task in model.tasks}
    assert scores == {task: {"accuracy": accuracy(outputs[task], truth[task])} for task in model.tasks}
    assert any(accuracy(of_other_images[task], truth[task]) != scores[task]["accuracy"] for task in model.tasks)
    assert evaluate_run(config.output)[1] == scores


def test_from_scratch_images_stay_as_they_are(tmp_path):
    (tmp_path / "tiny.py").write_text(OWN_DATA)
    common = {"data": f"{tmp_path}/tiny.py:Tiny", "output": str(tmp_path / "run"), "batch_size": 16}
    images = images_of_training(TrainingConfig(model="test_resnet_tsbn", **common))
    assert 0 <= images.min() < 0.01 and 0.99 < images.max() <= 1


def test_grey_images_get_the_mean_over_channels(tmp_path):
    (tmp_path / "tiny.py").write_text(OWN_DATA)
    config = TrainingConfig(
        model=timm_folder(tmp_path / "pretrained"),
        data=f"{tmp_path}/tiny.py:Tiny",
        data_args={"channels": 1},
        output=str(tmp_path / "run"),
        pretrained=True,
        batch_size=16,
    )
    images = images_of_training(config)
    mean, std = sum(MEAN) / 3, sum(STD) / 3
    assert images.min().item() == pytest.approx((0 - mean) / std, abs=0.01)
    assert images.max().item() == pytest.approx((1 - mean) / std, abs=0.01)
