"""What breaks other conversions of timm models (facts/timm.md): one test for each."""

import copy
from itertools import product

import pytest
import timm
import torch
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from timm.optim import create_optimizer_v2
from timm.utils import freeze, reparameterize_model, unfreeze
from torch import nn

import tsbn_hub
from tests.matrices import cases_of, diagonal
from tsbn_hub.models.timm.classifiers import TaskClassifier
from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, TaskNorm, gated_norms
from tsbn_hub.norms.kernels import is_norm

from .families import FAMILIES
from .test_families import assert_same, leaves, randomize

TASKS = ["second", "first", "third"]
FUSIONS = ("fuse", "reparameterize", "switch_to_deploy")


def build(architecture: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(f"{architecture}_tsbn", **{"tasks": TASKS, **kwargs})
    randomize(model)
    return model.eval()


def task_norms(model: nn.Module) -> dict[str, TaskNorm]:
    return {name: norm for name, norm in model.named_modules() if isinstance(norm, TaskNorm)}


def plain_batch_norms(model: nn.Module) -> list[str]:
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, TaskBatchNorm | SharedBatchNorm)
    ]


def fusions(model: nn.Module) -> dict[str, object]:
    """Every method of a part that would fuse a norm of ours."""
    return {
        f"{name}.{method}": getattr(part, method)
        for name, part in model.named_modules()
        for method in FUSIONS
        if hasattr(part, method) and any(isinstance(each, TaskNorm | SharedBatchNorm) for each in part.modules())
    }


# --- fuse, reparameterize, switch_to_deploy ---

FUSABLE = {
    "repvit_m1": 32,
    "mobileone_s0": 32,
    "repvgg_a0": 32,
    "efficientvim_m1": 32,
    "levit_128s": 224,
    "efficientvit_m0": 224,
    "fastvit_t8": 32,
    "ghostnetv3_050": 64,
    "repghostnet_050": 32,
    "lcnetv2_small": 32,
    "tiny_vit_5m_224": 32,
    "shvit_s1": 32,
    "iformer_t": 32,
    "nextvit_small": 32,
}
# Of fuse, reparameterize and switch_to_deploy each one, and two with several branches.
FUSED_EACH_DAY = ["mobileone_s0", "levit_128s", "lcnetv2_small", "iformer_t"]


@torch.no_grad()
@pytest.mark.parametrize("architecture", cases_of(FUSABLE, FUSED_EACH_DAY))
def test_fusing_is_refused_before_a_fold_and_right_after_it(architecture):
    model = build(architecture, tasks=TASKS[:2], num_classes=10)
    x = torch.randn(2, 3, FUSABLE[architecture], FUSABLE[architecture])
    before = model(x)
    for inplace in (False, True):
        with pytest.raises(RuntimeError, match=r"gates.*Fold a task first.*model\.fold"):
            reparameterize_model(model, inplace=inplace)
    methods = fusions(model)
    assert methods
    for method in methods.values():
        with pytest.raises(RuntimeError, match=r"gates.*Fold a task first"):
            method()
    assert_same(model(x), before, "after the refusals")
    for task in model.tasks:
        folded = model.fold(task)
        fused = reparameterize_model(folded)
        assert sum(is_norm(type(part)) for part in fused.modules()) < sum(is_norm(type(p)) for p in folded.modules())
        assert_same(fused(x), before[task], task, bound=1e-4)
        assert leaves(before[task])[0].std() > 1e-5, "outputs that are all alike show nothing"


@torch.no_grad()
@pytest.mark.parametrize(
    "architecture",
    cases_of(["efficientvim_m1", "mobileone_s0", "levit_128s", "lcnetv2_small"], ["levit_128s", "lcnetv2_small"]),
)
def test_fusing_beside_the_gated_norms(architecture):
    """A part whose BatchNorm is not gated is refused, too, or fused right: never silently wrong."""
    last = build(architecture, tasks=["a"]).recipe.names[-1]
    model = build(architecture, tasks=["a", "b"], gated=last)
    with pytest.raises(RuntimeError, match="Fold a task first"):
        reparameterize_model(model)
    plain, checked = model.fold("a"), 0
    for name, part in list(model.named_modules()):
        method = next((method for method in FUSIONS if hasattr(part, method)), None)
        if method is None or not any(isinstance(each, SharedBatchNorm) for each in part.modules()):
            continue
        checked += 1
        states = []
        for whole in (plain.get_submodule(name), part):
            own = copy.deepcopy(whole)
            try:
                fused = getattr(own, method)() if method == "fuse" else getattr(own, method)() or own
            except RuntimeError as error:
                assert "Fold a task first" in str(error), name
            else:
                states.append(fused.state_dict())
        if len(states) == 2:
            assert {key: tensor.shape for key, tensor in states[1].items()} == {
                key: tensor.shape for key, tensor in states[0].items()
            }, name
            assert all(torch.allclose(states[1][key], tensor) for key, tensor in states[0].items()), name
    assert checked


