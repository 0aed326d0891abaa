"""Task adapters: a task out of one model, into another, bit for bit; what does not fit is refused, and said."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import ResNetConfig, ViTConfig
from typer.testing import CliRunner

import tsbn_hub
from tests.hub.cards import code_of, run_code
from tests.matrices import cases_of
from tests.models.hf_backbones import BACKBONES, assert_equal, assert_states_equal, randomized
from tsbn_hub import CheckpointError, Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.cli.main import app
from tsbn_hub.hub.adapters.card import Beside, write_adapter_card
from tsbn_hub.models import surface_of
from tsbn_hub.models.task_parts import HEAD, task_state_dict

FILES = {"task_adapter.json", "task_adapter.safetensors"}
SIZES = {"z": 3, "a": 7, "m": 5}  # not in alphabetical order
ODD_NAMES = ["type", "keys", "ü", "a/b", "0", "train", " ", "/z", "head", "norms"]


def timm_model(architecture="test_resnet", num_classes=SIZES, **options):
    """With no two tasks, and no two channels, alike."""
    torch.manual_seed(0)
    return randomized(timm.create_model(f"{architecture}_tsbn", num_classes=num_classes, **options)).eval()


def hf_model(backbone="vit", tasks=None, **options):
    tasks = tasks or [
        Task("z", "segmentation", labels=["floor", "wall", "chair"], head_args={"channels": 8}),
        Task("a", labels=["wool", "cotton", "silk", "jute"]),
        Task("m", "depth", head_args={"channels": 8}),
    ]
    return BACKBONES[backbone].multi_task(tasks, **options)


def images(model):
    """A batch of what the model takes."""
    torch.manual_seed(1)
    return torch.randn(2, *surface_of(model).image_shape, dtype=next(model.parameters()).dtype)


@torch.no_grad()
def output(model, x, task) -> Tensor:
    result = model(x, task=task)
    return result if isinstance(result, Tensor) else result.logits[task]


def outputs(model):
    x = images(model)
    return {task: output(model, x, task) for task in model.tasks}


def without(model, *tasks):
    """A copy of the model that does not have these tasks."""
    rest = deepcopy(model)
    for task in tasks:
        rest.remove_task(task)
    return rest


def described(model):
    """What a model says of its tasks."""
    if isinstance(model, TsbnForMultiTask):
        return {name: list(getattr(model, name)) for name in ("tasks", "kinds", "heads")} | {"all": model.config.tasks}
    return {name: getattr(model, name) for name in ("tasks", "task_classes", "num_classes", "recipe", "_model_args")}


def assert_unchanged(model, before):
    assert_states_equal(model, before)
    assert described(model) == described(before)
    assert model.task_selector.tasks == before.task_selector.tasks
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def assert_equal_outputs(actual, expected):
    assert list(actual) == list(expected)
    for task in expected:
        assert_equal(actual[task], expected[task], task)


# --- out of one model, into another ---

MODELS = {
    "resnet": lambda: timm_model(),
    "vit": lambda: timm_model("test_vit"),
    "convnext": lambda: timm_model("test_convnext"),
    "efficientnet": lambda: timm_model("test_efficientnet", keep_affine=True, gate_init=0.7),
    "two-classifiers": lambda: timm_model(
        "deit_tiny_distilled_patch16_224", img_size=32, embed_dim=32, depth=1, num_heads=2
    ),
    "convolution-as-classifier": lambda: timm_model("resnetv2_18", layers=(1, 1, 1, 1), channels=(16, 16, 16, 16)),
    "affine": lambda: timm_model(norm="affine"),
    "statistics": lambda: timm_model(norm="statistics"),
    "affine-vit": lambda: timm_model("test_vit", norm="affine"),
    "shared": lambda: timm_model(norm="shared"),
    "gated": lambda: timm_model(gated="layer3.*,layer4.*"),
    "gated-list": lambda: timm_model(gated=["layer1.*", "layer4.*"], keep_affine=True),
    "grey": lambda: timm_model(in_chans=1),
    "image-size": lambda: timm_model("test_vit", img_size=64),
    "half": lambda: timm_model().bfloat16(),
    "equal-sizes": lambda: timm_model(num_classes={"z": 4, "a": 4, "m": 4}),
    "no-classifier": lambda: timm_model(num_classes={"z": 0, "a": 0, "m": 0}),
    "hf-vit": lambda: hf_model("vit"),
    "hf-swin": lambda: hf_model("swin"),
    "hf-convnext-affine": lambda: hf_model("convnext", norm="affine"),
    "hf-resnet-dropped": lambda: hf_model("resnet", keep_affine=False, gate_init=0.9),
    "hf-resnet-statistics": lambda: hf_model("resnet", norm="statistics"),
    "hf-resnet-shared": lambda: hf_model("resnet", norm="shared"),
    "hf-half": lambda: hf_model("vit").bfloat16(),
    "hf-timm-resnet": lambda: hf_model("timm/test_resnet"),
    "hf-timm-vit": lambda: hf_model("timm/test_vit"),
    "hf-decoders": lambda: hf_model(
        "timm/test_resnet",
        [
            Task("z", "segmentation", num_classes=3, head="deeplabv3", head_args={"atrous_rates": [2, 3]}),
            Task("a", "depth", head="segformer", head_args={"channels": 8}),
            Task("m", "normals", head="upernet", head_args={"channels": 8, "pool_scales": [1, 2]}),
        ],
    ),
}


# Those that go through folders every day; the others go straight from model to model.
IN_FOLDERS = [
    "two-classifiers", "affine-vit", "statistics", "gated-list", "image-size", "no-classifier", "hf-swin",
    "hf-resnet-dropped", "hf-timm-vit", "hf-decoders",
]  # fmt: skip


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    """A model of three tasks. Tests leave it as it is."""
    return MODELS[request.param]()


@pytest.mark.parametrize("model", cases_of(MODELS, [name for name in MODELS if name not in IN_FOLDERS]), indirect=True)
@pytest.mark.parametrize("task", cases_of(["z", "a", "m"], ["a"]))
def test_round_trip(model, task, tmp_path):
    tsbn_hub.save_task(model, task, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    base, expected = without(model, task), outputs(model)
    assert tsbn_hub.load_task(base, tmp_path) is base
    assert base.tasks == [other for other in model.tasks if other != task] + [task]
    assert_equal_outputs(outputs(base), {name: expected[name] for name in base.tasks})
    for name, tensor in task_state_dict(surface_of(model), task).items():
        assert torch.equal(task_state_dict(surface_of(base), task)[name], tensor), name


@pytest.mark.parametrize("model", cases_of(MODELS, IN_FOLDERS), indirect=True)
def test_round_trip_by_folders(model, tmp_path):
    """The base from a folder of ours, and all of it saved and loaded once more."""
    if next(model.parameters()).dtype != torch.float32 and not isinstance(model, TsbnForMultiTask):
        pytest.skip("timm loads in float32: the dtype is the loader's choice")
    expected = outputs(model)
    tsbn_hub.save_pretrained(without(model, "z", "m"), tmp_path / "base")
    for task in ("m", "z"):
        tsbn_hub.save_task(model, task, tmp_path / task, base=tmp_path / "base")
    merged = tsbn_hub.merge([tmp_path / "m", tmp_path / "z"]).eval()
    assert merged.tasks == ["a", "m", "z"]
    assert_equal_outputs(outputs(merged), {task: expected[task] for task in merged.tasks})
    tsbn_hub.save_pretrained(merged, tmp_path / "merged")
    again = tsbn_hub.from_pretrained(tmp_path / "merged").eval()
    assert_states_equal(again, merged)
    assert described(again) == described(merged) or isinstance(model, TsbnForMultiTask)
    alone = tsbn_hub.load_task(str(tmp_path / "base"), str(tmp_path / "z"), name="new").eval()
    assert alone.tasks == ["a", "new"]
    assert_equal(output(alone, images(alone), "new"), expected["z"])


def test_a_folded_task_is_that_of_the_loaded_one(tmp_path):
    model = timm_model()
    tsbn_hub.save_task(model, "a", tmp_path)
    base = tsbn_hub.load_task(without(model, "a"), tmp_path, name="new")
    assert_states_equal(base.fold("new"), model.fold("a"))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_models_of_one_task(architecture, tmp_path):
    """They have plain classifiers, under the plain keys."""
    model = timm_model(architecture)
    own, other = timm_model(architecture, {"a": 7}), timm_model(architecture, {"z": 3})
    for one in (own, other):
        (task,) = one.tasks
        trunk = {name: tensor for name, tensor in model.state_dict().items() if name in one.state_dict()}
        shapes = {name: tensor.shape for name, tensor in one.state_dict().items()}
        one.load_state_dict({name: tensor for name, tensor in trunk.items() if tensor.shape == shapes[name]}, False)
        for name, tensor in task_state_dict(surface_of(one), task).items():
            tensor.copy_(task_state_dict(surface_of(model), task)[name])
    expected = {"z": model(images(model), task="z"), "a": model(images(model), task="a")}
    tsbn_hub.save_task(own, "a", tmp_path)
    assert_equal_outputs(outputs(tsbn_hub.load_task(other, tmp_path)), expected)
    several = without(model, "a")
    assert_equal(output(tsbn_hub.load_task(several, tmp_path), images(model), "a"), expected["a"])


@pytest.mark.parametrize("build", [timm_model, hf_model])
def test_odd_names(build, tmp_path):
    """They are in the config alone, so they make no keys and no paths."""
    if build is timm_model:
        model = timm_model(num_classes={name: 2 + at for at, name in enumerate(ODD_NAMES)})
    else:
        model = hf_model(tasks=[Task(name, num_classes=2 + at) for at, name in enumerate(ODD_NAMES)])
    expected, base = outputs(model), without(model, *ODD_NAMES[1:])
    for at, name in enumerate(ODD_NAMES[1:]):
        tsbn_hub.save_task(model, name, tmp_path / str(at))
        tsbn_hub.load_task(base, tmp_path / str(at))
    assert_equal_outputs(outputs(base), expected)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == FILES
    keys = [set(load_file(tmp_path / str(at) / "task_adapter.safetensors")) for at in range(len(ODD_NAMES) - 1)]
    assert all(key == keys[0] for key in keys)


@pytest.mark.parametrize("build", [timm_model, hf_model])
def test_the_same_task_under_several_names(build, tmp_path):
    model = build()
    expected = outputs(model)
    tsbn_hub.save_task(model, "a", tmp_path)
    for name in ("years", "type", "Ö"):
        tsbn_hub.load_task(model, tmp_path, name)
    renamed = outputs(model)
    assert list(renamed) == ["z", "a", "m", "years", "type", "Ö"]
    for task, actual in renamed.items():
        assert_equal(actual, expected.get(task, expected["a"]), task)


def test_labels_and_keywords_of_the_head_survive(tmp_path):
    model = hf_model()
    for task in model.config.tasks:
        tsbn_hub.save_task(model, task.name, tmp_path / task.name)
    base = without(model, "z", "a")
    for name in ("a", "z"):
        tsbn_hub.load_task(base, tmp_path / name, name=f"new {name}")
    by_name = {task.name: task for task in model.config.tasks}
    assert base.config.tasks == [
        by_name["m"],
        Task("new a", labels=by_name["a"].labels),
        Task("new z", "segmentation", labels=by_name["z"].labels, head_args={"channels": 8}),
    ]
    assert base.kinds["new a"].labels == ["wool", "cotton", "silk", "jute"]


def test_training_goes_on(tmp_path):
    """A loaded task is trained as any other: its gates get gradients, and no other task's do."""
    model = timm_model()
    tsbn_hub.save_task(model, "a", tmp_path)
    base = tsbn_hub.load_task(without(model, "a"), tmp_path).train()
    base(images(base), task="a").square().sum().backward()
    gradients = base.bn1[0].gate_logits.grad if isinstance(base.bn1, nn.Sequential) else base.bn1.gate_logits.grad
    assert gradients[2].abs().sum() > 0 and not gradients[:2].any()


