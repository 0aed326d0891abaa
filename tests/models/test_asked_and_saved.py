"""What is asked for beside a checkpoint, and is not what it has: an error where it would be ignored."""

import copy

import pytest
import timm
import torch
from transformers import ResNetConfig

import tsbn_hub
from tsbn_hub import Task, TsbnConfig, TsbnForMultiTask

BACKBONE = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1])
TASKS = [Task("b", num_classes=2), Task("a", num_classes=3)]


def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


def multi_task(folder, **options):
    torch.manual_seed(0)
    model = TsbnForMultiTask.from_backbone(copy.deepcopy(BACKBONE), TASKS, **options)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "asked",
    [{"num_labels": 7}, {"id2label": {0: "x"}}, {"label2id": {"x": 0}}, {"problem_type": "regression"}],
    ids=str,
)
def test_the_classes_of_a_model_are_those_of_its_tasks(asked, tmp_path):
    multi_task(tmp_path)
    message = rf"{next(iter(asked))}=.*Say it by the tasks, as in tasks=\[Task\('a', num_classes=7\)\]"
    for ignore in (True, False):
        with pytest.raises(ValueError, match=message):
            TsbnForMultiTask.from_pretrained(tmp_path, ignore_mismatched_sizes=ignore, **asked)
        with pytest.raises(ValueError, match=message):
            tsbn_hub.from_pretrained(tmp_path, ignore_mismatched_sizes=ignore, **asked)
    with pytest.raises(ValueError, match=message):
        TsbnForMultiTask.from_backbone("resnet", TASKS, **asked)


@torch.no_grad()
def test_the_way_out(tmp_path):
    model = multi_task(tmp_path)
    tasks = [Task("b", num_classes=7), TASKS[1]]
    again = TsbnForMultiTask.from_pretrained(tmp_path, tasks=tasks, ignore_mismatched_sizes=True)
    logits = again(images()).logits
    assert logits["b"].shape == (2, 7) and torch.equal(logits["a"], model(images()).logits["a"])


def test_a_config_goes_through_its_values():
    """Among them the labels that every configuration of transformers has."""
    config = TsbnConfig(BACKBONE, TASKS)
    for again in (TsbnConfig(**config.to_dict()), TsbnConfig.from_dict(config.to_dict()), copy.deepcopy(config)):
        assert again.task_names == ["b", "a"]


@pytest.mark.parametrize("saved", [True, False])
def test_another_keep_affine_than_the_checkpoints(saved, tmp_path):
    """The affine was left out, or made up, without a word."""
    model = multi_task(tmp_path / "hf", keep_affine=saved)
    with pytest.raises(ValueError, match=f"keep_affine={not saved}: the checkpoint was saved with {saved}"):
        TsbnForMultiTask.from_pretrained(tmp_path / "hf", keep_affine=not saved)
    TsbnForMultiTask.from_pretrained(tmp_path / "hf", keep_affine=saved)
    if saved:
        config = TsbnConfig(BACKBONE, TASKS, keep_affine=False)
        with pytest.raises(ValueError, match="have no place for it: they were saved with another keep_affine"):
            TsbnForMultiTask.from_pretrained(tmp_path / "hf", config=config)
    assert model.config.keep_affine is saved

    timm_model = timm.create_model("test_resnet_tsbn", num_classes={"b": 2, "a": 3}, keep_affine=saved)
    tsbn_hub.save_pretrained(timm_model, tmp_path / "timm")
    for classes in ({"b": 2, "a": 3}, {"b": 7, "a": 9}):  # with others timm loads with strict=False
        with pytest.raises(ValueError, match=f"keep_affine={not saved}: the checkpoint was saved with {saved}"):
            timm.create_model(
                f"local-dir:{tmp_path / 'timm'}", pretrained=True, keep_affine=not saved, num_classes=classes
            )
    other = timm.create_model("test_resnet_tsbn", num_classes={"b": 2, "a": 3}, keep_affine=not saved)
    if saved:
        with pytest.raises(RuntimeError, match="this model has no place for it: it was saved with keep_affine=True"):
            other.load_state_dict(timm_model.state_dict(), strict=False)