# --- reset_classifier builds norms anew ---

RESETTABLE = {
    "levit_128s": (224, {}),
    "efficientvit_m0": (224, {}),
    "shvit_s1": (32, {}),
    "iformer_t": (32, {}),
    "repvit_m1": (32, {}),
    "poolformerv2_s12": (32, {"gated": "*"}),
}


def gated_after_reset(architecture: str, num_classes: int, **kwargs: object) -> set[str]:
    """The norms that a plain model has after timm's reset_classifier: a second head (head_dist) may be gone."""
    plain = timm.create_model(architecture, num_classes=num_classes)
    plain.reset_classifier(5)
    return set(gated_norms(plain, **kwargs))


@pytest.mark.parametrize("architecture", cases_of(RESETTABLE, ["levit_128s", "iformer_t", "poolformerv2_s12"]))
def test_reset_classifier_keeps_task_norms(architecture):
    size, kwargs = RESETTABLE[architecture]
    model = build(architecture, **kwargs)
    names = gated_after_reset(architecture, 1000, **kwargs)
    x = torch.randn(2, 3, size, size)
    trunk = {key: tensor.clone() for key, tensor in model.state_dict().items() if not key.startswith("head")}

    def check(sizes: list[int]) -> None:
        model.eval()
        assert model.task_classes == sizes and model.num_classes == max(sizes)
        assert model._model_args["task_classes"] == sizes
        assert not plain_batch_norms(model)
        with torch.no_grad():
            outputs = model(x)
            if max(sizes):
                assert set(task_norms(model)) == names
                assert [outputs[task].shape for task in TASKS] == [(2, size) for size in sizes]
            assert_same(model.fold("third")(x), outputs["third"], "fold")
        state = model.state_dict()
        assert [key for key, tensor in trunk.items() if not torch.equal(state[key], tensor)] == []

    model.reset_classifier(5)
    check([5, 5, 5])
    model.reset_classifier({"first": 7, "third": 2})
    check([5, 7, 2])
    model.reset_classifier(0)
    check([0, 0, 0])
    model.reset_classifier({"second": 4, "first": 3, "third": 4})
    check([4, 3, 4])


@pytest.mark.parametrize("change", ["reset_classifier", "add_task"])
@pytest.mark.parametrize("architecture", ["levit_128s", "shvit_s1", "iformer_t", "repvit_m1"])
def test_a_changed_head_is_not_fused(architecture, change):
    """What is blocked when a model is built is blocked in a head that came later, too."""
    model = build(architecture, tasks=["a"], num_classes=5)
    if change == "add_task":
        model.add_task("b", num_classes=3)
    else:
        model.reset_classifier(4)
    for name, method in fusions(model).items():
        with pytest.raises(RuntimeError, match="Fold a task first"):
            method()
            pytest.fail(f"{name} did something")


@pytest.mark.parametrize("architecture", RESETTABLE)
def test_a_classifier_that_comes_later_has_task_norms(architecture):
    """A model built without a classifier is gated as one built with it, once it has one; else it cannot be reloaded."""
    _, kwargs = RESETTABLE[architecture]
    model = build(architecture, num_classes=0, **kwargs)
    model.reset_classifier(5)
    assert set(task_norms(model)) == gated_after_reset(architecture, 0, **kwargs)
    assert not plain_batch_norms(model)


@pytest.mark.parametrize("architecture", cases_of(["levit_128s", "repvit_m1"], ["levit_128s"]))
def test_reset_classifier_beside_the_gated_norms(architecture):
    """A norm of the head that is not gated is one that the tasks share, before and after."""
    first = build(architecture, tasks=["a"]).recipe.names[0]
    model = build(architecture, gated=first)
    model.reset_classifier(5)
    assert set(task_norms(model)) == {first}
    shared = {name for name, part in model.named_modules() if isinstance(part, SharedBatchNorm)}
    assert shared | {first} == gated_after_reset(architecture, 1000)


# --- set_input_size asks a norm's weight for its device ---