# --- sizes ---


@pytest.mark.parametrize("architecture", ["resnet50", "vit_small_patch16_224"])
def test_gates_and_statistics_are_less_than_a_hundredth(architecture):
    with torch.device("meta"):
        model = timm.create_model(f"{architecture}_tsbn", num_classes={"a": 1000, "b": 10})
        plain = timm.create_model(architecture)
    tensors = task_state_dict(surface_of(model), "b")
    head = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith(HEAD))
    norms = sum(tensor.numel() for tensor in tensors.values()) - head
    assert head == 10 * (model.num_features + 1)
    assert norms < 0.01 * sum(parameter.numel() for parameter in plain.parameters())
    batch_norms = [module.num_features for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    in_blocks = 2 * 12 * 384  # two LayerNorms a block
    assert norms == (sum(3 * size + 1 for size in batch_norms) if batch_norms else in_blocks)


# --- on a plain base ---


def plain_timm_folder(folder):
    torch.manual_seed(0)
    tsbn_hub.save_pretrained(randomized(timm.create_model("test_resnet", num_classes=6)), folder)
    return folder


def trained_on_plain_timm(folder, tasks):
    """What training with a frozen trunk makes: gates, statistics and heads of their own."""
    model = timm.create_model(
        "test_resnet_tsbn",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(folder / "model.safetensors"), "num_classes": 6},
        num_classes=tasks,
    ).eval()
    return with_other_tasks(model)


