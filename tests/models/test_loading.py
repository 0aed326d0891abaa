"""Loading: a plain checkpoint keeps its function in every task; anything half-fitting is refused."""

import copy
import math
import re
from itertools import cycle, product

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import _builder
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import tsbn_hub
from tests.matrices import cases_of, diagonal
from tsbn_hub.models import TimmTaskModel
from tsbn_hub.models.timm.classifiers import TaskClassifier
from tsbn_hub.norms import TaskNorm

from .families import FAMILIES
from .test_families import assert_same, randomize

TASKS = ["second", "first", "third"]
SIZES = {
    "test_resnet": 32,
    "test_vit": 160,
    "test_efficientnet": 32,
    "test_convnext": 32,
    "test_byobnet": 32,
    "resnet10t": 32,
}
WAYS = ["file", "state_dict", "checkpoint_path", "load_state_dict"]


def build_plain(architecture: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    plain = timm.create_model(architecture, **kwargs)
    randomize(plain)
    return plain.eval()


def images(architecture: str, channels: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, channels, SIZES.get(architecture, 32), SIZES.get(architecture, 32))


def saved(model: nn.Module, folder) -> str:
    path = folder / "plain.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return str(path)


def load(architecture: str, plain: nn.Module, folder, way: str = "file", **kwargs: object) -> nn.Module:
    """A converted model with the weights of a plain one, by one of timm's ways."""
    name, kwargs = f"{architecture}_tsbn", {"tasks": TASKS, **kwargs}
    if way == "file":
        overlay = dict(file=saved(plain, folder))
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs).eval()
    if way == "state_dict":
        overlay = dict(state_dict=dict(plain.state_dict()), custom_load=False)
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs).eval()
    kwargs.setdefault("keep_affine", True)
    if way == "checkpoint_path":
        return timm.create_model(name, checkpoint_path=saved(plain, folder), **kwargs).eval()
    model = timm.create_model(name, **kwargs)
    model.load_state_dict(plain.state_dict())
    return model.eval()


def task_norms(model: nn.Module) -> dict[str, TaskNorm]:
    return {name: norm for name, norm in model.named_modules() if isinstance(norm, TaskNorm)}


def assert_unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []


@pytest.mark.parametrize(("architecture", "way"), cases_of(product(SIZES, WAYS), diagonal(SIZES, WAYS)))
def test_a_plain_checkpoint_keeps_its_function(architecture, way, tmp_path):
    plain, x = build_plain(architecture), images(architecture)
    given = copy.deepcopy(plain.state_dict())
    model = load(architecture, plain, tmp_path, way)
    assert_unchanged(plain, given)
    with torch.no_grad():
        expected = plain(x)
        for task, output in model(x).items():
            assert_same(output, expected, task)
    plain_norms = dict(plain.named_modules())
    for name, norm in task_norms(model).items():
        assert norm.gate_logits.shape[0] == len(TASKS) and not norm.gate_logits.any(), name
        for statistic, tensor in plain_norms[name].named_buffers():
            assert torch.equal(getattr(norm, statistic), tensor.expand(len(TASKS), *tensor.shape)), name
    for module in model.modules():
        if isinstance(module, TaskClassifier):
            assert module.sizes == [plain.num_classes] * len(TASKS)


INITS = [0.05, 0.3, 0.9, 0.99]


@pytest.mark.parametrize(
    ("architecture", "gate_init", "way"),
    cases_of(
        product(["test_resnet", "test_vit"], INITS, WAYS),
        [
            *product(["test_resnet"], INITS, ["load_state_dict"]),
            *zip(cycle(["test_vit", "test_resnet"]), [0.3] * len(WAYS), WAYS, strict=False),
        ],
    ),
)
def test_another_gate_init_keeps_the_function_to_rounding(architecture, gate_init, way, tmp_path):
    plain, x = build_plain(architecture), images(architecture)
    model = load(architecture, plain, tmp_path, way, gate_init=gate_init)
    for name, norm in task_norms(model).items():
        assert torch.allclose(norm.gates, torch.tensor(gate_init)), name
        plain_norm = plain.get_submodule(name)
        for row in range(len(TASKS)):
            for actual, expected in zip(norm.gated_affine(row), (plain_norm.weight, plain_norm.bias), strict=True):
                # One rounding of the quotient, one of the product, and those of a gate computed one by one or by eight.
                assert ((actual - expected).abs() <= 2 * torch.finfo(torch.float32).eps * expected.abs()).all(), name
    with torch.no_grad():
        for task, output in model(x).items():
            assert_same(output, plain(x), task, bound=2e-5)


