"""Code of others that looks for BatchNorms by torch's class: it finds ours, and either works or is refused."""

import copy
import warnings

import pytest
import timm
import torch
from timm.layers import convert_splitbn_model
from timm.layers import convert_sync_batchnorm as timm_convert_sync_batchnorm
from timm.utils import freeze
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.optim.swa_utils import AveragedModel, update_bn

from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, TaskNorm, convert, freeze_batch_norm

TASKS = ["second", "first"]


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))


def build(gated: str | None = None, tasks: list[str] = TASKS, **kwargs: object) -> nn.Module:
    net = convert(plain(), tasks, gated=gated, **kwargs)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
    return net


def images(step: int = 0) -> Tensor:
    torch.manual_seed(step)
    return torch.randn(4, 3, 7, 7) + step


def changed(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def statistics(net: nn.Module) -> set[str]:
    return {name for name, buffer in net.named_buffers() if "running" in name or "tracked" in name}


# --- what works ---


@pytest.mark.parametrize("gated", [None, "4"], ids=["all", "some"])
def test_update_bn(gated):
    """The statistics of each task are the averages over the data, as in its plain network."""
    net = build(gated)
    folded = {task: net.fold(task) for task in TASKS}
    averaged = AveragedModel(net)
    batches = [images(step) for step in range(3)]
    update_bn(batches, averaged)
    assert changed(averaged.module, net.state_dict()) == statistics(net)
    for task in TASKS:
        update_bn(batches, folded[task])
        own = averaged.module.fold(task)[4]
        torch.testing.assert_close(own.running_mean, folded[task][4].running_mean)
        torch.testing.assert_close(own.running_var, folded[task][4].running_var)
    assert {norm.momentum for norm in averaged.modules() if isinstance(norm, _BatchNorm)} == {0.1}


def test_update_bn_of_a_task_leaves_the_others():
    net = build()
    net.set_task("first")
    before = copy.deepcopy(net.state_dict())
    update_bn([images()], net)
    for name in statistics(net):
        value = net.state_dict()[name]
        assert torch.equal(value[0], before[name][0]) and not torch.equal(value[1], before[name][1]), name


@pytest.mark.parametrize("gated", [None, "4"], ids=["all", "some"])
def test_update_bn_leaves_frozen_statistics(gated):
    net = freeze_batch_norm(build(gated))
    before = copy.deepcopy(net.state_dict())
    update_bn([images()], net)
    assert not changed(net, before)


@pytest.mark.parametrize("gated", [None, "4"], ids=["all", "some"])
def test_a_loop_that_sets_batch_norms_to_evaluation(gated):
    net = build(gated).train()
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 2
    expected = net.eval()(images())
    for norm in norms:
        norm.eval()
    net.training = True
    before = copy.deepcopy(net.state_dict())
    for task, output in net(images()).items():
        assert torch.equal(output, expected[task])
    assert not changed(net, before)


@pytest.mark.parametrize(
    "keywords", [{}, {"keep_affine": False}, {"norm": "affine"}, {"norm": "statistics"}, {"gated": "4"}], ids=str
)
def test_a_loop_that_resets_parameters(keywords):
    net = build(**keywords)
    for norm in (net[1], net[4]):
        norm.reset_parameters()
    fresh = convert(plain(), TASKS, **keywords)
    for name, value in fresh.state_dict().items():
        assert name.startswith(("0.", "3.")) or torch.equal(net.state_dict()[name], value), name


def test_other_norms_reset_their_parameters():
    net = convert(nn.Sequential(nn.LayerNorm(4), nn.GroupNorm(2, 4, affine=False)), TASKS, gated="*", gate_init=0.8)
    fresh = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    for norm in net:
        norm.reset_parameters()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, fresh[name])


# --- what is refused ---


@pytest.mark.parametrize("gated", [None, "4"], ids=["all", "some"])
@pytest.mark.parametrize("keep_affine", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        nn.SyncBatchNorm.convert_sync_batchnorm,
        timm_convert_sync_batchnorm,
        convert_splitbn_model,
        torch.func.replace_all_batch_norm_modules_,
    ],
    ids=["torch's sync", "timm's sync", "timm's split", "torch.func"],
)
def test_converters_are_refused(change, gated, keep_affine):
    net = build(gated, keep_affine=keep_affine).eval()
    before, modules, outputs = copy.deepcopy(net.state_dict()), dict(net.named_modules()), net(images())
    with pytest.raises(RuntimeError, match=r"BatchNorm2d: its gates.*convert_sync_batchnorm.*model\.fold\(task\)"):
        change(net)
    assert dict(net.named_modules()) == modules and not changed(net, before)
    for task, output in net(images()).items():
        assert torch.equal(output, outputs[task])


@pytest.mark.parametrize("tasks", [TASKS, ["only"]], ids=["two tasks", "one task"])
@pytest.mark.parametrize("keywords", [{}, {"keep_affine": False}, {"norm": "affine"}, {"norm": "statistics"}], ids=str)
def test_a_task_norm_is_not_fused(keywords, tasks):
    """One task's statistics have a row, too: its gates would be lost without a word."""
    net = build(tasks=tasks, **keywords).eval()
    with pytest.raises(RuntimeError, match="Fold a task first"):
        fuse_conv_bn_eval(net[0], net[1])
    linear = convert(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), tasks, **keywords).eval()
    with pytest.raises(RuntimeError, match="Fold a task first"):
        fuse_linear_bn_eval(*linear)
    fuse_linear_bn_eval(*linear.fold(tasks[0]))


def test_a_shared_norm_is_fused_exactly():
    """It has one set of statistics and no gate: torch's fusion is right."""
    net = build(gated="4").eval()
    assert isinstance(net[1], SharedBatchNorm)
    expected = net(images())
    net[0], net[1] = fuse_conv_bn_eval(net[0], net[1]), nn.Identity()
    torch.testing.assert_close(net(images()), expected)


@pytest.mark.parametrize("layer", ["ConvLayer1d", "ConvLayer2d"])
def test_the_fuse_of_efficientvim_is_refused(layer):
    """It asks for torch's class alone. Called past the model, too, which blocks it."""
    layer_class = getattr(timm.models.efficientvim, layer)
    net = convert(nn.Sequential(layer_class(3, 4)), ["only"]).eval()
    for fuse in (net[0].fuse, lambda: layer_class.fuse(net[0])):
        with pytest.raises(RuntimeError, match="Fold a task first"):
            fuse()
    assert isinstance(net[0].norm, TaskBatchNorm)


# --- what cannot see ours ---


@pytest.mark.parametrize("gated", [None, "4"], ids=["all", "some"])
def test_frozen_parameters_with_moving_statistics_are_told(gated):
    net = build(gated).train()
    freeze(net)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for step in range(3):
            net(images(step))
    assert ["tsbn_hub.norms.freeze_batch_norm(model)" in str(each.message) for each in caught] == [True]


def test_nothing_is_told_where_it_is_meant():
    net, frozen = build().train(), build().train()
    freeze(frozen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(images())
        net.eval()(images())
        update_bn([images()], frozen)
        frozen.eval()(images())
        freeze_batch_norm(frozen).train()(images())
        for norm in (norm for norm in net.train().modules() if isinstance(norm, TaskNorm)):
            norm.weight.requires_grad = norm.bias.requires_grad = False  # as freeze_trunk does
        net(images())