@torch.no_grad()
def with_other_tasks(model):
    for task in model.tasks:
        for name, tensor in task_state_dict(surface_of(model), task).items():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand_like(tensor)
            else:
                assert name.endswith("num_batches_tracked")
                tensor += 3
    return model


@pytest.mark.parametrize("options", [{}, {"gated": "layer4.*"}, {"norm": "affine"}], ids=str)
def test_a_plain_base_of_timm(options, tmp_path):
    """Two people, who never met, on one plain checkpoint."""
    folder = plain_timm_folder(tmp_path / "base")
    overlay = {"file": str(folder / "model.safetensors"), "num_classes": 6}
    expected = {}
    for seed, (task, size) in enumerate({"smile": 2, "age": 8}.items()):
        torch.manual_seed(seed)
        model = timm.create_model(
            "test_resnet_tsbn",
            pretrained=True,
            pretrained_cfg_overlay=overlay,
            num_classes={task: size, "other": 3},
            **options,
        )
        with_other_tasks(model.eval())
        expected[task] = output(model, images(model), task)
        tsbn_hub.save_task(model, task, tmp_path / task, base=folder)
    merged = tsbn_hub.merge([tmp_path / "smile", tmp_path / "age"]).eval()
    assert merged.tasks == ["smile", "age"] and merged.task_classes == [2, 8]
    assert_equal_outputs(outputs(merged), expected)
    for names in (["a.b", "c"], ["", "c"]):
        with pytest.raises(ValueError, match=f"^'{names[0]}' cannot be a task's name"):
            tsbn_hub.merge(dict(zip(names, (tmp_path / "smile", tmp_path / "age"), strict=True)))
    one = tsbn_hub.load_task(folder, tmp_path / "age").eval()
    assert one.tasks == ["age"] and one.num_classes == 8
    assert_equal_outputs(outputs(one), {"age": expected["age"]})
    for name, loaded in (("merged", merged), ("one", one)):
        tsbn_hub.save_pretrained(loaded, tmp_path / name)
        assert_equal_outputs(outputs(tsbn_hub.from_pretrained(tmp_path / name).eval()), outputs(loaded))