def test_a_checkpoint_in_half_precision_is_divided_in_the_models_precision(tmp_path):
    """As in plain timm, the values of a bfloat16 file are used as they are: the division must not round them anew."""
    plain = build_plain("test_resnet").bfloat16()
    model = load("test_resnet", plain, tmp_path, gate_init=0.3)
    for name, norm in task_norms(model).items():
        expected = plain.get_submodule(name).weight.float()
        assert ((norm.gated_affine(0)[0] - expected).abs() <= 1e-6 * expected.abs()).all(), name


def test_a_plain_checkpoint_resets_trained_gates():
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS, keep_affine=True, gate_init=0.25)
    randomize(model)
    model.load_state_dict(build_plain("test_resnet").state_dict())
    for norm in task_norms(model).values():
        assert torch.equal(norm.gate_logits, torch.full_like(norm.gate_logits, math.log(0.25 / 0.75)))


@pytest.mark.parametrize("way", WAYS)
def test_task_specific_affine_starts_at_the_checkpoints(way, tmp_path):
    plain, x = build_plain("test_resnet"), images("test_resnet")
    model = load("test_resnet", plain, tmp_path, way, norm="affine")
    for name, norm in task_norms(model).items():
        assert norm.gate_logits is None
        for row in range(len(TASKS)):
            assert torch.equal(norm.weight[row], plain.get_submodule(name).weight), name
            assert torch.equal(norm.bias[row], plain.get_submodule(name).bias), name
    with torch.no_grad():
        assert_same(model(x)["third"], plain(x), "third")


# --- keep_affine ---


@pytest.mark.parametrize(
    ("pretrained", "asked", "resolved"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_keep_affine_is_resolved_and_wins_on_reload(pretrained, asked, resolved, tmp_path):
    overlay = dict(state_dict=dict(build_plain("test_resnet").state_dict())) if pretrained else None
    model = timm.create_model(
        "test_resnet_tsbn", pretrained, pretrained_cfg_overlay=overlay, tasks=TASKS, keep_affine=asked
    )
    assert model._model_args["keep_affine"] is resolved
    assert all(norm.keeps_affine is resolved for norm in task_norms(model).values())
    tsbn_hub.save_pretrained(model, tmp_path)
    for also_weights in (True, False):
        again = timm.create_model(f"local-dir:{tmp_path}", pretrained=also_weights)
        assert again._model_args["keep_affine"] is resolved
        assert all(norm.keeps_affine is resolved for norm in task_norms(again).values())
        assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_without_an_affine_a_plain_checkpoint_is_refused(architecture, strict):
    plain = build_plain(architecture)
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS)
    with pytest.raises(RuntimeError, match=r"no shared affine.*keep_affine=True"):
        model.load_state_dict(plain.state_dict(), strict=strict)


def test_without_an_affine_a_checkpoint_path_is_refused(tmp_path):
    path = saved(build_plain("test_resnet"), tmp_path)
    with pytest.raises(RuntimeError, match="keep_affine=True"):
        timm.create_model("test_resnet_tsbn", tasks=TASKS, checkpoint_path=path)


@pytest.mark.parametrize("way", WAYS)
def test_the_affine_is_dropped_where_that_was_asked_for(way, tmp_path):
    plain = build_plain("test_resnet")
    model = load("test_resnet", plain, tmp_path, way, keep_affine=False)
    for name, norm in task_norms(model).items():
        assert "weight" not in norm._parameters and norm.bias is None, name
        assert torch.equal(norm.running_mean[2], plain.get_submodule(name).running_mean), name
    assert torch.equal(model.layer1[0].conv1.weight, plain.layer1[0].conv1.weight)


# --- what does not fit ---


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_some_gates_but_not_all(architecture, strict):
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, keep_affine=True)
    other = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, keep_affine=True)
    randomize(other)
    state = other.state_dict()
    missing = list(task_norms(model))[1] + ".gate_logits"
    del state[missing]
    before = copy.deepcopy(model.state_dict())
    gates = len(task_norms(model))
    with pytest.raises(RuntimeError, match=rf"{gates - 1} of the {gates} task norms.*{missing}"):
        model.load_state_dict(state, strict=strict)
    assert_unchanged(model, before)


