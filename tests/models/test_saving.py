"""Saving: a folder holds the model bit for bit, for timm and transformers; a folded model needs nothing of ours."""

import json
from itertools import cycle, product
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub.models.timm import surface

from .test_families import assert_same, randomize

SIZES = {"test_resnet": 32, "test_vit": 160, "test_convnext": 32, "test_efficientnet": 32, "test_byobnet": 32}
FILES = {"config.json", "model.safetensors"}
ROUNDING = 1e-6  # the same weights at another alignment in memory, or in another process, may take another kernel


def build(architecture: str = "test_resnet", **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(f"{architecture}_tsbn", **kwargs)
    randomize(model)
    return model.eval()


def images(architecture: str = "test_resnet", channels: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, channels, SIZES[architecture], SIZES[architecture])


def reload(folder: Path, **kwargs: object) -> list[nn.Module]:
    """By timm and by us, each from random weights of its own."""
    models = [
        timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs),
        *(tsbn_hub.from_pretrained(name, **kwargs) for name in cases_of([folder, str(folder)], [folder])),
    ]
    return [model.eval() for model in models]


def assert_equal_states(model: nn.Module, other: nn.Module) -> None:
    state, expected = model.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        assert state[key].dtype == tensor.dtype and torch.equal(state[key], tensor), key


@torch.no_grad()
def assert_round_trip(model: nn.Module, folder: Path, x: torch.Tensor | None = None, **kwargs: object) -> None:
    x = images() if x is None else x
    tsbn_hub.save_pretrained(model, folder)
    assert {path.name for path in folder.iterdir()} == FILES
    expected = model(x)
    for again in reload(folder, **kwargs):
        assert type(again) is type(model)
        assert again.tasks == model.tasks
        assert again.task_classes == model.task_classes
        assert again.num_classes == model.num_classes
        assert again.recipe.options.style == model.recipe.options.style
        assert again.recipe.options.gate_init == model.recipe.options.gate_init
        assert again.recipe.names == model.recipe.names
        assert_equal_states(again, model)
        assert_same(again(x), expected, "all tasks")
        for task in model.tasks:
            assert_same(again(x, task=task), model(x, task=task), task)


ONE, THREE = ["only"], ["second", "first", "third"]
STYLES = [
    dict(norm="sigmoid", keep_affine=True),
    dict(norm="sigmoid", keep_affine=False, gate_init=0.9),
    dict(norm="sigmoid"),
    dict(norm="affine"),
    dict(norm="shared"),
]


@pytest.mark.parametrize(
    ("architecture", "tasks", "style"),
    cases_of(
        product(SIZES, [ONE, THREE], STYLES),
        [
            *product(["test_resnet"], [THREE], STYLES),
            ("test_resnet", ONE, STYLES[2]),
            *zip(list(SIZES)[1:], cycle([THREE, ONE]), STYLES[1:], strict=False),
        ],
    ),
    ids=str,
)
def test_round_trip(architecture, tasks, style, tmp_path):
    assert_round_trip(build(architecture, tasks=tasks, **style), tmp_path, images(architecture))


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(num_classes={"z": 3, "a": 7, "m": 5}),
        dict(num_classes={"z": 3, "a": 3}),
        dict(num_classes={"only": 3}),
        dict(tasks=["b", "a"], num_classes={"a": 2, "b": 9}),
        dict(tasks=["b", "a"], num_classes=0),
        dict(num_classes={"type": 3, "keys": 5, "a b": 2, "ü": 3, "train": 1, "0": 4, "/": 2}),
        dict(tasks=["b", "a"], gated="layer3.*,layer4.*"),
        dict(tasks=["b", "a"], gated="last 20%"),
        dict(tasks=["b", "a"], gated=["layer1.*", "layer4.*"], gate_init=0.25, keep_affine=True),
        dict(tasks=["b", "a"], in_chans=1),
        dict(tasks=["b", "a"], global_pool="max", drop_rate=0.5),
    ],
    ids=str,
)
def test_round_trip_of_keywords(kwargs, tmp_path):
    model = build(**kwargs)
    assert_round_trip(model, tmp_path, images(channels=kwargs.get("in_chans", 3)))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_args"]["tasks"] == model.tasks
    assert config["model_args"]["task_classes"] == model.task_classes
    assert config["num_classes"] == model.num_classes == max(model.task_classes)