def test_keywords_of_a_plain_base_of_timm(tmp_path):
    """What the base was built with, beyond its own config, is in the adapter."""
    torch.manual_seed(0)
    tsbn_hub.save_pretrained(randomized(timm.create_model("test_vit")), tmp_path / "base")
    model = timm.create_model(
        "test_vit_tsbn",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "base" / "model.safetensors")},
        num_classes={"age": 8},
        img_size=64,
    )
    with_other_tasks(model.eval())
    tsbn_hub.save_task(model, "age", tmp_path / "age", base=tmp_path / "base")
    again = tsbn_hub.merge([tmp_path / "age"]).eval()
    assert images(again).shape[-1] == 64
    assert_equal_outputs(outputs(again), outputs(model))


@pytest.mark.parametrize(
    "backbone", cases_of(["vit", "swin", "resnet", "timm/test_resnet"], ["vit", "timm/test_resnet"])
)
def test_a_plain_base_of_transformers(backbone, tmp_path):
    """Its folder is known to the model that was made from it."""
    folder = tmp_path / "base"
    BACKBONES[backbone].plain().save_pretrained(folder)
    expected = {}
    for task in (
        Task("seg", "segmentation", labels=["wall", "floor"], head_args={"channels": 8}),
        Task("z", num_classes=4),
    ):
        model = with_other_tasks(TsbnForMultiTask.from_backbone(folder, [Task("other", "depth"), task]))
        expected[task.name] = output(model, images(model), task.name)
        tsbn_hub.save_task(model, task.name, tmp_path / task.name)
        config = json.loads((tmp_path / task.name / "task_adapter.json").read_text())
        assert config["base_model_name_or_path"] == str(folder)
    merged = tsbn_hub.merge({"walls": tmp_path / "seg", "z": tmp_path / "z"})
    assert merged.tasks == ["walls", "z"] and not merged.training
    assert merged.config.tasks[0].labels == ["wall", "floor"]
    assert_equal_outputs(outputs(merged), {"walls": expected["seg"], "z": expected["z"]})
    merged.save_pretrained(tmp_path / "merged")
    assert_equal_outputs(outputs(TsbnForMultiTask.from_pretrained(tmp_path / "merged")), outputs(merged))


# --- merging ---


@pytest.fixture
def two(tmp_path):
    """A base of one task, and two adapters for it."""
    model = timm_model()
    tsbn_hub.save_pretrained(without(model, "z", "m"), tmp_path / "base")
    for task in ("z", "m"):
        tsbn_hub.save_task(model, task, tmp_path / task, base=tmp_path / "base")
    return tmp_path, outputs(model)


def test_merge_by_list_and_by_mapping(two):
    folder, expected = two
    for adapters, names in (
        ([folder / "m", str(folder / "z")], ["m", "z"]),
        ((folder / "z", folder / "m"), ["z", "m"]),
        ({"new": folder / "m", "a b": str(folder / "z"), "again": folder / "m"}, ["new", "a b", "again"]),
    ):
        merged = tsbn_hub.merge(adapters).eval()
        assert merged.tasks == ["a", *names]
        sources = adapters.values() if isinstance(adapters, dict) else adapters
        for name, source in zip(names, sources, strict=True):
            assert_equal(output(merged, images(merged), name), expected[Path(source).name], name)
        assert_equal(output(merged, images(merged), "a"), expected["a"])


def test_merge_on_a_base_that_is_given(two):
    folder, expected = two
    (folder / "base").rename(folder / "elsewhere")
    for base in (folder / "elsewhere", str(folder / "elsewhere")):
        merged = tsbn_hub.merge([folder / "z", folder / "m"], base=base).eval()
        assert_equal_outputs(outputs(merged), {task: expected[task] for task in ("a", "z", "m")})
    with pytest.raises(FileNotFoundError, match="There is no folder "):
        tsbn_hub.merge([folder / "z"])


def test_tasks_trained_on_the_same_base_by_others(two):
    """What was saved without its base's name meets what was saved with it."""
    folder, expected = two
    edit(folder / "m", base_model_name_or_path=None)
    merged = tsbn_hub.merge([folder / "z", folder / "m"]).eval()
    assert_equal_outputs(outputs(merged), {task: expected[task] for task in ("a", "z", "m")})