@pytest.mark.parametrize("norm", ["shared", "affine", "gated"])
def test_gates_that_the_model_has_no_place_for(norm):
    """timm loads with strict=False as soon as the number of classes differs: gates must not get lost there."""
    source = timm.create_model("test_vit_tsbn", tasks=TASKS, keep_affine=True)
    how = {"gated": "blocks.0.*"} if norm == "gated" else {"norm": norm}
    model = timm.create_model("test_vit_tsbn", tasks=TASKS, keep_affine=True, **how)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="gate"):
        model.load_state_dict(source.state_dict(), strict=False)
    assert_unchanged(model, before)


@pytest.mark.parametrize("way", ["file", "checkpoint_path", "load_state_dict"])
@pytest.mark.parametrize("style", ["sigmoid", "affine", "statistics"])
@pytest.mark.parametrize(("has", "wants"), [(3, 2), (2, 3), (1, 2), (2, 1)])
def test_another_number_of_tasks(has, wants, style, way, tmp_path):
    source = timm.create_model("test_resnet_tsbn", tasks=TASKS[:has], norm=style, keep_affine=True)
    with pytest.raises(RuntimeError, match=rf"checkpoint has {has} tasks.*model has {wants}: .*{TASKS[wants - 1]}"):
        load("test_resnet", source, tmp_path, way, tasks=TASKS[:wants], norm=style)


def test_another_number_of_tasks_changes_nothing():
    source = timm.create_model("test_resnet_tsbn", tasks=TASKS)
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS[:2])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="3 tasks"):
        model.load_state_dict(source.state_dict(), strict=False)
    assert_unchanged(model, before)


@pytest.mark.parametrize("tasks", [TASKS[::-1], sorted(TASKS), TASKS[:2], ["a", "b", "c"], "second"], ids=str)
def test_other_tasks_than_the_checkpoints_are_refused(tasks, tmp_path):
    """The rows of its gates go by its order."""
    tsbn_hub.save_pretrained(timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=4), tmp_path)
    name, message = f"local-dir:{tmp_path}", re.escape(f"tasks={tasks}: those of the checkpoint are {TASKS}.")
    with pytest.raises(ValueError, match=message):
        timm.create_model(name, pretrained=True, tasks=tasks)
    if isinstance(tasks, str):
        message = "tasks must be a list of names, not the string 'second'"
    with pytest.raises(ValueError, match=message if len(tasks) != 2 else "3 task_classes"):
        tsbn_hub.from_pretrained(tmp_path, tasks=tasks)
    for own in (TASKS, tuple(TASKS)):
        assert timm.create_model(name, pretrained=True, tasks=own).tasks == TASKS
        assert tsbn_hub.from_pretrained(tmp_path, tasks=own).tasks == TASKS
    if isinstance(tasks, list):  # without weights
        assert timm.create_model(name, task_classes=[4] * len(tasks), tasks=tasks).tasks == tasks


def test_numbers_of_classes_go_by_task(tmp_path):
    sizes = dict(zip(TASKS, (2, 3, 3), strict=True))
    model = timm.create_model("test_resnet_tsbn", num_classes=sizes).eval()
    randomize(model)
    tsbn_hub.save_pretrained(model, tmp_path)
    name, x = f"local-dir:{tmp_path}", images("test_resnet")
    other_order = timm.create_model(name, pretrained=True, num_classes=dict(reversed(sizes.items()))).eval()
    with torch.no_grad():
        assert other_order.tasks == TASKS
        assert_same(other_order(x), model(x), "by name")
    # As many rows in all, and as many classes at most: the rows of one task would be another's.
    for mixed in ([3, 2, 3], [3, 3, 2], [3, 3, 3]):
        with pytest.raises(ValueError, match=re.escape(f"{mixed} classes, those of the checkpoint have [2, 3, 3]")):
            timm.create_model(name, pretrained=True, num_classes=dict(zip(TASKS, mixed, strict=True)))
    assert timm.create_model(name, pretrained=True, num_classes=5).task_classes == [5, 5, 5]


@pytest.mark.parametrize("file", ["weights.npz", "weights.npy"])
def test_foreign_formats_into_a_converted_model_are_refused(file, tmp_path):
    """timm writes .npz weights into norms one by one, past the gates."""
    path = str(tmp_path / file)
    with pytest.raises(RuntimeError, match=r"foreign format.*'test_vit'"):
        timm.create_model("test_vit_tsbn", tasks=TASKS, checkpoint_path=path)
    with pytest.raises(RuntimeError, match="foreign format"):
        timm.create_model("test_vit_tsbn", tasks=TASKS).load_pretrained(path)
    with pytest.raises(ValueError, match=r"no \.safetensors file"):
        timm.create_model("test_vit_tsbn", pretrained=True, pretrained_cfg_overlay=dict(file=path))


