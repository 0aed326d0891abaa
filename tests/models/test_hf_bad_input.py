"""What is wrong is refused by the models of transformers, with the name of what was given and of what is known."""

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from transformers import AutoBackbone, DINOv3ViTConfig, ResNetConfig, ViTConfig

import tsbn_hub
from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel

from .hf_backbones import BACKBONES, NAMES, TASKS

KNOWN = r"\['z', 'a', 'm'\]"
VIT = BACKBONES["vit"]


@pytest.fixture(scope="module")
def model():
    return VIT.multi_task()


# --- labels ---

LABELS = {
    "size": ({"z": torch.zeros(2, 16, 16, dtype=torch.long)}, r"task 'z'.*\(2, 16, 16\).*\(B, 32, 32\)"),
    "dtype": ({"z": torch.zeros(2, 32, 32)}, r"task 'z'.*torch.float32.*torch.int64"),
    "range": ({"z": torch.full((2, 32, 32), 3)}, r"task 'z'.*\[3|task 'z'.* 3.*0 to 2"),
    "class": ({"a": torch.tensor([0, 4])}, r"task 'a'.*\[4\].*0 to 3"),
    "one-hot": ({"a": torch.eye(4)[:2]}, r"task 'a'.*\(2, 4\)"),
    "negative depth": ({"m": torch.full((2, 32, 32), -1.0)}, r"task 'm'.*negative"),
    "NaN": ({"m": torch.full((2, 32, 32), torch.nan)}, r"task 'm'.*NaN"),
    "unknown task": ({"b": torch.zeros(2)}, rf"\['b'\].*{KNOWN}"),
}


@pytest.mark.parametrize(("labels", "message"), LABELS.values(), ids=LABELS)
def test_labels(labels, message, model):
    with pytest.raises(ValueError, match=message):
        model(VIT.images(), labels=labels)


def test_labels_of_a_task_that_does_not_run(model):
    with pytest.raises(ValueError, match=r"\['z'\].*for the tasks \['a'\]"):
        model(VIT.images(), labels={"z": VIT.labels()["z"]}, task="a")


def test_no_labels_at_all(model):
    assert model(VIT.images(), labels={}).loss is None and model(VIT.images()).losses is None
    nothing = model(VIT.images(), labels={"a": torch.full((2,), -100), "z": torch.full((2, 32, 32), -100)})
    assert nothing.loss == 0 and nothing.loss.requires_grad


# --- tasks ---


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(VIT.images(), task="b"),
        lambda model: model(VIT.images(), task=["a", "b"]),
        lambda model: model.set_task("b"),
        lambda model: model.using_task("b").__enter__(),
        lambda model: model.fold("b"),
        lambda model: model.fold_head("b"),
        lambda model: model.head("b"),
        lambda model: model.remove_task("b"),
        lambda model: model.tsbn.features(VIT.images(), task="b"),
    ],
    ids=["call", "one-a-sample", "set_task", "using_task", "fold", "fold_head", "head", "remove_task", "features"],
)
def test_unknown_task(use, model):
    with pytest.raises(ValueError, match=rf"'b'.*{KNOWN}"):
        use(model)


def test_tasks_a_sample(model):
    with pytest.raises(ValueError, match="2 tasks for a batch of 3"):
        model(VIT.images(3), task=["a", "z"])
    with pytest.raises(ValueError, match=rf"Rows \[0, 3\].*{KNOWN}"):
        model(VIT.images(), task=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="tensor: name the task"):
        model(VIT.images(), task=torch.tensor(0))


def test_not_said_which(model):
    for fold in (model.fold, model.fold_head, model.tsbn.fold):
        with pytest.raises(RuntimeError, match=rf"{KNOWN}.*fold\('z'\)"):
            fold()


@pytest.mark.parametrize(
    ("tasks", "error", "message"),
    [
        ([], ValueError, "tasks is empty"),
        (["a", "a"], ValueError, r"\['a'\] are repeated"),
        (["a.b"], ValueError, r"'a\.b'.*no dot"),
        ("age", TypeError, r"'age'.*\['age'\]"),
        ([{"kind": "depth"}], ValueError, "it has no name"),
        ([{"name": "a", "colour": 1}], ValueError, r"unknown are \['colour'\]"),
    ],
)
def test_task_lists(tasks, error, message):
    with pytest.raises(error, match=message):
        TsbnConfig(ViTConfig(), tasks)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("a", "nonsense"), "kind='nonsense'.*segmentation"),
        (Task("a", num_classes=3, head="nonsense"), "no head 'nonsense'.*linear"),
        (Task("a", "depth", head_args={"colour": 1}), r"no keywords \['colour'\].*channels"),
        (Task("a"), "number of classes is not known"),
    ],
)
def test_tasks_that_have_no_head(task, message):
    with pytest.raises(ValueError, match=message):
        TsbnForMultiTask(TsbnConfig(VIT.config, [task]))


@pytest.mark.parametrize("task", ["smile", None, {"name": "smile"}])
def test_a_task_to_add_that_is_none(task):
    model = VIT.multi_task()
    with pytest.raises(TypeError, match=r"add_task got .*: give a Task, .*Task\('smile', 'depth'\)"):
        model.add_task(task)
    assert model.tasks == NAMES


