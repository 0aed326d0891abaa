"""Cross-stitch networks and MTAN: what they compute, what they cost, and what they leave alone."""

import copy
import functools
from itertools import product

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import TimmWrapperConfig

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnConfig, TsbnForMultiTask
from tsbn_hub.analysis import model_cost
from tsbn_hub.models.outputs import outputs_by_task
from tsbn_hub.norms.execution.operations import OperationCounter
from tsbn_hub.training import idle_tasks_at_rest
from tsbn_hub.training.optimization import create_optimizer, freeze_trunk, param_groups

RIVALS = ["cross-stitch", "mtan"]
TASKS = [Task("depth", kind="depth", head="small"), Task("class", num_classes=3), Task("seg", "segmentation", 4)]
NAMES = [task.name for task in TASKS]


def build(trunk, backbone="timm/test_resnet", tasks=TASKS, trunk_args=None, **kwargs):
    torch.manual_seed(0)
    model = TsbnForMultiTask.from_backbone(
        backbone, tasks, pretrained=False, trunk=trunk, trunk_args=trunk_args, **kwargs
    )
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1 and "units" not in name:  # also the norms that start at zero
                tensor.add_(0.2 * torch.randn_like(tensor))
    return model


def images(size=2):
    return torch.rand(size, 3, 64, 64, generator=torch.Generator().manual_seed(1))


# --- what they compute ---


@torch.no_grad()
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("backbone", ["timm/test_resnet", "timm/test_efficientnet"])
def test_identity_units_are_single_task_networks(backbone, per_channel):
    model, x = build("cross-stitch", backbone, trunk_args={"same": 1.0, "per_channel": per_channel}), images()
    trunk = model.tsbn
    features = trunk.features(x)
    for row, task in enumerate(NAMES):
        alone = timm.create_model(backbone.removeprefix("timm/"), num_classes=0).eval()
        alone.load_state_dict(trunk.network(row).state_dict())
        last, maps = alone.forward_intermediates(x)
        assert torch.equal(features[task].pooled, alone.forward_head(last))
        for index, each in zip(trunk.layout.indices, features[task].maps, strict=True):
            assert torch.equal(each, maps[index])
    for module in trunk.units:
        module.weight.fill_(1 / 3)
    assert not torch.allclose(trunk.features(x)["seg"].pooled, features["seg"].pooled)


@torch.no_grad()
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_cross_stitch_unit_is_equation_1(per_channel):
    unit = build("cross-stitch", trunk_args={"same": 0.8, "per_channel": per_channel}).tsbn.units[1]
    weight = unit.weight if per_channel else unit.weight[..., None]
    assert torch.allclose(weight, torch.full((3, 3, 1), 0.1) + 0.7 * torch.eye(3)[..., None])
    unit.weight.uniform_()
    maps = [torch.rand(2, 48, 4, 4) for _ in range(3)]
    weight = (unit.weight if per_channel else unit.weight[..., None]).expand(3, 3, 48)
    expected = torch.einsum("tuc,ubchw->tbchw", weight, torch.stack(maps))
    torch.testing.assert_close(torch.stack([unit(maps, task) for task in range(3)]), expected)


@torch.no_grad()
def test_mtan_is_its_equations():
    """Written out for a ResNet whose first two stages have two blocks, and the others one."""
    trunk, x = build("mtan", layers=[2, 2, 1, 1]).tsbn, images()
    network = trunk.network(0)
    outputs = trunk.features(x)
    p = network.maxpool(network.act1(network.bn1(network.conv1(x))))
    carried = dict.fromkeys(NAMES)
    for number, layer in enumerate((network.layer1, network.layer2, network.layer3, network.layer4)):
        u = layer[:-1](p) if len(layer) > 1 else layer(p)
        p = layer(p)
        for task in NAMES:
            seen = u
            if number:
                f = trunk.extractors[number - 1](carried[task])
                seen = torch.cat([u, torch.nn.functional.max_pool2d(f, 2)], dim=1)
            carried[task] = trunk.attention[number].of(task)(seen) * p
            torch.testing.assert_close(outputs[task].maps[number], carried[task])
    for task in NAMES:
        torch.testing.assert_close(outputs[task].pooled, network.forward_head(carried[task]))


@torch.no_grad()
@pytest.mark.parametrize("trunk", RIVALS)
@pytest.mark.parametrize("backbone", ["timm/test_resnet", "timm/test_efficientnet", "timm/test_convnext"])
def test_one_pass_is_a_pass_for_each_task(trunk, backbone):
    model, x = build(trunk, backbone).eval(), images(3)
    together = model(x).logits
    assert list(together) == NAMES and not torch.equal(together["depth"], together["seg"][:, :1])
    for task in NAMES:
        assert torch.equal(model(x, task=task).logits[task], together[task])
    mixed = model(x, task=["seg", "class", "seg"]).logits
    torch.testing.assert_close(mixed["seg"], together["seg"][[0, 2]])
    torch.testing.assert_close(mixed["class"], together["class"][[1]])
    odd = torch.rand(1, 3, 75, 53)  # sizes that no stride divides
    assert model(odd).logits["depth"].shape == (1, 1, 75, 53)