def test_order_of_tasks_is_that_of_the_rows(tmp_path):
    """JSON may get sorted; a list stays in order, and a reloaded row is still its task's."""
    model = build(num_classes={"z": 4, "a": 4, "m": 4})
    tsbn_hub.save_pretrained(model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    again = tsbn_hub.from_pretrained(tmp_path).eval()
    assert again.tasks == ["z", "a", "m"]
    with torch.no_grad():
        assert_same(again(images(), task="a"), model(images())["a"], "a")
        assert not torch.equal(again(images(), task="a"), model(images(), task="z"))


@pytest.mark.parametrize(
    ("architecture", "norm"),
    cases_of(product(["test_resnet", "test_vit"], ["sigmoid", "affine"]), [("test_resnet", "sigmoid")]),
)
def test_round_trip_after_tasks_came_and_went(architecture, norm, tmp_path):
    x = images(architecture)
    model = build(architecture, num_classes={"second": 4, "first": 6}, norm=norm)
    model.add_task("alone", num_classes=3)
    model.add_task("like", like="first")
    randomize(model)
    assert_round_trip(model, tmp_path / "added", x)
    assert model.task_classes == [4, 6, 3, 6]
    model.remove_task("second")
    assert_round_trip(model, tmp_path / "removed", x)
    for task in ("first", "like"):
        model.remove_task(task)
    assert model.tasks == ["alone"] and model.num_classes == 3
    assert_round_trip(model, tmp_path / "one", x)
    model.add_task("two", num_classes=2)
    assert_round_trip(model, tmp_path / "two", x)
    model.reset_classifier({"two": 9})
    assert_round_trip(model, tmp_path / "reset", x)


def test_round_trip_in_bfloat16(tmp_path):
    model = build(num_classes={"b": 4, "a": 6}, keep_affine=True).bfloat16()
    assert_round_trip(model, tmp_path, images().bfloat16(), dtype=torch.bfloat16)
    for again in reload(tmp_path):
        assert again.conv1[0].weight.dtype == torch.float32, "the dtype is the loader's choice, as in timm"
        assert_equal_states(again.bfloat16(), model)


def test_round_trip_in_channels_last(tmp_path):
    model = build(tasks=["b", "a"]).to(memory_format=torch.channels_last)
    assert model.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)
    tsbn_hub.save_pretrained(model, tmp_path)
    for again in reload(tmp_path):
        assert_equal_states(again, model)
        with torch.no_grad():
            assert_same(again.to(memory_format=torch.channels_last)(images()), model(images()), "outputs")


def test_a_model_from_a_state_dict_overlay_is_saved_without_it(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    model = timm.create_model(
        "test_resnet_tsbn", pretrained=True, tasks=["b", "a"], pretrained_cfg_overlay=dict(state_dict=state)
    )
    assert_round_trip(model.eval(), tmp_path)


def test_a_set_task_is_not_saved(tmp_path):
    model = build(tasks=["b", "a"])
    model.set_task("a")
    tsbn_hub.save_pretrained(model, tmp_path)
    for again in reload(tmp_path):
        assert again.task is None and list(again(images())) == ["b", "a"]


def test_parameters_that_share_memory(tmp_path):
    """safetensors refuses shared memory: coat's norms stand at two places."""
    from .families import FAMILIES

    small = FAMILIES["coat"]
    model = small.converted(tasks=["b", "a"]).eval()
    randomize(model)
    tsbn_hub.save_pretrained(model, tmp_path)
    assert_equal_states(tsbn_hub.from_pretrained(tmp_path), model)


# --- config.json and the folder ---


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_config(architecture, tmp_path):
    model = build(architecture, num_classes={"z": 3, "a": 7})
    tsbn_hub.save_pretrained(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == f"{architecture}_tsbn"
    assert config["num_classes"] == 7
    args = config["model_args"]
    assert args["tasks"] == ["z", "a"] and args["task_classes"] == [3, 7]
    assert args["norm"] == "sigmoid" and args["keep_affine"] is False and args["gate_init"] == 0.5
    assert "num_classes" not in args, "transformers' TimmWrapper would pass it twice"
    assert config["pretrained_cfg"]["num_classes"] == 7


def test_only_safetensors_are_written(tmp_path):
    tsbn_hub.save_pretrained(build(), tmp_path / "new" / "folder")
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == FILES
    weights = tmp_path / "new" / "folder" / "model.safetensors"
    assert weights.stat().st_mode & 0o777 == (tmp_path / "new" / "folder" / "config.json").stat().st_mode & 0o777
    plain_file = tmp_path / "plain"
    plain_file.touch()
    assert weights.stat().st_mode == plain_file.stat().st_mode, "readable to those who may read any new file"


def test_other_files_stay(tmp_path):
    (tmp_path / "README.md").write_text("a card")
    tsbn_hub.save_pretrained(build(), tmp_path)
    assert (tmp_path / "README.md").read_text() == "a card"
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "README.md"}


def test_saving_a_second_time(tmp_path):
    first = build(tasks=["b", "a"])
    tsbn_hub.save_pretrained(first, tmp_path)
    again = tsbn_hub.from_pretrained(tmp_path)
    second = build("test_vit", num_classes={"z": 2, "a": 3, "m": 4}, keep_affine=True)
    assert_round_trip(second, tmp_path, images("test_vit"))
    assert_equal_states(again, first)  # what was loaded before does not read on in the replaced file


def test_saving_into_the_folder_that_it_was_loaded_from(tmp_path):
    tsbn_hub.save_pretrained(build(tasks=["b", "a"]), tmp_path)
    model = tsbn_hub.from_pretrained(tmp_path).eval()
    randomize(model)
    assert_round_trip(model, tmp_path)


def _half(path: Path) -> None:
    Path(path).write_bytes(b"half a file")
    raise OSError("No space left on device")


@pytest.mark.parametrize("what", ["weights", "config", "config-replaced"])
def test_a_write_that_fails_half_way(what, monkeypatch, tmp_path):
    first, second = build(tasks=["b", "a"]), build("test_vit", tasks=["x", "y", "z"])
    tsbn_hub.save_pretrained(first, tmp_path)
    with monkeypatch.context() as patched:
        if what == "weights":
            patched.setattr(surface, "save_file", lambda tensors, path, **kwargs: _half(path))
        elif what == "config":
            patched.setattr(surface, "save_config_for_hf", lambda model, path, **kwargs: _half(path))
        else:
            patched.setattr(surface.json, "dumps", lambda *args, **kwargs: _half(tmp_path / "no-file-of-ours"))
        with pytest.raises(OSError, match="No space left"):
            tsbn_hub.save_pretrained(second, tmp_path)
    (tmp_path / "no-file-of-ours").unlink(missing_ok=True)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    for again in reload(tmp_path):
        assert_equal_states(again, first)
    assert_round_trip(second, tmp_path, images("test_vit"))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("failing", sorted(FILES))
def test_a_file_that_cannot_be_replaced(failing, there, monkeypatch, tmp_path):
    """As another program may hold it; with what is moved already, nothing has changed."""
    first, second = build(tasks=["b", "a"]), build("test_vit", tasks=["x", "y", "z"])
    if there:
        tsbn_hub.save_pretrained(first, tmp_path)
    replace, failed = Path.replace, []

    def replace_but_one(source, target):
        if Path(target).name == failing and not failed:
            failed.append(target)
            raise PermissionError("It is in use.")
        return replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace_but_one)
        with pytest.raises(OSError, match="could not be written, what was there is kept"):
            tsbn_hub.save_pretrained(second, tmp_path)
    assert failed and {path.name for path in tmp_path.iterdir()} == (FILES if there else set())
    if there:
        assert_equal_states(tsbn_hub.from_pretrained(tmp_path), first)


