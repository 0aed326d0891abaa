"""norm="statistics": the running statistics of BatchNorms per task, all else shared."""

import pytest
import timm
import torch
from torch import nn

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, TaskNorm, reestimate_statistics
from tsbn_hub.training.optimization import param_groups

from .families import FAMILIES

TASKS = ["second", "first", "third"]
# BatchNorms alone; with LayerNorms beside them; with layers that fuse norms.
MIXED = ["resnet", "efficientnet", "efficientvit_msra", "efficientformer", "levit"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def randomized(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model


@torch.no_grad()
@pytest.mark.parametrize("family", cases_of(MIXED, ["resnet", "efficientnet", "levit"]))
def test_a_task_is_its_folded_plain_model(family):
    small = FAMILIES[family]
    model = randomized(small.converted(tasks=TASKS, norm="statistics")).eval()
    norms = [module for module in model.modules() if isinstance(module, TaskNorm)]
    assert norms and all(isinstance(norm, TaskBatchNorm) for norm in norms), "of other norms nothing is per task"
    assert not any(isinstance(module, SharedBatchNorm) for module in model.modules())
    x, plain = small.images(), small.plain()
    outputs = model(x)
    for task in TASKS:
        plain.load_state_dict(model.fold(task).state_dict(), strict=True)
        folded = plain.eval()(x)
        for one, other in zip(*map(torch.utils._pytree.tree_leaves, (outputs[task], folded)), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(*(torch.utils._pytree.tree_leaves(outputs[task])[0] for task in TASKS[:2]))


@torch.no_grad()
@pytest.mark.parametrize("execution", ["batched", "sequential"])
def test_every_task_starts_as_the_plain_model(execution):
    plain, x = randomized(timm.create_model("test_resnet", num_classes=5)).eval(), torch.rand(2, 3, 64, 64)
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=5, norm="statistics", execution=execution)
    model.load_state_dict(
        {name: value for name, value in plain.state_dict().items() if not name.startswith("fc.")}, strict=False
    )
    features = model.eval().forward_features
    for task in TASKS:
        with model.using_task(task):
            assert torch.equal(features(x), plain.forward_features(x))


def test_what_a_task_has_of_its_own():
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"], norm="statistics").train()
    plain = timm.create_model("test_resnet")
    assert list(model.state_dict()) == list(plain.state_dict()), "no further entry"
    assert model.bn1.weight.shape == plain.bn1.weight.shape and model.bn1.running_mean.shape == (2, 96 // 3)
    groups = param_groups(model, lr=0.01)
    assert [group["name"] for group in groups] == ["weights", "biases and norms"]
    before = model.bn1.running_mean.clone()
    model(torch.rand(4, 3, 32, 32), task="a")
    assert not torch.equal(model.bn1.running_mean[0], before[0]) and torch.equal(model.bn1.running_mean[1], before[1])
    with pytest.raises(RuntimeError, match="style 'statistics' has no gates, but running statistics per task"):
        _ = model.bn1.gates
    with pytest.raises(ValueError, match="has no gates: only norm='sigmoid'"):
        tsbn_hub.importance_matrix(model)


@torch.no_grad()
def test_tasks_come_and_go():
    model = randomized(timm.create_model("test_resnet_tsbn", tasks=["a", "b"], norm="statistics")).eval()
    x = torch.rand(2, 3, 64, 64)
    expected = {task: model(x, task=task) for task in model.tasks}
    model.add_task("new", like="b")
    model.add_task("fresh")
    assert torch.equal(model.bn1.running_mean[3], torch.zeros_like(model.bn1.running_mean[3]))
    reestimate_statistics(model, "new", [torch.rand(4, 3, 64, 64)])
    model.remove_task("b")
    assert model.tasks == ["a", "new", "fresh"]
    torch.testing.assert_close(model(x, task="a"), expected["a"], rtol=0, atol=1e-6)
    assert not torch.allclose(model(x, task="new"), expected["b"])


@torch.no_grad()
def test_through_a_folder(tmp_path):
    tasks = [Task("near", kind="depth"), Task("far", kind="depth")]
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False, norm="statistics")
    randomized(model).eval()
    tsbn_hub.save_pretrained(model, tmp_path / "model")
    again, x = tsbn_hub.from_pretrained(tmp_path / "model").eval(), torch.rand(1, 3, 64, 64)
    assert again.config.norm == "statistics"
    for task, logits in model(x).logits.items():
        assert torch.equal(again(x).logits[task], logits)
    tsbn_hub.save_task(model, "near", tmp_path / "near", base=str(tmp_path / "model"))
    tsbn_hub.load_task(again, tmp_path / "near", name="as near")
    assert torch.equal(again(x, task="as near").logits["as near"], model(x).logits["near"])


@pytest.mark.parametrize("gated", [None, "*norm*"])
def test_a_network_without_statistics_is_refused(gated):
    says = r"norm='statistics': none of the \d+ norms of this .* has running statistics.*norm=\"shared\""
    for name in ("test_vit_tsbn", "test_convnext_tsbn"):
        with pytest.raises(ValueError, match=says):
            timm.create_model(name, tasks=TASKS, norm="statistics", gated=gated)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ValueError, match=r"none of the 1 norms of this Sequential"):
        tsbn_hub.convert(plain, TASKS, norm="statistics")
