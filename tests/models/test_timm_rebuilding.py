"""A folder builds what was saved, also where timm builds an architecture otherwise as soon as weights are loaded."""

from itertools import product

import pytest
import timm
import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn
from transformers import AutoModel

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask

TASKS = {"b": 3, "a": 2}


@pytest.fixture(scope="module", autouse=True)
def _architecture():
    """Of a third party, built with other activations for its weights."""

    def activated_for_weights(pretrained=False, **kwargs):
        if pretrained:
            kwargs.setdefault("act_layer", nn.SiLU)
        model_args = dict(block=BasicBlock, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
        return build_model_with_cfg(ResNet, "activated_for_weights", pretrained, **dict(model_args, **kwargs))

    register_model(activated_for_weights)
    tsbn_hub.register("activated_for_weights")


def settled(model: nn.Module) -> nn.Module:
    """With small variances, so that another eps is seen."""
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(0.3)
    return model.eval()


def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 32, 32)


def eps_of(model: nn.Module) -> set[float]:
    return {module.eps for module in model.modules() if hasattr(module, "eps")}


def activations(model: nn.Module) -> set[type]:
    return {type(module) for module in model.modules() if isinstance(module, nn.ReLU | nn.SiLU)}


@torch.no_grad()
@pytest.mark.parametrize(
    ("architecture", "as_pretrained"),
    cases_of(
        product(["fbnetc_100", "activated_for_weights"], [False, True]),
        [("fbnetc_100", True), ("activated_for_weights", False), ("activated_for_weights", True)],
    ),
)
def test_a_model_is_built_as_it_was(architecture, as_pretrained, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(f"{architecture}_tsbn", as_pretrained=as_pretrained, num_classes=TASKS)
    tsbn_hub.save_pretrained(settled(model), tmp_path)
    loaded = [tsbn_hub.from_pretrained(tmp_path), timm.create_model(f"local-dir:{tmp_path}", pretrained=True)]
    for again in loaded:
        assert eps_of(again) == eps_of(model) and activations(again) == activations(model)
        for task, output in model(images()).items():
            assert torch.equal(again.eval()(images())[task], output)
    without_weights = timm.create_model(f"local-dir:{tmp_path}")
    assert eps_of(without_weights) == eps_of(model) and activations(without_weights) == activations(model)


@torch.no_grad()
@pytest.mark.parametrize("as_pretrained", [False, True])
def test_features_are_built_as_the_model_was(as_pretrained, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("activated_for_weights_tsbn", as_pretrained=as_pretrained, num_classes=TASKS)
    tsbn_hub.save_pretrained(settled(model), tmp_path)
    features = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, features_only=True).eval()
    with model.using_task("a"):
        expected = model.forward_features(images())
    assert torch.equal(features(images())["a"][-1], expected)


@pytest.mark.parametrize("as_pretrained", [False, True])
def test_weights_for_features_are_not_left_out(as_pretrained, tmp_path):
    """Whose class is another one: it lacks the model's last norm, and timm loads by names."""
    model = timm.create_model("fbnetc_100_tsbn", as_pretrained=as_pretrained, num_classes=TASKS)
    tsbn_hub.save_pretrained(model, tmp_path)
    with pytest.raises(RuntimeError, match=r"no place for: bn2\.gate_logits"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True, features_only=True)


def test_they_do_differ():
    """Else the test above says nothing."""
    models = [timm.create_model("fbnetc_100_tsbn", as_pretrained=flag) for flag in (False, True)]
    assert [eps_of(model) for model in models] == [{1e-5}, {1e-3}]
    models = [timm.create_model("activated_for_weights_tsbn", as_pretrained=flag) for flag in (False, True)]
    assert [activations(model) for model in models] == [{nn.ReLU}, {nn.SiLU}]


@torch.no_grad()
@pytest.mark.parametrize("as_pretrained", [False, True])
def test_a_fold_is_built_as_it_was_by_timm_alone(as_pretrained, tmp_path):
    torch.manual_seed(0)
    model = settled(timm.create_model("fbnetc_100_tsbn", as_pretrained=as_pretrained, num_classes=TASKS))
    plain = model.fold("a")
    tsbn_hub.save_pretrained(plain, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert eps_of(again) == eps_of(plain) and torch.equal(again(images()), plain(images()))


def test_an_eps_that_timm_does_not_build_is_refused(tmp_path):
    plain = timm.create_model("test_resnet_tsbn", num_classes=TASKS).fold("a")
    plain.bn1.eps = 0.5
    with pytest.raises(ValueError, match=r"eps=\[1e-05, 0\.5\].*other outputs"):
        tsbn_hub.save_pretrained(plain, tmp_path)


@torch.no_grad()
def test_a_timm_backbone_in_transformers(tmp_path):
    """transformers builds it without weights, whatever it was built with."""
    torch.manual_seed(0)
    plain = settled(timm.create_model("fbnetc_100", num_classes=0, bn_eps=1e-3))
    del plain._model_args["bn_eps"]  # as after timm.create_model("fbnetc_100", pretrained=True)
    model = TsbnForMultiTask.from_backbone(plain, [Task("b", num_classes=3), Task("a", num_classes=2)])
    assert torch.equal(model.tsbn.features(images(), task="a").pooled, plain(images()))
    model.save_pretrained(tmp_path / "whole")
    again = TsbnForMultiTask.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(again(images()).logits["a"], model(images()).logits["a"])
    model.tsbn.fold("a").save_pretrained(tmp_path / "fold")
    assert eps_of(AutoModel.from_pretrained(tmp_path / "fold")) == {1e-3}
