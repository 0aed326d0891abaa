"""Discriminative learning rates."""

import math
from functools import partial

import pytest
import timm
import torch
from scipy.stats import kstest
from torch import nn

import tsbn_hub
from tsbn_hub.norms import TaskBatchNorm, TaskNorm
from tsbn_hub.training.optimization import param_groups, scatter_gates

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


LAYERED = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


@pytest.mark.parametrize("layer_decay", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("architecture", LAYERED)
def test_the_scale_of_a_layer_is_timms(architecture, layer_decay):
    plain = timm.create_model(architecture)
    scales = {
        id(parameter): group["lr_scale"]
        for group in timm.optim.param_groups_layer_decay(plain, layer_decay=layer_decay)
        for parameter in group["params"]
    }
    expected = {name: scales[id(parameter)] for name, parameter in plain.named_parameters()}
    assert len(set(expected.values())) > 2 or layer_decay == 1

    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], keep_affine=True)
    groups = param_groups(model, lr=0.01, weight_decay=0.1, layer_decay=layer_decay)
    plain_groups = param_groups(model, lr=0.01, weight_decay=0.1)
    for name, parameter in model.named_parameters():
        (group,), (without,) = group_of(groups, parameter), group_of(plain_groups, parameter)
        assert group["lr"] == pytest.approx(without["lr"] * expected[name.replace("gate_logits", "weight")])
        assert group["weight_decay"] == without["weight_decay"]
        assert group["name"].startswith(without["name"])
        assert "lr_scale" not in group
        if "gate_logits" in name:
            faster = 100 if isinstance(model.get_submodule(name.removesuffix(".gate_logits")), TaskBatchNorm) else 10
            assert without["lr"] == pytest.approx(0.01 * faster)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("architecture", [*LAYERED, "coat_tiny"])  # whose parameters do not come layer by layer
def test_groups_have_a_name_of_their_own_and_come_in_order(architecture, layer_decay):
    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"])
    groups = param_groups(model, layer_decay=layer_decay)
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names)
    kinds = ["weights", "biases and norms", "gates of BatchNorms", "gates of other norms"]
    places = [(kinds.index(kind), int(layer or 0)) for kind, _, layer in (name.partition(", layer ") for name in names)]
    assert places == sorted(places)
    place = {id(parameter): position for position, parameter in enumerate(model.parameters())}
    for group in groups:
        positions = [place[id(parameter)] for parameter in group["params"]]
        assert positions == sorted(positions)


def test_layers_with_a_frozen_part_and_without_a_word_about_them():
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"])
    model.fc.requires_grad_(False)
    groups = param_groups(model, lr=1.0, layer_decay=0.5)
    assert not group_of(groups, model.fc.weight)
    (last,) = group_of(groups, model.layer4[0].conv2.weight)
    assert last["lr"] == 0.5
    net = tsbn_hub.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), tasks=["a", "b"])
    with pytest.raises(ValueError, match=r"has no group_matcher.*leave layer_decay out"):
        param_groups(net, layer_decay=0.5)
    for wrong in (0.0, -0.5, 1.1):
        with pytest.raises(ValueError, match=rf"layer_decay={wrong} must lie in \(0, 1\]"):
            param_groups(model, layer_decay=wrong)


# All that timm 1.0.31 can build on a CPU.
OPTIMIZERS = [name for name in timm.optim.list_optimizers() if not name.startswith(("bnb", "fused"))]


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_timms_optimizers_keep_our_numbers(name, layer_decay):
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"])
    ours = partial(param_groups, lr=0.01, weight_decay=0.1, layer_decay=layer_decay)
    optimizers = [
        timm.optim.create_optimizer_v2(model, opt=name, lr=0.01, weight_decay=0.3, param_group_fn=ours),
        timm.optim.create_optimizer_v2(ours(model), opt=name, lr=0.01),
    ]
    for optimizer in optimizers:
        assert len(optimizer.param_groups) == len(ours(model))
        for group, built in zip(ours(model), optimizer.param_groups, strict=True):
            assert all(built[key] == group[key] for key in ("name", "lr", "weight_decay"))
            assert [id(each) for each in built["params"]] == [id(each) for each in group["params"]]


@pytest.mark.parametrize("name", ["muon", "nmuon", "adamuon", "nadamuon"])
def test_the_gates_of_all_tasks_are_no_weight_matrix(name):
    def after_a_step(scale_of_others):
        torch.manual_seed(0)
        model = timm.create_model("test_vit_tsbn", tasks=["a", "b", "c", "d", "e", "f"], num_classes=2)
        gates = [parameter for key, parameter in model.named_parameters() if "gate_logits" in key]
        optimizer = timm.optim.create_optimizer_v2(param_groups(model, lr=0.01), opt=name, lr=0.01)
        for gate in gates:
            gate.grad = torch.randn(gate.shape)
            gate.grad[1:] *= scale_of_others
        optimizer.step()
        return torch.stack([gate.detach()[0] for gate in gates])

    assert torch.equal(after_a_step(1.0), after_a_step(-3.0))


@pytest.mark.parametrize("number", ["lr", "weight_decay", "gate_lr_scale"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_numbers_that_no_optimizer_can_use(number, value):
    with pytest.raises(ValueError, match=f"{number}={value} is (negative|not finite)"):
        tsbn_hub.param_groups(timm.create_model("test_resnet_tsbn"), **{number: value})


def test_gates_have_a_weight_decay_of_their_own():
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"])
    decays = {group["name"]: group["weight_decay"] for group in param_groups(model, gate_weight_decay=0.5)}
    assert decays == {"weights": 1e-4, "biases and norms": 0.0, "gates of BatchNorms": 0.5}


def test_scattered_gates_are_normal_by_task_and_channel_and_their_own():
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"], gate_init=0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    scatter_gates(model, 0.5)
    noise = torch.cat(
        [value - before[name] for name, value in model.state_dict().items() if name.endswith("gate_logits")], dim=1
    )
    assert kstest(noise.flatten() / 0.5, "norm").pvalue > 0.01
    assert abs(torch.corrcoef(noise)[0, 1]) < 4 / noise.shape[1] ** 0.5
    others = [name for name in before if not name.endswith("gate_logits")]
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in others)


def test_gates_that_are_not_scattered_draw_nothing():
    """Else runs with the same seed would draw other numbers after it."""
    torch.manual_seed(0)
    model, before = timm.create_model("test_resnet_tsbn", tasks=["a"]), torch.get_rng_state()
    scatter_gates(model, 0.0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_no_deviation(wrong):
    with pytest.raises(ValueError, match="must be at least 0, and finite"):
        scatter_gates(timm.create_model("test_resnet_tsbn", tasks=["a"]), wrong)