def edit(folder, **values):
    path = folder / "task_adapter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("arrange", "error", "message"),
    [
        (lambda folder: {"adapters": []}, ValueError, r"takes a list of adapters, .* got \[\]"),
        (lambda folder: {"adapters": {}}, ValueError, r"takes a list of adapters, .* got \{\}"),
        (lambda folder: {"adapters": str(folder / "z")}, ValueError, r"takes a list of adapters, .* got '"),
        (lambda folder: {"adapters": folder / "z"}, ValueError, r"takes a list of adapters, .* got .*Path"),
        (
            lambda folder: {"adapters": [folder / "z", folder / "z"]},
            ValueError,
            r"named \['z'\]: give merge a mapping",
        ),
        (lambda folder: {"adapters": {"a": folder / "z"}}, ValueError, "has a task 'a' already"),
        (lambda folder: {"adapters": {"a.b": folder / "z"}}, ValueError, "'a.b' cannot be a task's name"),
        (lambda folder: {"adapters": [folder / "nowhere"]}, FileNotFoundError, "nowhere"),
        (
            lambda folder: {"adapters": [folder / "base"]},
            FileNotFoundError,
            r'has no task_adapter.json .*config.json.* It is a model: tsbn_hub\.from_pretrained\("\S+base"\)',
        ),
        (
            lambda folder: edit(folder / "m", base_model_name_or_path="org/other", revision="v1"),
            ValueError,
            r"several bases \(.*/z: .*/base@None, .*/m: org/other@v1\): give the one to take as base=",
        ),
        (
            lambda folder: [edit(folder / task, base_model_name_or_path=None) for task in ("z", "m")],
            ValueError,
            r"None of \[.*/z', .*/m'\] says which base it is for: give base=",
        ),
        (
            lambda folder: edit(folder / "m", trunk_sha256="0" * 64),
            CheckpointError,
            r"The task 'm' of .*/m does not fit this model: the trunk's weights are others",
        ),
        (
            lambda folder: edit(folder / "z", norm="affine"),
            CheckpointError,
            "norm is 'affine', and 'sigmoid' in the model",
        ),
    ],
)
def test_what_merge_refuses(arrange, error, message, two):
    folder, _ = two
    given = arrange(folder)
    keywords = given if isinstance(given, dict) else {"adapters": [folder / "z", folder / "m"]}
    with pytest.raises(error, match=message):
        tsbn_hub.merge(**keywords)


# --- what load_task refuses ---


def save(model, folder, task="a", **options):
    tsbn_hub.save_task(model, task, folder, **options)


def retrained(model, name):
    with torch.no_grad():
        dict([*model.named_parameters(), *model.named_buffers()])[name].flatten()[0] += 1e-3
    return model


def with_tensors(folder, change):
    """The adapter, with its tensors changed by a function."""
    path = folder / "task_adapter.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def bad_file(name, content):
    def write(folder):
        save(timm_model(), folder)
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return write