OF_WINDOWS = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224"]


@torch.no_grad()
@pytest.mark.parametrize(
    ("architecture", "keep_affine"),
    cases_of(product(OF_WINDOWS, [False, True]), zip(OF_WINDOWS, [False, True, False], strict=True)),
)
def test_set_input_size(architecture, keep_affine):
    small = dict(img_size=64, window_size=4, embed_dim=24, depths=(1, 1, 2, 1), num_classes=5)
    model = build(architecture, keep_affine=keep_affine, **small)
    plain = {task: model.fold(task) for task in TASKS}
    model.set_input_size((128, 96), window_size=4)
    x = torch.randn(1, 3, 128, 96)
    outputs = model(x)
    for task in TASKS:
        plain[task].set_input_size((128, 96), window_size=4)
        assert_same(outputs[task], plain[task](x), task)
        assert_same(model.fold(task)(x), outputs[task], f"fold of {task}")


# --- construction ---


PRUNED = ["efficientnet_b1_pruned", "efficientnet_b2_pruned", "efficientnet_b3_pruned", "ecaresnet50d_pruned"]


@pytest.mark.parametrize("architecture", cases_of(PRUNED, PRUNED[:1]))
def test_pruned_models_are_converted_after_pruning(architecture):
    plain = timm.create_model(architecture)
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, keep_affine=True)
    widths = {name: norm.num_features for name, norm in plain.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    assert {name: norm.gate_logits.shape for name, norm in task_norms(model).items()} == {
        name: (len(TASKS), width) for name, width in widths.items()
    }
    assert {name: norm.running_mean.shape[1] for name, norm in task_norms(model).items()} == widths
    model.load_state_dict(plain.state_dict())


def test_a_module_of_two_parents_is_converted_once():
    small = FAMILIES["coat"]
    model, plain = small.converted(tasks=TASKS), small.plain()
    places = [(name, norm) for name, norm in model.named_modules(remove_duplicate=False) if isinstance(norm, TaskNorm)]
    plain_modules = dict(plain.named_modules(remove_duplicate=False))
    for name, norm in places:
        for other_name, other in places:
            assert (norm is other) == (plain_modules[name] is plain_modules[other_name]), (name, other_name)


def test_modules_of_two_parents():
    """In both directions: shared after the conversion, and after a fold."""
    plain = nn.ModuleDict({"a": nn.Sequential(nn.BatchNorm2d(4)), "b": nn.Sequential(nn.LayerNorm(4))})
    plain["c"], plain["d"] = nn.Sequential(plain["a"][0]), plain["b"]
    model = tsbn_hub.convert(plain, TASKS, gated="*")
    assert model["a"][0] is model["c"][0] and model["b"][0] is model["d"][0]
    assert isinstance(model["a"][0], TaskBatchNorm) and isinstance(model["b"][0], TaskNorm)
    folded = model.fold("first")
    assert folded["b"] is folded["d"] and folded["b"][0] is folded["d"][0]
    assert folded["a"][0] is folded["c"][0]


def test_a_parameter_named_alpha():
    """efficientvim has one: the gates are called otherwise, and it stays as it is."""
    plain, model = timm.create_model("efficientvim_m1"), timm.create_model("efficientvim_m1_tsbn", tasks=TASKS)
    alphas = {name for name, _ in plain.named_parameters() if "alpha" in name}
    assert alphas and {name for name, _ in model.named_parameters() if "alpha" in name} == alphas


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "norm"), [("resnet10t", "layer1.0.bn2"), ("test_resnet", "layer2.0.bn3")])
def test_zero_initialised_gamma(architecture, norm):
    """Each residual block starts as the identity: that needs the shared affine."""
    plain = timm.create_model(architecture).eval()
    if architecture == "test_resnet" and not hasattr(plain.layer2[0], "bn3"):
        norm = "layer2.0.bn2"
    assert not plain.get_submodule(norm).weight.any(), "timm starts it at zero"
    x = torch.randn(2, 64, 8, 8)
    for gate_init in (0.5, 0.9):
        model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, keep_affine=True, gate_init=gate_init)
        for row in range(len(TASKS)):
            assert not model.get_submodule(norm).gated_affine(row)[0].any()
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, norm="affine")
    assert not model.get_submodule(norm).weight.any()
    converted = tsbn_hub.convert(copy.deepcopy(plain), TASKS)
    x = torch.randn(2, 3, 32, 32)
    assert_same(converted.eval()(x)["first"], plain(x), "converted")
    dropped = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, keep_affine=False)
    assert torch.equal(
        dropped.get_submodule(norm).gated_affine(0)[0], torch.full_like(plain.get_submodule(norm).weight, 0.5)
    )