def test_older_weights_of_another_library_go(tmp_path):
    for name in (
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ):
        (tmp_path / name).write_bytes(b"{}")
    assert_round_trip(build(tasks=["b", "a"]), tmp_path)


def test_a_compiled_model_is_saved_as_it_is(tmp_path):
    model = build(tasks=["b", "a"])
    tsbn_hub.save_pretrained(torch.compile(model), tmp_path)
    assert_equal_states(tsbn_hub.from_pretrained(tmp_path), model)


def test_a_keyword_that_json_has_not(tmp_path):
    """timm raises for it; the earlier files stay a pair."""
    first = build(tasks=["b", "a"])
    tsbn_hub.save_pretrained(first, tmp_path)
    second = build(tasks=["b", "a", "c"], act_layer=nn.ReLU)
    with pytest.raises(ValueError, match="act_layer"):
        tsbn_hub.save_pretrained(second, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    for again in reload(tmp_path):
        assert_equal_states(again, first)


def test_a_first_write_that_fails_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(surface, "save_file", lambda tensors, path, **kwargs: _half(path))
    with pytest.raises(OSError, match="No space left"):
        tsbn_hub.save_pretrained(build(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- transformers ---


def transformers_classes() -> tuple[type, type]:
    pytest.importorskip("transformers")
    from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperForImageClassification as Classifier
    from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModel as Model

    return Classifier, Model


@torch.no_grad()
@pytest.mark.parametrize("keep_affine", [True, False])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_transformers_loads_one_task(architecture, keep_affine, tmp_path):
    classifier_class, model_class = transformers_classes()
    model, x = build(architecture, num_classes={"only": 7}, keep_affine=keep_affine), images(architecture)
    tsbn_hub.save_pretrained(model, tmp_path)
    classifier = classifier_class.from_pretrained(tmp_path).eval()
    assert type(classifier.timm_model) is type(model) and classifier.num_labels == 7
    assert_equal_states(classifier.timm_model, model)
    assert_same(classifier(x).logits, model(x), "logits", ROUNDING)
    assert_same(classifier(x, task="only").logits, model(x), "logits of the named task", ROUNDING)
    backbone = model_class.from_pretrained(tmp_path).eval()
    assert_same(backbone(x).last_hidden_state, model.forward_features(x), "features", ROUNDING)
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    assert_same(backbone(x).pooler_output, pooled, "pooled", ROUNDING)
    assert_same(classifier.timm_model.fold()(x), model(x), "fold", ROUNDING)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [{"z": 7, "a": 7}, {"z": 3, "a": 7}], ids=["same", "different"])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_transformers_loads_several_tasks(architecture, sizes, tmp_path):
    classifier_class, model_class = transformers_classes()
    model, x = build(architecture, num_classes=sizes), images(architecture)
    tsbn_hub.save_pretrained(model, tmp_path)
    classifier = classifier_class.from_pretrained(tmp_path).eval()
    assert_equal_states(classifier.timm_model, model)
    assert_same(classifier(x).logits, model(x), "all tasks", ROUNDING)
    for task in sizes:
        assert_same(classifier(x, task=task).logits, model(x, task=task), task, ROUNDING)
    backbone = model_class.from_pretrained(tmp_path).eval()
    for task in sizes:
        with model.using_task(task), backbone.timm_model.using_task(task):
            assert_same(backbone(x).last_hidden_state, model.forward_features(x), task, ROUNDING)
    # It calls forward_features and forward_head, which speak of one task, and gives keywords to the first alone.
    for keywords in ({}, {"task": "a"}):
        with pytest.raises(RuntimeError, match=r"\['z', 'a'\].*using_task"):
            backbone(x, **keywords)


@torch.no_grad()
def test_transformers_loads_a_folded_model(tmp_path):
    classifier_class, _ = transformers_classes()
    model, x = build(num_classes={"z": 3, "a": 7}), images()
    tsbn_hub.save_pretrained(model.fold("z"), tmp_path)
    classifier = classifier_class.from_pretrained(tmp_path).eval()
    assert type(classifier.timm_model).__name__ == "ResNet" and classifier.num_labels == 3
    assert_same(classifier(x).logits, model(x, task="z"), "logits", ROUNDING)


# --- folded ---

LOAD_WITHOUT_US = """
import sys, torch
sys.modules["tsbn_hub"] = None  # an import of it would raise
import timm
for folder in sys.argv[1:]:
    x = torch.load(f"{folder}/../x.pt")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert "Tsbn" not in type(model).__name__ and not any("gate" in key for key in model.state_dict())
    with torch.no_grad():
        torch.save(model(x), f"{folder}/y.pt")
assert not any(name.startswith("tsbn_hub.") for name in sys.modules)
"""


@torch.no_grad()
def test_a_folded_model_needs_plain_timm_alone(tmp_path, python):
    expected, folders = {}, []
    cases = {
        "kept": ("test_resnet", dict(num_classes={"z": 3, "a": 7}, keep_affine=True)),
        "dropped": ("test_resnet", dict(num_classes={"z": 3, "a": 7}, keep_affine=False)),
        "affine": ("test_byobnet", dict(num_classes={"z": 3, "a": 7}, norm="affine")),
        "shared": ("test_efficientnet", dict(num_classes={"z": 3, "a": 7}, norm="shared")),
        "layer-norm": ("test_vit", dict(num_classes={"z": 3, "a": 7}, gate_init=0.9)),
        "one-task": ("test_convnext", dict(num_classes={"a": 7})),
        "gated": ("test_resnet", dict(num_classes={"z": 3, "a": 7}, gated="layer4.*", in_chans=1, global_pool="max")),
    }
    for name, (architecture, kwargs) in cases.items():
        model, x = build(architecture, **kwargs), images(architecture, kwargs.get("in_chans", 3))
        folder = tmp_path / name / "model"
        tsbn_hub.save_pretrained(model.fold("a"), folder)
        config = json.loads((folder / "config.json").read_text())
        assert config["architecture"] == architecture and config["num_classes"] == 7
        assert not {"tasks", "norm", "task_classes", "gated", "keep_affine", "gate_init"} & set(config["model_args"])
        torch.save(x, folder.parent / "x.pt")
        expected[folder] = model(x, task="a")
        folders.append(str(folder))
    result = python(LOAD_WITHOUT_US, *folders, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for folder, output in expected.items():
        assert_same(torch.load(folder / "y.pt"), output, str(folder), ROUNDING)


def test_a_folded_model_after_tasks_came_and_went(tmp_path):
    model = build(num_classes={"z": 3, "a": 7})
    model.add_task("m", num_classes=5)
    model.remove_task("z")
    tsbn_hub.save_pretrained(model.fold("m"), tmp_path)
    plain = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert plain.num_classes == 5 and type(plain).__name__ == "ResNet"
    with torch.no_grad():
        assert_same(plain(images()), model(images(), task="m"), "m")
