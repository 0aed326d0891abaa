"""Discriminative learning rates."""

import pytest
import timm
import torch
from torch import nn

import tsbn_hub
from tsbn_hub.norms import TaskBatchNorm, TaskNorm
from tsbn_hub.training import param_groups

ARCHITECTURES = ["test_resnet", "test_vit", "test_efficientnet", "levit_128s", "xcit_nano_12_p8_224"]


def group_of(groups, parameter):
    return [group for group in groups if any(each is parameter for each in group["params"])]


@pytest.mark.parametrize("style", [{}, {"keep_affine": True}, {"norm": "affine"}, {"norm": "shared"}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_in_one_group(architecture, style):
    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], **style)
    groups = param_groups(model, lr=0.01, weight_decay=0.1)
    for parameter in model.parameters():
        assert len(group_of(groups, parameter)) == 1
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    torch.optim.AdamW(groups)


@pytest.mark.parametrize("style", [{}, {"norm": "affine"}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gates_learn_faster_and_do_not_decay(architecture, style):
    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], **style)
    groups = param_groups(model, lr=0.01, weight_decay=0.1)
    for norm in model.modules():
        if isinstance(norm, TaskNorm):
            scale = 100 if isinstance(norm, TaskBatchNorm) else 10
            for name in norm.stacked_names():
                if isinstance(getattr(norm, name), nn.Parameter):
                    (group,) = group_of(groups, getattr(norm, name))
                    assert group["lr"] == pytest.approx(0.01 * scale) and group["weight_decay"] == 0


def test_the_rest():
    model = timm.create_model("test_vit_tsbn", tasks=["a", "b"], keep_affine=True)
    groups = param_groups(model, lr=0.01, weight_decay=0.1)
    decays = {name: group_of(groups, parameter)[0]["weight_decay"] for name, parameter in model.named_parameters()}
    assert decays["blocks.0.attn.qkv.weight"] == 0.1 and decays["head.weight"] == 0.1
    assert decays["blocks.0.attn.qkv.bias"] == decays["pos_embed"] == decays["blocks.0.norm1.weight"] == 0
    assert all(group["lr"] == 0.01 for group in groups if "gates" not in group["name"])


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_another_scale(scale):
    model = timm.create_model("levit_128s_tsbn", tasks=["a", "b"])
    groups = param_groups(model, lr=0.01, gate_lr_scale=scale)
    assert {group["lr"] for group in groups if "gates" in group["name"]} == {0.01 * scale}


def test_a_plain_and_a_frozen_model():
    plain = timm.create_model("test_resnet")
    assert [group["name"] for group in param_groups(plain)] == ["weights", "biases and norms"]
    model = timm.create_model("test_resnet_tsbn", tasks=["a"])
    model.requires_grad_(False)
    model.bn1.gate_logits.requires_grad_(True)
    (group,) = tsbn_hub.param_groups(model)
    assert group["params"] == [model.bn1.gate_logits]
    with pytest.raises(ValueError, match="no trainable parameter"):
        param_groups(model.requires_grad_(False))
    with pytest.raises(ValueError, match="lr=-1"):
        param_groups(plain, lr=-1)
