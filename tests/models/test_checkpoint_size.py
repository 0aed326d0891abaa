"""What a config asks for is held against the weights beside it, before memory or time is taken for it."""

import json
import resource
import time

import pytest
import timm
import torch
from transformers import ViTConfig, ViTModel

import tsbn_hub
from tsbn_hub import CheckpointError, Task, TsbnForMultiTask
from tsbn_hub.models.sketching import sketched


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
        pytest.param("num_hidden_layers", 10**5, "many more layers than the weights have", marks=pytest.mark.nightly),
        ("image_size", 10**5, "describes a model of"),
        ("num_hidden_layers", 10**10, "no size of a network"),
        ("window_size", 65, "no size of a network"),
        ("window_sizes", [7, 65], r"window_sizes\.1=65, which is no size of a network"),
    ],
)
def test_transformers(transformers_folder, key, value, message):
    change(transformers_folder, ("backbone_config", key), value)
    refused(transformers_folder, message)


def test_a_layout_that_is_not_there(transformers_folder):
    """It would be found by a forward, on images of the size that the config names."""
    change(transformers_folder, ("feature_layout",), None)
    refused(transformers_folder, "has no feature_layout")


def test_large_weights_in_shards(tmp_path):
    """The index counts bytes, which are more than any size of a network."""
    config = ViTConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)
    model = TsbnForMultiTask.from_backbone(config, [Task("z", num_classes=3)])
    tsbn_hub.save_pretrained(model, tmp_path, max_shard_size="1MB")
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text())["metadata"]["total_size"] > 10**6
    again = tsbn_hub.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_windows_over_which_a_backbone_was_pretrained(tmp_path):
    size = {"img_size": 64, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "pretrained_window_sizes": (8, 4)}
    model = timm.create_model("swinv2_tiny_window8_256_tsbn", num_classes=2, **size)
    tsbn_hub.save_pretrained(model, tmp_path)
    tsbn_hub.from_pretrained(tmp_path)


@pytest.mark.nightly
def test_many_tasks(transformers_folder):
    names = [f"task {number}" for number in range(2000)]
    change(transformers_folder, ("tasks",), [{"name": name, "num_classes": 2} for name in names])
    refused(transformers_folder, "many more layers|tasks|describes a model of")


def test_a_folder_that_is_right_loads(transformers_folder):
    assert tsbn_hub.from_pretrained(transformers_folder).tasks == ["z"]


def test_a_refusal_leaves_torch_as_it_was():
    """The limit is met in the midst of initialising a layer, without gradients: they would stay off for good."""

    def build():
        torch.set_default_dtype(torch.float64)
        try:
            return [torch.nn.Conv2d(1, 1, 1) for _ in range(10_000)]
        finally:
            torch.set_default_dtype(torch.float32)

    with pytest.raises(CheckpointError, match="many more layers"):
        sketched("a config", build, tensors=0)
    assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32
    with torch.no_grad():
        with pytest.raises(CheckpointError, match="many more layers"):
            sketched("a config", build, tensors=0)
        assert not torch.is_grad_enabled()