def test_foreign_formats_are_right_before_the_conversion(monkeypatch, tmp_path):
    """pretrained=True of a config with custom_load: the plain class reads its own format, then it is converted."""

    def load_pretrained(self, path, *args):
        assert not isinstance(self, TimmTaskModel)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in np.load(path).items()})

    monkeypatch.setattr(VisionTransformer, "load_pretrained", load_pretrained)
    plain, x = build_plain("test_vit"), images("test_vit")
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: tensor.numpy() for name, tensor in plain.state_dict().items()})
    overlay = dict(file=str(path), custom_load=True)
    model = timm.create_model("test_vit_tsbn", pretrained=True, pretrained_cfg_overlay=overlay, tasks=TASKS).eval()
    with torch.no_grad():
        for task, output in model(x).items():
            assert_same(output, plain(x), task)


def test_a_failed_load_leaves_timm_as_it_was(tmp_path):
    before = _builder.get_model_traits
    with pytest.raises(RuntimeError):
        load("test_resnet", nn.Linear(2, 2), tmp_path)
    assert _builder.get_model_traits is before
    plain = timm.create_model("test_resnet")
    assert not task_norms(plain) and type(plain).__name__ == "ResNet"


# --- classifiers ---


@pytest.mark.parametrize("way", WAYS)
def test_a_classifier_goes_to_the_tasks_of_its_size(way, tmp_path):
    plain, x = build_plain("test_resnet", num_classes=10), images("test_resnet")
    sizes = {"a": 10, "b": 4, "c": 10}
    overlay = {"num_classes": 10}
    if way == "file":
        overlay["file"] = saved(plain, tmp_path)
    elif way == "state_dict":
        overlay["state_dict"] = dict(plain.state_dict())
    if way in overlay:
        model = timm.create_model(
            "test_resnet_tsbn", pretrained=True, num_classes=sizes, pretrained_cfg_overlay=overlay
        )
    else:
        model = load("test_resnet", plain, tmp_path, way, tasks=None, num_classes=sizes)
    model.eval()
    assert model.tasks == list(sizes) and model.task_classes == [10, 4, 10] and model.num_classes == 10
    with torch.no_grad():
        outputs = model(x)
        expected = plain(x)
    assert {task: output.shape for task, output in outputs.items()} == {task: (2, n) for task, n in sizes.items()}
    assert_same(outputs["a"], expected, "a")
    assert_same(outputs["c"], expected, "c")
    assert not torch.equal(outputs["b"], expected[:, :4])


def test_a_classifier_of_no_tasks_size_is_refused():
    plain = build_plain("test_resnet", num_classes=7)
    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 10, "b": 4}, keep_affine=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("sizes", [{"a": 10, "b": 4}, {"a": 7, "b": 7}])
def test_a_plain_classifier_is_not_cut_up_among_the_tasks(sizes):
    """A plain classifier with as many rows as all tasks have together is still that of a single task."""
    plain = build_plain("test_resnet", num_classes=14)
    model = timm.create_model("test_resnet_tsbn", num_classes=sizes, keep_affine=True)
    with pytest.raises(RuntimeError, match="14"):
        model.load_state_dict(plain.state_dict())


def test_other_classes_than_the_checkpoints_start_anew(tmp_path):
    """As in timm, pretrained=True with another number of classes drops the checkpoint's classifier."""
    plain = build_plain("test_resnet")
    model = load("test_resnet", plain, tmp_path, num_classes=5)
    assert model.task_classes == [5, 5, 5]
    assert torch.equal(model.layer1[0].conv1.weight, plain.layer1[0].conv1.weight)
    with torch.no_grad(), model.using_task("first"):
        x = images("test_resnet")
        assert_same(model.forward_features(x), plain.forward_features(x), "features")


def test_two_classifiers_go_to_every_task(tmp_path):
    """A distilled model has two heads, both named by its config."""
    small = FAMILIES["deit"]
    plain = build_plain(small.architecture, **small.kwargs)
    model = load(small.architecture, plain, tmp_path, **small.kwargs)
    assert isinstance(model.head, TaskClassifier) and isinstance(model.head_dist, TaskClassifier)
    x = small.images()
    with torch.no_grad():
        assert_same(model(x)["first"], plain(x), "first")


# --- further adaptations that timm makes while it loads ---


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "resnet10t"])
def test_one_input_channel(architecture, tmp_path):
    overlay = dict(file=saved(build_plain(architecture), tmp_path))
    kwargs = dict(pretrained=True, in_chans=1, pretrained_cfg_overlay=overlay)
    plain = timm.create_model(architecture, **kwargs).eval()
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, **kwargs).eval()
    x = images(architecture, channels=1)
    with torch.no_grad():
        for task, output in model(x).items():
            assert_same(output, plain(x), task)