# --- what they cost ---

# Of ResNet-50 with DeepLab heads, 288x384, output stride 8: millions of parameters, and all FLOPs over hard sharing's.
TABLE = {(3, "mtan"): (92.35, 1.56), (3, "cross-stitch"): (118.9, 1.68), (3, "tsbn"): (71.9, 1.0)}
TABLE |= {(5, "mtan"): (None, 1.65), (5, "cross-stitch"): (None, 1.95)}


@functools.cache
def cost_of(trunk, tasks):
    kinds = [("segmentation", 13), ("depth", None), ("normals", None), ("segmentation", 13), ("depth", None)]
    described = [Task(f"t{at}", kind, classes, head="deeplabv3") for at, (kind, classes) in enumerate(kinds[:tasks])]
    wrapper = {"architecture": "resnet50", "num_classes": 0, "model_args": {"output_stride": 8}}
    with torch.device("meta"):
        config = TsbnConfig(TimmWrapperConfig.from_dict(wrapper), described, norm="shared", trunk=trunk)
        model = TsbnForMultiTask(config).eval()
        with torch.no_grad(), OperationCounter() as counter:
            model(torch.zeros(1, 3, 288, 384))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops()


@pytest.mark.parametrize("tasks", cases_of([3, 5], [3]))
def test_the_cost_of_nyuv2(tasks):
    without, of_hard_sharing = cost_of("tsbn", tasks)
    # LibMTL's MTAN has as many: per task the masks of four stages, and three bottlenecks for all tasks.
    assert cost_of("mtan", tasks)[0] - without == tasks * 4_175_936 + 7_931_392
    for (number, trunk), (millions, ratio) in TABLE.items():
        if number == tasks:
            parameters, flops = cost_of(trunk, tasks)
            assert millions is None or parameters / 1e6 == pytest.approx(millions, abs=0.05)
            assert flops / of_hard_sharing == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("trunk", RIVALS)
def test_the_cost_table(trunk):
    model = build(trunk)
    cost = model_cost(model)
    attention = model.tsbn.attention.parameters() if trunk == "mtan" else ()  # every network serves every task
    assert [3 * task.norm_parameters for task in cost.tasks] == [sum(each.numel() for each in attention)] * 3
    assert cost.shared_parameters + sum(task.norm_parameters + task.head_parameters for task in cost.tasks) == sum(
        parameter.numel() for parameter in model.parameters()
    )


# --- training ---


def test_units_learn_faster():
    model = build("cross-stitch", trunk_args={"lr_scale": 50.0})
    groups = {group["name"]: group for group in param_groups(model, lr=0.01, weight_decay=0.1)}
    units = groups["at 50 times the rate"]
    assert [id(each) for each in units["params"]] == [id(unit.weight) for unit in model.tsbn.units]
    assert (units["lr"], units["weight_decay"]) == (0.5, 0)
    assert sum(len(group["params"]) for group in groups.values()) == len(list(model.parameters()))
    assert [group["name"] for group in param_groups(build("mtan"))] == ["weights", "biases and norms"]


def state_of(model, backward, tasks, steps=2):
    """A copy after some steps for some tasks, by one backward for all, or one for each."""
    model = copy.deepcopy(model).train()
    optimizer = create_optimizer(model, "sgd", lr=0.01, options={"momentum": 0.9})
    for step in range(steps):
        optimizer.zero_grad()
        x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(step))
        groups = [tasks] if backward == "all" else [[task] for task in tasks]
        for number, group in enumerate(groups):
            outputs = outputs_by_task(model, x, group, repeated=number > 0)
            sum(output.float().square().mean() for output in outputs.values()).backward()
        with idle_tasks_at_rest(model, optimizer, tasks):
            optimizer.step()
    return model.state_dict()


BACKWARD = [("cross-stitch", "some"), ("mtan", "all"), ("tsbn", "some")]


