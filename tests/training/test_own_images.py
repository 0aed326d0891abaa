"""Images as people have them: bytes train as floats do, and what is no image ends in a line that names the sample."""

import pytest
import torch
from torch.utils.data import Dataset

from tsbn_hub.training import TrainingConfig, evaluate_run, train
from tsbn_hub.training.recipe.sources import DataSource


class Toy(Dataset):
    num_classes = {"a": 3, "b": 2}

    def __init__(self, change=lambda image, at: image, size=24):
        self.change, self.size = change, size

    def __len__(self):
        return self.size

    def __getitem__(self, at):
        image = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(at))
        return {"image": self.change(image, at), "targets": {"a": at % 3, "b": at % 2}}


@pytest.fixture
def config_of(tmp_path, monkeypatch):
    def make(name="run", *, data, **changes):
        monkeypatch.setattr(DataSource, "dataset", lambda self, split: data)
        values = {"model": "test_resnet_tsbn", "epochs": 1, "batch_size": 4, "warmup_epochs": 0.0} | changes
        return TrainingConfig(data="unused", output=str(tmp_path / name), **values)

    return make


def floats(image, at):
    return image.float() / 255


def test_bytes_train_as_floats_do(config_of, tmp_path):
    scores = []
    for name, change in {
        "bytes": lambda image, at: image,
        "floats": floats,
        "array": lambda image, at: image.numpy(),
    }.items():
        config = config_of(name, data=Toy(change))
        scores.append(train(config))
        assert evaluate_run(tmp_path / name)[1] == scores[-1]
    assert scores[0] == scores[1] == scores[2]
    weights = {(tmp_path / name / "model.safetensors").read_bytes() for name in ("bytes", "floats", "array")}
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (0, lambda image: image.permute(1, 2, 0), r"\(H, W, C\); expected is \(C, H, W\)"),
        (0, lambda image: image.float(), "go from 0 to 255; expected"),
        (11, lambda image: image[:1], "An image has 1 channels; the model takes 3"),
        (11, lambda image: image / 0, "NaN or infinite"),
        (11, lambda image: image[:, :16], r"images of a batch have the shapes"),
        (11, lambda image: None, "An image is of class builtins.NoneType"),
    ],
    ids=["HWC", "0-255", "grey", "NaN", "smaller", "None"],
)
def test_what_is_no_image_ends_with_the_sample(at, change, message, config_of):
    data = Toy(lambda image, index: change(image) if at in (0, index) else floats(image, index))
    with pytest.raises(ValueError, match=message) as error:
        train(config_of(data=data))
    (note,) = error.value.__notes__
    assert (
        note.startswith("This was sample ")
        and note.endswith(" of Toy.")
        and (at == 0 or "of a batch" in message or " 11 " in note)
    )