# --- options ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "nonsense"}, "norm='nonsense'.*sigmoid"),
        ({"gate_init": 1.0}, "gate_init=1.0"),
        ({"gated": "*.nonsense"}, r"'\*\.nonsense' matches the name of no norm\. There are 9 norms, such as layers\.0"),
        ({"gated": ["*", "encoder.*"]}, r"'encoder\.\*' matches"),
        ({"gated": []}, "gated is empty"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        TsbnModel.from_backbone(VIT.config, NAMES, **options)


# --- backbones ---


def test_backbone_without_norms():
    with pytest.raises(ValueError, match="no norm layer that could get gates"):
        TsbnModel.from_backbone(timm.create_model("test_nfnet"), NAMES)


def test_backbone_that_is_none():
    with pytest.raises(ValueError, match=r"Sequential is neither transformers' nor timm's: convert\(\)"):
        TsbnModel.from_backbone(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), NAMES)


@pytest.mark.parametrize("convert", ["tsbn", "timm", "converted"])
def test_backbone_that_has_task_norms(convert, model):
    converted = {
        "tsbn": lambda: model,
        "timm": lambda: timm.create_model("test_resnet_tsbn", tasks=NAMES),
        "converted": lambda: tsbn_hub.convert(VIT.plain(), NAMES),
    }[convert]()
    with pytest.raises(ValueError, match=r"has task norms already: fold a task first, or use add_task"):
        TsbnForMultiTask.from_backbone(converted, TASKS)


def test_folder_and_configuration_that_have_task_norms(model, tmp_path):
    model.save_pretrained(tmp_path)
    for source, options in ((tmp_path, {}), (tmp_path, {"pretrained": False}), (model.config, {})):
        with pytest.raises(ValueError, match=r"has task norms already: fold a task first, or load .* use add_task"):
            TsbnForMultiTask.from_backbone(source, TASKS, **options)


@pytest.mark.parametrize("tasks", [NAMES, ["a"]], ids=["three", "one"])
def test_timm_with_task_norms_by_transformers_doors(tasks, tmp_path):
    tsbn_hub.save_pretrained(timm.create_model("test_resnet_tsbn", tasks=tasks), tmp_path)
    for source, pretrained in ((tmp_path, True), (tmp_path, False), ("timm/test_resnet_tsbn", False)):
        with pytest.raises(ValueError, match=r"has task norms already: fold a task first, or load .* use add_task"):
            TsbnForMultiTask.from_backbone(source, TASKS, pretrained=pretrained)
    for door in (TsbnForMultiTask, TsbnModel, TsbnConfig):
        with pytest.raises(
            ValueError, match=r"timm's test_resnet_tsbn: load it by tsbn_hub\.from_pretrained, or by timm"
        ):
            door.from_pretrained(tmp_path)


def test_backbone_of_another_shape_than_its_configuration():
    plain = VIT.plain()
    plain.layers = plain.layers[:2]
    with pytest.raises(ValueError, match="ViTModel does not fit its own configuration"):
        TsbnModel.from_backbone(plain, NAMES)


def test_backbone_class_that_holds_no_base_model():
    for config in (DINOv3ViTConfig(**_tokens()), ResNetConfig(hidden_sizes=[8, 8, 8, 8], embedding_size=8)):
        native = AutoBackbone.from_config(config)
        with pytest.raises(ValueError, match=rf"no base model in {type(native).__name__}.*AutoModel"):
            TsbnModel.from_backbone(native, NAMES)


def _tokens():
    return dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=32)


@pytest.mark.parametrize("kind", ["model", "config", "timm"])
def test_keywords_with_a_backbone_in_memory(kind):
    """Which would do nothing."""
    backbone = {"model": VIT.plain, "config": lambda: VIT.config, "timm": lambda: timm.create_model("test_vit")}[kind]()
    for keywords in ({"gate_int": 0.9}, {"hidden_size": 64}, {"dtype": "float16", "token": None}):
        wrong = rf"\['{next(iter(keywords))}'\], and a {type(backbone).__name__}"
        with pytest.raises(TypeError, match=rf"{wrong} .*'gate_init'.*'token'"):
            TsbnForMultiTask.from_backbone(backbone, TASKS, **keywords)
    TsbnForMultiTask.from_backbone(backbone, TASKS, gate_init=0.9, revision="v1", token=None)


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match=r"no architecture 'nonsense'.*list_models"):
        TsbnModel.from_backbone("timm/nonsense", NAMES)
    for source in (tmp_path / "nowhere", str(tmp_path / "nowhere"), Path("nowhere")):
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
            TsbnModel.from_backbone(source, NAMES)
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
            TsbnModel.from_pretrained(source)
    (tmp_path / "file").touch()
    for source in (tmp_path / "file", str(tmp_path / "file")):
        for load in (TsbnModel.from_pretrained, TsbnModel.from_backbone, tsbn_hub.from_pretrained):
            with pytest.raises(FileNotFoundError, match=f"{source} is a file: give the folder that it is in"):
                load(source)
    with pytest.raises(OSError):
        TsbnModel.from_backbone("nobody/nothing", NAMES)
    with pytest.raises((OSError, ValueError), match=str(tmp_path)):
        TsbnModel.from_backbone(tmp_path, NAMES)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(ValueError, match="nonsense"):
        TsbnModel.from_backbone(tmp_path, NAMES)
    with pytest.raises(ValueError, match="model_type='nonsense'"):
        TsbnConfig({"model_type": "nonsense"})


def test_stages():
    with pytest.raises(ValueError, match="stage9"):
        TsbnBackbone(TsbnConfig(VIT.config, NAMES, out_features=["stage9"]))
    backbone = TsbnBackbone(TsbnConfig(VIT.config, NAMES))
    with pytest.raises(ValueError, match=r"no attentions.*TsbnModel"):
        backbone(VIT.images(), output_attentions=True)


def test_images_of_a_wrong_number_of_channels(model):
    with pytest.raises((ValueError, RuntimeError), match=r"channel"):
        model(torch.randn(2, 1, 32, 32))