@pytest.mark.parametrize(("trunk", "which"), cases_of(product([*RIVALS, "tsbn"], ["all", "some"]), BACKWARD))
def test_a_backward_for_each_task_is_one_for_all(trunk, which):
    tasks = NAMES if which == "all" else ["depth", "seg"]
    model = build(trunk, norm="shared").double()
    together, apart = (state_of(model, backward, tasks) for backward in ("all", "task"))
    for name, value in together.items():
        torch.testing.assert_close(value.double(), apart[name].double(), rtol=1e-6, atol=1e-9, msg=name)
    counts = {name: int(value) for name, value in together.items() if name.endswith("num_batches_tracked")}
    for name, count in counts.items():
        if "class" in name and "network" not in name:
            assert count == (2 if "class" in tasks else 0), name
        else:
            assert count == (2 * len(tasks) if "extractors" in name else 2), name


def test_an_idle_task_rests():
    """Of MTAN attention and head; of cross-stitch networks the head: its network serves the others."""
    for trunk, own in (("mtan", ("class_attention", "class_head")), ("cross-stitch", ("class_head",))):
        model = build(trunk)
        before = copy.deepcopy(model.state_dict())
        after = state_of(model, "all", ["seg", "depth"], steps=3)
        resting = [name for name in before if any(part in name for part in own)]
        assert resting and all(torch.equal(before[name], after[name]) for name in resting)
        others = [name for name in before if name not in resting and name.endswith("weight")]
        moved = [name for name in others if not torch.equal(before[name], after[name])]
        assert len(moved) > 0.9 * len(others)


def test_labels_that_are_missing():
    """A forward with labels, as transformers' Trainer has it, leaves the tasks alone that have none."""
    model = build("mtan").train()
    before = copy.deepcopy(model.state_dict())
    out = model(images(4), labels={"seg": torch.zeros(4, 64, 64, dtype=torch.long), "depth": torch.rand(4, 64, 64) + 1})
    assert list(out.losses) == ["depth", "seg"]
    out.loss.backward()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any("class" in name for name in changed)
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if "class_" in name)


def test_a_frozen_trunk():
    model = build("mtan")
    freeze_trunk(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(any(f"{task}_" in name for task in NAMES) for name in trained)
    before = copy.deepcopy(model.state_dict())
    model.train()(images(4))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert any("attention" in name for name in moved) and all(
        any(f"{task}_" in name for task in NAMES) for name in moved
    )


# --- what is refused, and what is kept ---


@pytest.mark.parametrize("trunk", RIVALS)
def test_tasks_stay_as_they_are(trunk):
    model = build(trunk)
    for change in (lambda: model.add_task(Task("new", "depth")), lambda: model.remove_task("seg")):
        with pytest.raises(RuntimeError, match=r"is built for its tasks, \['depth', 'class', 'seg'\]"):
            change()
    assert model.tasks == NAMES and model(images()).logits.keys() == set(NAMES)
    with pytest.raises(RuntimeError, match="no plain backbone of a single task"):
        model.fold("seg")


@pytest.mark.parametrize(
    ("trunk", "args", "says"),
    [
        ("cross-stitch", {"same": 1.5}, r"same=1.5 must lie in \[0, 1\]"),
        ("cross-stitch", {"lr_scale": -1}, "lr_scale=-1 is negative"),
        ("cross-stitch", {"sane": 1}, "Did you mean 'same'"),
        ("mtan", {"reduction": 0}, "reduction=0 must be positive"),
        ("mtam", {}, "There is no trunk 'mtam'. Did you mean 'mtan'.*Known: .*cross-stitch, mtan, "),
    ],
)
def test_wrong_arguments(trunk, args, says):
    with pytest.raises(ValueError, match=says):
        build(trunk, trunk_args=args)


@torch.no_grad()
@pytest.mark.parametrize("trunk", RIVALS)
def test_through_a_folder(trunk, tmp_path):
    model, x = build(trunk).eval(), images()
    tsbn_hub.save_pretrained(model, tmp_path)
    again = tsbn_hub.from_pretrained(tmp_path).eval()
    assert again.config.trunk == trunk
    for task, logits in model(x).logits.items():
        assert torch.equal(again(x).logits[task], logits)
    plain = timm.create_model("test_resnet", num_classes=0)
    wrapper = TsbnForMultiTask.from_backbone(plain, TASKS, trunk=trunk)
    for network in wrapper.tsbn.networks.values():
        for name, value in plain.state_dict().items():
            assert torch.equal(network.timm_model.state_dict()[name], value)


def test_a_checkpoint_that_lacks_a_unit(tmp_path):
    model = build("cross-stitch")
    tsbn_hub.save_pretrained(model, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["tsbn.units.1.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks tsbn\.units\.1\.weight"):
        TsbnForMultiTask.from_pretrained(tmp_path)


def test_a_state_dict_of_another_order():
    state = build("cross-stitch").state_dict()
    other = build("cross-stitch", tasks=TASKS[::-1])
    with pytest.raises(RuntimeError, match="order"):
        other.load_state_dict(state)