@pytest.mark.parametrize(
    ("architecture", "feature_cls"),
    [
        ("test_resnet", "list"),
        ("test_resnet", "dict"),
        ("test_resnet", "hook"),
        ("test_resnet", "fx"),
        ("test_resnet", "getter"),
        ("test_efficientnet", None),
        ("test_efficientnet", "hook"),
        ("test_efficientnet", "getter"),
        ("test_vit", None),
        ("test_vit", "getter"),
        ("test_convnext", "list"),
        ("test_convnext", "fx"),
        ("test_convnext", "getter"),
    ],
)
def test_features_only(architecture, feature_cls, tmp_path):
    overlay = dict(file=saved(build_plain(architecture), tmp_path))
    kwargs = dict(pretrained=True, features_only=True, pretrained_cfg_overlay=overlay, out_indices=(0, 1))
    if feature_cls is not None:
        kwargs["feature_cls"] = feature_cls
    x = images(architecture)
    plain = timm.create_model(architecture, **kwargs).eval()
    model = timm.create_model(f"{architecture}_tsbn", tasks=TASKS, **kwargs).eval()
    with torch.no_grad():
        expected, outputs = plain(x), model(x)
        assert list(outputs) == TASKS
        for task, output in outputs.items():
            assert type(output) is type(expected)
            assert_same(output, expected, task)
            assert_same(model(x, task=task), expected, task)
        assert model.feature_info.channels() == plain.feature_info.channels()
        norms = task_norms(model)
        assert norms
        for norm in norms.values():
            norm.gate_logits[1] += 1.0
        model.set_task("first")
        changed = model(x)
        model.set_task("third")
        assert_same(model(x), expected, "third")
    with pytest.raises(AssertionError):
        assert_same(changed, expected, "the second row is the task `first`")


@pytest.mark.nightly
@pytest.mark.parametrize("architecture", ["efficientnet_b1_pruned", "ecaresnet50d_pruned"])
def test_pruned(architecture, tmp_path):
    plain, x = build_plain(architecture), images(architecture)
    model = load(architecture, plain, tmp_path)
    with torch.no_grad():
        expected = plain(x)
        for task, output in model(x).items():
            assert_same(output, expected, task)
        assert_same(model.fold("third")(x), expected, "fold")


def test_shared_norms_stay_shared(tmp_path):
    small = FAMILIES["coat"]
    plain = build_plain(small.architecture, **small.kwargs)
    model = load(small.architecture, plain, tmp_path, "load_state_dict", **small.kwargs)
    places = [(name, norm) for name, norm in model.named_modules(remove_duplicate=False) if isinstance(norm, TaskNorm)]
    plain_modules = dict(plain.named_modules(remove_duplicate=False))
    assert len({id(norm) for _, norm in places}) == len({id(plain_modules[name]) for name, _ in places})
    x = small.images(batch=1)
    with torch.no_grad():
        assert_same(model(x)["first"], plain(x), "first")


class Shared(nn.Module):
    """One norm, registered at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.first = nn.Sequential(nn.BatchNorm2d(8))
        self.second = nn.Sequential(nn.ReLU(), self.first[0])

    def forward(self, x):
        return self.second(self.first(self.conv(x)))


@pytest.mark.parametrize("gate_init", [0.5, 0.25])
def test_a_norm_at_two_places(gate_init):
    torch.manual_seed(0)
    plain = Shared().eval()
    randomize(plain)
    source, x = copy.deepcopy(plain), torch.randn(2, 3, 8, 8)
    model = tsbn_hub.convert(Shared().eval(), TASKS, gate_init=gate_init)
    assert model.first[0] is model.second[1]
    model.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for task, output in model(x).items():
            assert_same(output, source(x), task, bound=0.0 if gate_init == 0.5 else 1e-6)
        randomize(model)
        folded = model.fold("first")
        assert folded.first[0] is folded.second[1]
        assert_same(folded(x), model(x, task="first"), "fold")
        again = tsbn_hub.convert(Shared().eval(), TASKS, gate_init=gate_init)
        again.load_state_dict(model.state_dict())
        assert_same(again(x), model(x), "reloaded")
    state = model.state_dict()
    del state["second.1.gate_logits"]
    with pytest.raises(RuntimeError, match=r"second\.1\.gate_logits"):
        again.load_state_dict(state)
