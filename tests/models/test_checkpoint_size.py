"""What a config asks for is held against the weights beside it, before memory or time is taken for it."""

import json
import resource
import time

import pytest
import timm
from transformers import ViTConfig, ViTModel

import tsbn_hub
from tsbn_hub import CheckpointError, Task, TsbnForMultiTask


@pytest.fixture
def timm_folder(tmp_path):
    tsbn_hub.save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"z": 3, "a": 5}), tmp_path)
    return tmp_path


@pytest.fixture
def transformers_folder(tmp_path):
    size = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    backbone = ViTModel(ViTConfig(patch_size=8, **size))
    tsbn_hub.save_pretrained(TsbnForMultiTask.from_backbone(backbone, [Task("z", num_classes=2)]), tmp_path)
    return tmp_path


def change(folder, path, value):
    config = json.loads((folder / "config.json").read_text())
    *parents, last = path
    inner = config
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder, message):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(CheckpointError, match=message):
        tsbn_hub.from_pretrained(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB: half a GiB
    assert time.process_time() - started < 60


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model_args", "channels"), [10**5] * 4, "describes a model of .* values, and the weights beside it are"),
        (("model_args", "layers"), [10**5] * 4, "many more layers than the weights have"),
        (("model_args", "task_classes"), [3, 10**6], "describes a model of|shape"),
        (("num_classes",), 10**9, "num_classes=1000000000, which is no size of a network"),
        (("model_args", "layers"), [10**12, 1, 1, 1], r"layers\.0=1000000000000"),
    ],
)
def test_timm(timm_folder, path, value, message):
    change(timm_folder, path, value)
    refused(timm_folder, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 2 * 10**4, "describes a model of .* values, and the weights beside it are"),
        ("num_hidden_layers", 10**5, "many more layers than the weights have"),
        ("image_size", 10**5, "describes a model of"),
        ("num_hidden_layers", 10**10, "no size of a network"),
    ],
)
def test_transformers(transformers_folder, key, value, message):
    change(transformers_folder, ("backbone_config", key), value)
    refused(transformers_folder, message)


def test_many_tasks(transformers_folder):
    names = [f"task {number}" for number in range(2000)]
    change(transformers_folder, ("tasks",), [{"name": name, "num_classes": 2} for name in names])
    refused(transformers_folder, "many more layers|tasks|describes a model of")


def test_a_folder_that_is_right_loads(transformers_folder):
    assert tsbn_hub.from_pretrained(transformers_folder).tasks == ["z"]
