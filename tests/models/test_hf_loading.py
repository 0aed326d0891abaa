"""Loading by transformers: what a checkpoint lacks starts fresh where that is sound, and is an error where not."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from tests.matrices import cases_of
from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel
from tsbn_hub.norms import TaskNorm

from .hf_backbones import (
    BACKBONES,
    FEW,
    FEWEST,
    TASKS,
    assert_states_equal,
    few_backbones,
    randomized,
    some_backbones,
)

WEIGHTS = "model.safetensors"


@pytest.fixture
def nan_memory(monkeypatch):
    """What is not initialised is NaN."""
    empty_like = torch.empty_like

    def empty(*args, **kwargs):
        new = empty_like(*args, **kwargs)
        return new.fill_(torch.nan) if new.is_floating_point() else new.fill_(-12345)

    monkeypatch.setattr(torch, "empty_like", empty)


def without(folder: Path, *fragments: str) -> list[str]:
    """Take the entries with these fragments out of a folder's weights; their names."""
    weights = load_file(folder / WEIGHTS)
    gone = [name for name in weights if any(fragment in name for fragment in fragments)]
    save_file({name: weights[name].clone() for name in weights if name not in gone}, folder / WEIGHTS, {"format": "pt"})
    return gone


@pytest.fixture
def transformers_logs(caplog):
    """What transformers logs."""
    logging.enable_propagation()
    yield caplog
    logging.disable_propagation()


@some_backbones
def test_missing_heads_start_fresh(tiny, tmp_path, nan_memory, transformers_logs):
    model = TsbnModel.from_backbone(tiny.plain(), TASKS)
    randomized(model).save_pretrained(tmp_path)
    again, info = TsbnForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert "heads.z_head" in transformers_logs.text and "MISSING" in transformers_logs.text
    assert info["missing_keys"] and all(key.startswith("heads.") for key in info["missing_keys"])
    assert_states_equal(again.tsbn, model)
    for name, tensor in [*again.heads.named_parameters(), *again.heads.named_buffers()]:
        assert torch.isfinite(tensor).all(), name
        if name.endswith("running_var"):
            assert tensor.eq(1).all(), name
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert tensor.eq(0).all(), name
    # As torch initialises them: uniform, within the root of the inputs' number.
    linear = next(module for module in again.head("a").modules() if isinstance(module, torch.nn.Linear))
    bound = linear.in_features**-0.5
    assert bound / 2 < linear.weight.abs().max() <= bound


def test_the_backbone_alone_leaves_out_the_heads(tmp_path, transformers_logs):
    """And says nothing of them; of what else is too much it does."""
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    for model_class in (AutoModel, TsbnModel, TsbnBackbone):
        again, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert isinstance(again, TsbnModel) and not info["unexpected_keys"]
        assert_states_equal(again, model.tsbn)
    assert "UNEXPECTED" not in transformers_logs.text
    weights = load_file(tmp_path / WEIGHTS)
    save_file({**weights, "norms.heads.bias": torch.zeros(1)}, tmp_path / WEIGHTS, {"format": "pt"})
    AutoModel.from_pretrained(tmp_path)
    assert "norms.heads.bias" in transformers_logs.text and "UNEXPECTED" in transformers_logs.text


def test_superfluous_heads_are_reported(tmp_path, transformers_logs):
    """Where heads are loaded, one that has no place is a mistake."""
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    save_file({**weights, "heads.b_head.bias": torch.zeros(1)}, tmp_path / WEIGHTS, {"format": "pt"})
    again, info = TsbnForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert list(info["unexpected_keys"]) == ["heads.b_head.bias"]
    assert "heads.b_head.bias" in transformers_logs.text
    assert_states_equal(again, model)


OF_TRANSFORMERS = [name for name in BACKBONES if not name.startswith("timm/")]


