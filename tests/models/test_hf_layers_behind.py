"""Architectures whose …ForImageClassification has layers beside the backbone and one linear layer."""

import copy

import pytest
import torch
from torch import nn
from transformers import (
    EfficientNetConfig,
    MobileNetV1Config,
    MobileNetV2Config,
    MobileViTConfig,
    PoolFormerConfig,
    ViTMAEConfig,
)

from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask

TASKS = [Task("b", num_classes=3), Task("a", num_classes=2)]
WITH_DROPOUT = {
    "efficientnet": EfficientNetConfig(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128),
    "mobilenet_v1": MobileNetV1Config(depth_multiplier=0.1, min_depth=4, classifier_dropout_prob=0.5),
    "mobilenet_v2": MobileNetV2Config(depth_multiplier=0.1, min_depth=4),
    "mobilevit": MobileViTConfig(
        hidden_sizes=[8, 8, 12], neck_hidden_sizes=[4, 4, 8, 8, 8, 8, 16], num_attention_heads=2, image_size=64
    ),
}
WITH_A_NORM = PoolFormerConfig(depths=[1, 1, 1, 1], hidden_sizes=[4, 8, 12, 16])


def build(config: object, tasks: list[Task] = TASKS) -> TsbnForMultiTask:
    torch.manual_seed(0)
    model = TsbnForMultiTask.from_backbone(copy.deepcopy(config), tasks)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate_logits", "bias")):
                parameter.normal_()
        for norm in model.train().modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.momentum = 1.0
        model(images())
    return model.eval()


def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 3, 64, 64)


@torch.no_grad()
@pytest.mark.parametrize("name", cases_of(WITH_DROPOUT, ["mobilenet_v2", "mobilevit"]))
def test_native_dropout_follows_the_mode(name):
    model, x = build(WITH_DROPOUT[name]), images()
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p]
    assert not any(module.training for module in dropouts)
    logits = model(x).logits
    for task, one in logits.items():
        assert torch.equal(one, model(x).logits[task])
        plain = model.fold(task)
        assert type(plain).__name__.endswith("ForImageClassification")
        torch.testing.assert_close(plain(x).logits, one)
    model.train()
    assert all(module.training for module in dropouts)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    assert not torch.equal(model(x, task="a").logits["a"], model(x, task="a").logits["a"]), "as in native training"
    assert not any("behind" in name for name in model.state_dict())
    assert torch.equal(copy.deepcopy(model).eval()(x).logits["a"], logits["a"]), "a copy has its own mode"
    assert all(module.training for module in dropouts)


@torch.no_grad()
def test_a_norm_behind_the_backbone():
    """It is neither of the backbone nor of a linear head: the head stands on the backbone itself."""
    model, x = build(WITH_A_NORM), images()
    output = model(x, task="a").logits["a"]
    assert output.shape == (4, 2) and output.isfinite().all()
    plain = model.fold("a")
    assert type(plain).__name__ == "PoolFormerModel"
    pooled = plain(x).last_hidden_state.flatten(2).mean(-1)
    torch.testing.assert_close(model.fold_head("a").linear(pooled), output)


def test_tokens_that_are_not_of_all_patches():
    config = ViTMAEConfig(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, image_size=32, patch_size=8)
    with pytest.raises(ValueError, match=r"No feature map can be made .* of vit_mae.*not those of all patches"):
        build(config)
