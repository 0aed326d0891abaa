"""What the tests of the commands share."""

import pytest
import timm
from PIL import Image

from tests.training.small_runs import write_config
from tsbn_hub import save_pretrained


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, "run", epochs=1)


@pytest.fixture
def checkpoint(tmp_path):
    save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4}), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"