@pytest.mark.parametrize("name", cases_of(OF_TRANSFORMERS, ["vit", "beit", "swinv2", "dinov3_vit", "resnet"]))
def test_missing_weights_of_the_trunk_start_fresh(name, tmp_path, nan_memory):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    of_tasks = ("gate_logits", "running_mean", "running_var", "num_batches_tracked")
    weights = load_file(tmp_path / WEIGHTS)
    gone = without(tmp_path, *(key for key in weights if not key.endswith(of_tasks) or key.startswith("heads.")))
    assert len(gone) > 10
    again, info = TsbnForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert len(info["missing_keys"]) == len(gone)
    for name, tensor in [*again.named_parameters(), *again.named_buffers()]:
        assert torch.isfinite(tensor).all() and (tensor != -12345).all(), name
    for name, module in again.named_modules():
        if isinstance(module, TaskNorm):
            assert torch.equal(module.gate_logits, model.get_submodule(name).gate_logits), "what is there is taken"
            # What new gates would make 1.
            assert module.weight.eq(2).all() and (module.bias is None or module.bias.eq(0).all())


SHARED = [{"norm": "shared"}, {"gated": "encoder.stages.1.*"}]


@pytest.mark.parametrize(
    ("entry", "options"),
    [*itertools.product(["weight", "bias"], [{}, *SHARED]), *itertools.product(["running_var"], SHARED)],
    ids=str,
)
def test_one_missing_weight_of_a_norm(entry, options, tmp_path, nan_memory):
    """What the checkpoint has of the norm stays."""
    model = BACKBONES["resnet"].multi_task(**options)
    model.save_pretrained(tmp_path)
    (gone,) = without(tmp_path, f"embedder.normalization.{entry}")
    again = TsbnForMultiTask.from_pretrained(tmp_path).state_dict()
    for key, tensor in model.state_dict().items():
        same = key.removeprefix("tsbn.backbone.") != gone.removeprefix("tsbn.backbone.")
        assert torch.isfinite(again[key]).all() and torch.equal(again[key], tensor) == same, key


def test_one_missing_weight_of_a_head(tmp_path, nan_memory):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    gone = without(tmp_path, "heads.z_head.norm.bias")
    again = TsbnForMultiTask.from_pretrained(tmp_path)
    for key, tensor in model.state_dict().items():
        mine = again.state_dict()[key]
        assert torch.isfinite(mine).all() and (key in gone) != torch.equal(mine, tensor), key


@pytest.mark.parametrize("name", cases_of(FEW, FEWEST))
def test_missing_gates(name, tmp_path):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    gates = [key for key in load_file(tmp_path / WEIGHTS) if key.endswith("gate_logits")]
    whole = load_file(tmp_path / WEIGHTS)
    without(tmp_path, gates[0])
    with pytest.raises(ValueError, match=r"lacks tsbn\.backbone\..*gate_logits\. .*from_backbone"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=rf"gates for {len(gates) - 1} of the {len(gates)} task norms"):
        model.load_state_dict({key: value for key, value in whole.items() if key != gates[0]})
    without(tmp_path, "gate_logits")
    with pytest.raises(ValueError, match=rf"lacks .*, … \({len(gates)} in all\).*from_backbone"):
        TsbnForMultiTask.from_pretrained(tmp_path)


@few_backbones
def test_a_plain_folder_is_no_multi_task_model(tiny, tmp_path):
    tiny.plain().save_pretrained(tmp_path)
    for model_class in (TsbnForMultiTask, TsbnModel, TsbnConfig):
        with pytest.raises(ValueError, match=r"not of one with tasks \('tsbn'\)\. .*from_backbone"):
            model_class.from_pretrained(tmp_path)


@pytest.mark.parametrize("entry", ["weight", "bias", "running_mean", "running_var"])
def test_missing_parts_of_tasks_without_gates(entry, tmp_path):
    BACKBONES["resnet"].multi_task(norm="affine").save_pretrained(tmp_path)
    without(tmp_path, f"embedder.normalization.{entry}")
    with pytest.raises(ValueError, match=rf"lacks .*embedder\.normalization\.{entry}\. "):
        TsbnForMultiTask.from_pretrained(tmp_path)