# --- timm's and torch's own converters of BatchNorm ---


@torch.no_grad()
@pytest.mark.parametrize("gated", [None, "layer4.*"])
@pytest.mark.parametrize(
    "change", [convert_sync_batchnorm, nn.SyncBatchNorm.convert_sync_batchnorm], ids=["timm-sync", "torch-sync"]
)
def test_converters_of_batch_norm_are_refused(change, gated):
    model = build("test_resnet", gated=gated)
    x = torch.randn(2, 3, 32, 32)
    before, modules = model(x), dict(model.named_modules())
    with pytest.raises(RuntimeError, match=r"tsbn_hub\.norms has convert_sync_batchnorm"):
        change(model)
    assert dict(model.named_modules()) == modules
    assert_same(model(x), before, "outputs")


@torch.no_grad()
@pytest.mark.parametrize("gated", [None, "layer4.*"])
@pytest.mark.parametrize("change", [freeze_batch_norm_2d, freeze], ids=["timm-freeze-bn", "timm-freeze"])
def test_freezing_drops_no_gates(change, gated):
    model = build("test_resnet", gated=gated)
    x = torch.randn(2, 3, 32, 32)
    before, state = model(x), copy.deepcopy(model.state_dict())
    modules = {name: type(part) for name, part in model.named_modules()}
    changed = change(model)
    changed = model if changed is None else changed.eval()
    assert {name: type(part) for name, part in changed.named_modules()} == modules
    assert changed.state_dict().keys() == state.keys()
    assert_same(changed(x), before, "outputs")
    if change is freeze:
        assert not any(parameter.requires_grad for parameter in changed.parameters())
        unfreeze(changed)
        assert all(parameter.requires_grad for parameter in changed.parameters())
        assert_same(changed(x), before, "unfrozen")


# --- optimizers ---


WITH_DECAY = list(
    product(
        ["test_resnet", "test_vit", "test_convnext", "efficientvim_m1"],
        [{}, {"keep_affine": True}, {"norm": "affine"}],
        [None, 0.7],
    )
)


@pytest.mark.parametrize(("architecture", "style", "layer_decay"), cases_of(WITH_DECAY, WITH_DECAY[::5]), ids=str)
def test_no_weight_decay(architecture, style, layer_decay):
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, **style)
    plain = timm.create_model(architecture)
    own = {
        id(getattr(norm, name))
        for norm in task_norms(model).values()
        for name in ("gate_logits", "weight", "bias")
        if isinstance(getattr(norm, name), nn.Parameter) and getattr(norm, name).ndim == 2
    }
    assert len(own) >= len(task_norms(model)) > 0
    names = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    assert names <= set(model.no_weight_decay())
    assert set(getattr(plain, "no_weight_decay", set)()) <= set(model.no_weight_decay())
    optimizer = create_optimizer_v2(model, opt="adamw", lr=0.1, weight_decay=0.1, layer_decay=layer_decay)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    all_of_them = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(all_of_them) == sorted(id(p) for p in model.parameters())
    assert decayed and not decayed & own


# --- gradients ---


TRAINED = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_byobnet", "coat_tiny"]
STYLES = [{"keep_affine": True}, {"keep_affine": False}, {"norm": "affine"}]


@pytest.mark.parametrize(
    ("architecture", "style"), cases_of(product(TRAINED, STYLES), diagonal(TRAINED, STYLES)), ids=str
)
def test_every_parameter_has_a_gradient(architecture, style):
    small = next(small for small in FAMILIES.values() if small.architecture == architecture)
    torch.manual_seed(0)
    model = small.converted(num_classes={"z": 3, "a": 5}, **style).train()
    randomize(model)
    sum(leaf.square().mean() for leaf in leaves(model(small.images()))).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    for name, norm in task_norms(model).items():
        for stacked in norm.stacked_names():
            if isinstance(getattr(norm, stacked), nn.Parameter):
                gradient = getattr(norm, stacked).grad
                assert torch.isfinite(gradient).all() and gradient.any(dim=1).all(), f"{name}.{stacked}: a row is idle"
    for name, part in model.named_modules():
        if isinstance(part, TaskClassifier):
            assert part.weight.grad.any(dim=1).all(), f"{name}: a class is idle"