def without_weights(folder):
    save(timm_model(), folder)
    (folder / "task_adapter.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"a pickle")


def lora(folder):
    (folder / "task_adapter.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "task_type": None}))


def changed_tensors(change, build=timm_model):
    def write(folder):
        save(build(), folder)
        with_tensors(folder, change)

    return write


def changed_config(build=timm_model, **values):
    def write(folder):
        save(build(), folder)
        edit(folder, **values)

    return write


def changed_task(build=timm_model, **values):
    def write(folder):
        save(build(), folder)
        edit(folder, task=json.loads((folder / "task_adapter.json").read_text())["task"] | values)

    return write


GATES = "norms.layer3.0.bn1.gate_logits"
DOES_NOT_FIT = r"The task 'a' of .* does not fit this model: "
TRUNK = DOES_NOT_FIT + "the trunk's weights are others: .*Another revision, training of the trunk, or another precision"
REFUSED = {
    # of timm
    "architecture": (
        timm_model,
        lambda folder: save(timm_model("test_vit"), folder),
        DOES_NOT_FIT + "architecture is 'test_vit', and 'test_resnet' in the model",
    ),
    "norm": (
        timm_model,
        lambda folder: save(timm_model(norm="affine"), folder),
        DOES_NOT_FIT + "norm is 'affine', and 'sigmoid' in the model",
    ),
    "keep-affine": (
        timm_model,
        lambda folder: save(timm_model(keep_affine=True), folder),
        DOES_NOT_FIT + "keep_affine is True, and False in the model",
    ),
    "gated-less": (
        timm_model,
        lambda folder: save(timm_model(gated="layer4.*"), folder),
        DOES_NOT_FIT + r"it lacks norms\.\S+gate_logits; .*; … \(\d+ in all\)",
    ),
    "gated-more": (
        lambda: timm_model(gated="layer4.*"),
        lambda folder: save(timm_model(), folder),
        DOES_NOT_FIT + r"it has norms\.\S+ besides",
    ),
    "trunk": (
        timm_model,
        lambda folder: save(retrained(timm_model(), "layer3.0.conv1.weight"), folder, base="org/base@v2"),
        TRUNK.replace("others: ", "others: its task was trained on org/base@v2. "),
    ),
    "shared-statistic": (
        lambda: timm_model(gated="layer4.*"),
        lambda folder: save(retrained(timm_model(gated="layer4.*"), "layer1.0.bn1.running_var"), folder),
        TRUNK,
    ),
    "shared-affine": (
        lambda: timm_model(keep_affine=True),
        lambda folder: save(retrained(timm_model(keep_affine=True), "layer1.0.bn1.weight"), folder),
        TRUNK,
    ),
    "precision": (
        timm_model,
        lambda folder: save(timm_model().bfloat16(), folder),
        DOES_NOT_FIT + r".* is bfloat16 \(\d+,\), and float32 \(\d+,\) in the model; .*; … \(\d+ in all\)",
    ),
    "precision-of-the-trunk": (
        lambda: timm_model("test_vit", gated="blocks.0.norm1").bfloat16(),
        lambda folder: save(timm_model("test_vit", gated="blocks.0.norm1"), folder),
        DOES_NOT_FIT + ".* is float32 .*, and bfloat16 .* in the model",
    ),
    "hf-precision": (
        lambda: hf_model().bfloat16(),
        lambda folder: save(hf_model(), folder),
        DOES_NOT_FIT + ".* is float32 .*, and bfloat16 .* in the model",
    ),
    "precision-of-a-tensor": (
        timm_model,
        changed_tensors(lambda tensors: tensors.update({GATES: tensors[GATES].half()})),
        DOES_NOT_FIT + r"norms\.\S+ is float16 .*, and float32 .* in the model",
    ),
    "channels": (
        timm_model,
        lambda folder: save(timm_model(in_chans=1), folder),
        TRUNK,
    ),
    "width": (
        lambda: timm_model("resnetv2_18", layers=(1, 1, 1, 1), channels=(16, 16, 16, 16)),
        lambda folder: save(timm_model("resnetv2_18", layers=(1, 1, 1, 1), channels=(16, 16, 16, 24)), folder),
        DOES_NOT_FIT + r"norms\.\S+ is float32 \(24,\), and float32 \(16,\) in the model",
    ),
    "classes": (
        timm_model,
        changed_task(num_classes=8),
        DOES_NOT_FIT + r"head\.fc\.weight is float32 \(7, 96\), and float32 \(8, 96\) in the model",
    ),
    "classes-that-are-none": (timm_model, changed_task(num_classes="7"), "num_classes='7' is no number of classes"),
    "classes-below-zero": (timm_model, changed_task(num_classes=-1), "num_classes=-1 is no number of classes"),
    "classes-not-known": (timm_model, changed_task(num_classes=None), "num_classes=None is no number of classes"),
    "task-of-another-kind": (timm_model, changed_task(kind="depth"), "the task is depth .* have classifiers alone"),
    "task-of-no-kind": (hf_model, changed_task(hf_model, kind="colour"), r"has kind='colour'\. Known: .*, depth, "),
    "task-with-a-head": (timm_model, changed_task(head="linear"), "timm's models have classifiers alone"),
    "task-with-keywords-of-a-head": (timm_model, changed_task(head_args={"channels": 8}), "have classifiers alone"),
    "task-with-foreign-keys": (timm_model, changed_task(colour=1), r"unknown are \['colour'\]"),
    "missing": (
        timm_model,
        changed_tensors(lambda tensors: tensors.pop("head.fc.bias")),
        DOES_NOT_FIT + r"it lacks head\.fc\.bias",
    ),
    "superfluous": (
        timm_model,
        changed_tensors(lambda tensors: tensors.update(more=torch.zeros(1))),
        DOES_NOT_FIT + "it has more besides",
    ),
    "shape": (
        timm_model,
        changed_tensors(lambda tensors: tensors.update({"head.fc.weight": tensors["head.fc.weight"].T.contiguous()})),
        DOES_NOT_FIT + r"head\.fc\.weight is .*\(96, 7\), and .*\(7, 96\) in the model",
    ),
    # of transformers
    "surface": (
        lambda: hf_model("timm/test_resnet"),
        lambda folder: save(timm_model(), folder),
        DOES_NOT_FIT + "library is 'timm', and 'transformers' in the model",
    ),
    "surface-the-other-way": (
        timm_model,
        lambda folder: save(hf_model("timm/test_resnet"), folder),
        DOES_NOT_FIT + "library is 'transformers', and 'timm' in the model",
    ),
    "hf-architecture": (
        hf_model,
        lambda folder: save(hf_model("swin"), folder),
        DOES_NOT_FIT + "architecture is 'swin', and 'vit' in the model",
    ),
    "hf-trunk": (
        hf_model,
        lambda folder: save(retrained(hf_model(), "tsbn.backbone.embeddings.cls_token"), folder),
        TRUNK,
    ),
    "hf-head": (
        hf_model,
        changed_task(hf_model, kind="segmentation", head_args={"channels": 8}),
        DOES_NOT_FIT + r"it lacks head\.\S+; .*; it has head\.linear\.bias besides",
    ),
    "hf-unknown-head": (hf_model, changed_task(hf_model, head="ours"), "no head 'ours'"),
    "hf-keywords-of-the-head": (hf_model, changed_task(hf_model, head_args={"size": 3}), r"no keywords \['size'\]"),
    "hf-vast-head": (
        hf_model,
        changed_task(hf_model, kind="segmentation", head="deeplabv3", head_args={"atrous_rates": [1] * 10**5}),
        "many more layers than the weights have",
    ),
    # files
    "no-adapter": (timm_model, lambda folder: None, "has no task_adapter.json"),
    "a-model": (
        timm_model,
        lambda folder: tsbn_hub.save_pretrained(timm_model(), folder),
        r'has no task_adapter.* It is a model: tsbn_hub\.from_pretrained\("\S+"\) loads it',
    ),
    "lora": (timm_model, lora, "peft_type='LORA': a task adapter of ours has 'TSBN'"),
    "no-json": (timm_model, bad_file("task_adapter.json", b"{"), "is no JSON"),
    "no-object": (timm_model, bad_file("task_adapter.json", b"[]"), "holds no object"),
    "foreign-key": (timm_model, changed_config(r=8), r"unknown keys \['r'\]"),
    "wrong-type": (timm_model, changed_config(keep_affine="yes"), "keep_affine is 'yes', but must be true or false"),
    "pickle": (timm_model, without_weights, "Pickled weights .* are not read. Save it with tsbn_hub.save_task"),
    "truncated": (timm_model, bad_file("task_adapter.safetensors", lambda data: data[:-9]), "truncated"),
    "no-safetensors": (timm_model, bad_file("task_adapter.safetensors", b"a pickle"), "no safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_load_task_refuses(build, write, message, tmp_path):
    """The model stays as it was."""
    model = build()
    before = deepcopy(model)
    write(tmp_path)
    error = FileNotFoundError if "has no task_adapter" in message else CheckpointError
    with pytest.raises(error, match=message):
        tsbn_hub.load_task(model, tmp_path, name="new")
    assert_unchanged(model, before)


@pytest.mark.parametrize("build", [timm_model, hf_model])
@pytest.mark.parametrize(
    ("name", "message"),
    [(None, "has a task 'a' already"), ("z", "has a task 'z' already"), ("x.y", "'x.y' cannot be a task's name")],
)
def test_names_that_load_task_refuses(build, name, message, tmp_path):
    model = build()
    save(model, tmp_path)
    before = deepcopy(model)
    with pytest.raises(ValueError, match=message):
        tsbn_hub.load_task(model, tmp_path, name)
    assert_unchanged(model, before)


def test_models_without_tasks_are_refused(tmp_path):
    save(timm_model(), tmp_path / "a")
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    converted = tsbn_hub.convert(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), ["a"])
    without_heads = TsbnModel.from_backbone(ViTConfig(**small), ["a"])
    for model in (timm.create_model("test_resnet"), nn.Linear(2, 2), without_heads, converted):
        with pytest.raises(TypeError, match=f"{type(model).__name__} has no tasks with heads: take a timm model"):
            tsbn_hub.load_task(model, tmp_path / "a")
        with pytest.raises(TypeError, match="has no tasks with heads"):
            tsbn_hub.save_task(model, "a", tmp_path / "b")
    with pytest.raises(ValueError, match=r"Unknown task 'b'. The tasks of this model are \['z', 'a', 'm'\]"):
        tsbn_hub.save_task(timm_model(), "b", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_base_of_another_architecture(tmp_path):
    """Where the base is loaded for the adapter, the error says the same."""
    save(timm_model(), tmp_path / "a")
    tsbn_hub.save_pretrained(timm_model("test_vit"), tmp_path / "ours")
    tsbn_hub.save_pretrained(timm.create_model("test_vit"), tmp_path / "plain")
    for base in ("ours", "plain"):
        with pytest.raises(CheckpointError, match="architecture is 'test_resnet', and 'test_vit' in the model"):
            tsbn_hub.load_task(tmp_path / base, tmp_path / "a", name="new")
    with pytest.raises(FileNotFoundError, match="There is no folder "):
        tsbn_hub.load_task(tmp_path / "nowhere", tmp_path / "a")


# --- what is written ---


def test_config(tmp_path):
    save(timm_model("test_vit", img_size=64, gated=["blocks.*.norm1", "blocks.*.norm2"]), tmp_path)
    config = json.loads((tmp_path / "task_adapter.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", config.pop("trunk_sha256"))
    assert config == {
        "task": {"name": "a", "num_classes": 7},
        "library": "timm",
        "architecture": "test_vit",
        "norm": "sigmoid",
        "keep_affine": False,
        "gate_init": 0.5,
        "gated": "blocks.*.norm1,blocks.*.norm2",
        "model_args": {"img_size": 64},
        "base_model_name_or_path": None,
        "revision": None,
        "peft_type": "TSBN",
        "tsbn_version": tsbn_hub.__version__,
    }
    names = set(load_file(tmp_path / "task_adapter.safetensors"))
    blocks = len(timm_model("test_vit").blocks)
    norms = {f"norms.blocks.{block}.norm{at}.gate_logits" for block in range(blocks) for at in (1, 2)}
    assert names == {*norms, "head.head.weight", "head.head.bias"}


def test_the_card_is_read_by_the_hub_and_its_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = timm_model()
    tsbn_hub.save_pretrained(without(model, "a", "m"), "base")
    for task in ("a", "m"):
        save(model, Path(task), task, base="base")
        write_adapter_card(task, task)
    card = ModelCard.load(tmp_path / "a" / "README.md")
    assert card.data.library_name == "tsbn_hub" and card.data.base_model is None
    assert card.data.tags == ["tsbn", "multi-task", "task-adapter", "a"]
    variables = run_code(code_of(card.text), tmp_path, monkeypatch)
    assert variables["model"].tasks == ["z", "a"]
    assert capsys.readouterr().out.strip() == variables["prediction"].description["class"]


def test_the_code_of_a_task_whose_images_nobody_prepares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = timm_model(in_chans=5)
    tsbn_hub.save_pretrained(without(model, "a"), "base")
    save(model, Path("a"), "a", base="base")
    write_adapter_card("a", "a", beside=Beside(image_shape=(5, 64, 64)))
    variables = run_code(code_of(Path("a", "README.md").read_text()), tmp_path, monkeypatch)
    assert variables["images"].shape == (1, 5, 64, 64) and variables["output"].shape == (1, 7)


@pytest.mark.parametrize("build", [timm_model, hf_model])
def test_publishing_without_sending(build, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    sent = tsbn_hub.push_task_to_hub(build(), "z", "ada/z", base="ada/base@v1", dry_run=True)
    assert set(sent.files) == {*FILES, "README.md"} and sent.url is None and sent.repo == "ada/z"
    save(build(), tmp_path, "z", base="ada/base@v1")
    write_adapter_card(tmp_path, "ada/z")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "ada/base" and "ada/base@v1" in card.text
    with pytest.raises(ValueError, match="Unknown task 'nothing'"):
        tsbn_hub.push_task_to_hub(build(), "nothing", "ada/z", dry_run=True)
    with pytest.raises(ValueError, match="A task adapter needs a base that others have"):
        tsbn_hub.push_task_to_hub(build(), "z", "ada/z", base=str(tmp_path), dry_run=True)


def test_wrong_commands_that_publish_a_task(tmp_path):
    tsbn_hub.save_pretrained(timm_model(), tmp_path)
    for arguments, message in (
        (["--base", "ada/base"], "--base ada/base is what an adapter is for: give --task"),
        (["--task", "z", "--all"], "leave out --task"),
        (["--task", "z", "--base", str(tmp_path)], "A task adapter needs a base that others have"),
        (["--task", "smile"], "Unknown task 'smile'"),
    ):
        done = CliRunner().invoke(app, ["push", str(tmp_path), "ada/z", "--dry-run", *arguments])
        assert done.exit_code == 1 and done.stderr.startswith("tsbn: ") and message in done.stderr, done.output


@pytest.mark.parametrize("name", [*ODD_NAMES, "yes", "null", "1,0", "colon: {x}", "a\nb", "`|*<b>"])
def test_cards_of_odd_names(name, tmp_path):
    save(timm_model(num_classes={name: 3, "other": 2}), tmp_path, name)
    write_adapter_card(tmp_path, "ada/odd")
    assert ModelCard.load(tmp_path / "README.md").data.tags[-1] == name


# --- beside PEFT ---


def older(folder):
    """An adapter as it was saved when its files had the names of PEFT's."""
    (folder / "task_adapter.json").rename(folder / "adapter_config.json")
    (folder / "task_adapter.safetensors").rename(folder / "adapter_model.safetensors")


def test_an_adapter_of_older_names_loads_and_is_replaced(tmp_path):
    model = timm_model()
    task = model.tasks[0]
    tsbn_hub.save_task(model, task, tmp_path)
    older(tmp_path)
    tsbn_hub.load_task(model, tmp_path, name="again")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(x)["again"], model(x)[task])
    tsbn_hub.save_task(model, task, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_an_adapter_in_its_models_folder(tmp_path, monkeypatch):
    """transformers, where PEFT is installed, would take one of older names for one of PEFT."""
    model = TsbnForMultiTask.from_backbone(
        ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1]), [Task("a", num_classes=2)]
    )
    tsbn_hub.save_pretrained(model, tmp_path)
    tsbn_hub.save_task(model, "a", tmp_path)
    for load in (tsbn_hub.from_pretrained, TsbnForMultiTask.from_pretrained):
        assert load(tmp_path).tasks == ["a"]
    older(tmp_path)
    monkeypatch.setattr("tsbn_hub.models.hf.sources.is_peft_available", lambda: True)
    for load in (tsbn_hub.from_pretrained, TsbnForMultiTask.from_pretrained):
        with pytest.raises(tsbn_hub.CheckpointError, match=r"adapter of an older version.*a folder of their own"):
            load(tmp_path)