def test_missing_weights_of_a_timm_trunk(tmp_path, nan_memory):
    """transformers would leave some of them uninitialised."""
    BACKBONES["timm/test_vit"].multi_task().save_pretrained(tmp_path)
    without(tmp_path, "cls_token")
    with pytest.raises(ValueError, match=r"lacks tsbn\.backbone\.timm_model\.cls_token"):
        TsbnForMultiTask.from_pretrained(tmp_path)


def test_superfluous_gates(tmp_path):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    weights["tsbn.backbone.layernorm.gate_logits"] = torch.zeros(3, 32)
    save_file(weights, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(ValueError, match=r"gates that this model has no place for: .*layernorm\.gate_logits"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"no place for: .*layernorm\.gate_logits"):
        model.load_state_dict(weights)


@pytest.mark.parametrize("name", cases_of(FEW, FEWEST))
def test_another_number_of_tasks(name, tmp_path):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["tasks"] = config["tasks"][:2]
    (tmp_path / "config.json").write_text(json.dumps(config))
    for ignore in (False, True):
        with pytest.raises((RuntimeError, ValueError), match=r"3 tasks.*\['z', 'a'\]"):
            TsbnForMultiTask.from_pretrained(tmp_path, ignore_mismatched_sizes=ignore)
    two = BACKBONES[name].multi_task(tasks=TASKS[:2])
    with pytest.raises(RuntimeError, match=r"3 tasks.*\['z', 'a'\]"):
        two.load_state_dict(model.state_dict())


@pytest.mark.parametrize("model_class", [TsbnForMultiTask, TsbnModel, TsbnConfig, AutoModel, AutoConfig])
def test_other_tasks_than_the_checkpoints_are_refused(model_class, tmp_path):
    """The rows of its gates go by its order."""
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    swapped = [TASKS[1], TASKS[0], TASKS[2]]
    for tasks in (swapped, [task.name for task in swapped], [task.to_dict() for task in swapped], ["z", "a"], ["b"]):
        with pytest.raises(ValueError, match=r"tasks=\[.*: those of the checkpoint are \['z', 'a', 'm'\]\. .*add_task"):
            model_class.from_pretrained(tmp_path, tasks=tasks)
    with pytest.raises(TypeError, match="'zam'"):
        model_class.from_pretrained(tmp_path, tasks="zam")
    for own in (TASKS, tuple(TASKS), [task.name for task in TASKS]):
        again = model_class.from_pretrained(tmp_path, tasks=own)
        assert getattr(again, "config", again).tasks == TASKS


def test_another_size_of_a_head(tmp_path, nan_memory):
    """The head may start fresh, if one says so."""
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    config = TsbnConfig.from_pretrained(tmp_path)
    config.tasks[1] = Task("a", num_classes=6)
    with pytest.raises(ValueError, match=r"heads\.a_head\..* in the shape \(4.*this model in \(6"):
        TsbnForMultiTask.from_pretrained(tmp_path, config=config)
    again = TsbnForMultiTask.from_pretrained(tmp_path, config=config, ignore_mismatched_sizes=True)
    assert_states_equal(again.tsbn, model.tsbn)
    logits = again(BACKBONES["vit"].images()).logits
    assert logits["a"].shape == (2, 6) and logits["a"].isfinite().all()


def test_files_that_are_none(tmp_path):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(Exception, match=r"(?i)header|incomplete|truncated|safetensors"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"safetensors"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    plain = BACKBONES["vit"].plain()
    plain.config.save_pretrained(tmp_path / "plain")
    torch.save(plain.state_dict(), tmp_path / "plain" / "pytorch_model.bin")
    for options in ({}, {"use_safetensors": False}):
        with pytest.raises(OSError, match=r"safetensors"):
            TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS, **options)
        with pytest.raises(OSError, match=r"safetensors"):
            TsbnForMultiTask.from_pretrained(tmp_path, **options)
