"""Rows of tasks are never loaded as those of other tasks: names go with them, wherever a state dict goes."""

import copy
import json
import shutil
from collections import OrderedDict
from itertools import product

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models import clean_state_dict, load_checkpoint
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.files.checkpoints import CheckpointError, note_tasks_of_weights
from tsbn_hub.training.balancing import DynamicWeightAverage, UncertaintyWeighting

ORDER, OTHER = ["a", "b"], ["b", "a"]


def of_timm(tasks, **options):
    return timm.create_model("test_resnet_tsbn", tasks=tasks, num_classes=3, **options)


def of_transformers(tasks):
    tasks = [Task(name, num_classes=3) for name in tasks]
    return TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)


def of_torch(tasks):
    return tsbn_hub.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)), tasks)


def saved_and_loaded(state_dict, folder):
    torch.save(state_dict, folder / "model.pth")
    return torch.load(folder / "model.pth", weights_only=True)


WAYS = {
    "as it is": lambda model, folder: model.state_dict(),
    "copied": lambda model, folder: copy.deepcopy(model.state_dict()),
    "as another dict": lambda model, folder: OrderedDict(model.state_dict()),
    "saved by torch": lambda model, folder: saved_and_loaded(model.state_dict(), folder),
    "wrapped, and the prefix taken off": lambda model, folder: clean_state_dict(
        saved_and_loaded(nn.ModuleDict({"module": model}).state_dict(), folder)
    ),
    "changed in place": lambda model, folder: with_new_tensors(model.state_dict()),
    "averaged by timm": lambda model, folder: ModelEmaV3(model).module.state_dict(),
}


def with_new_tensors(state_dict):
    for name in state_dict:
        state_dict[name] = state_dict[name].clone()
    return state_dict


def refused(model, load):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"has 2 tasks, \['a', 'b'\], in this order, this model has 2: \['b', 'a'\]"):
        load(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


LIBRARIES = [of_timm, of_transformers, of_torch]


@pytest.mark.parametrize(
    ("way", "build"),
    cases_of(product(WAYS, LIBRARIES), [*product(WAYS, [of_timm, of_torch]), ("as it is", of_transformers)]),
)
def test_another_order_is_refused(way, build, tmp_path):
    state_dict = WAYS[way](build(ORDER), tmp_path)
    refused(build(OTHER), lambda model: model.load_state_dict(state_dict))
    refused(build(OTHER), lambda model: model.load_state_dict(state_dict, strict=False))
    build(ORDER).load_state_dict(state_dict)


@pytest.mark.parametrize("norm", ["affine", "shared"])
def test_other_styles(norm):
    refused(of_timm(OTHER, norm=norm), lambda model: model.load_state_dict(of_timm(ORDER, norm=norm).state_dict()))


def test_a_part_of_a_model():
    with pytest.raises(RuntimeError, match="Each would get another one's rows"):
        of_timm(OTHER).layer1.load_state_dict(of_timm(ORDER).layer1.state_dict())
    with pytest.raises(RuntimeError, match="Each would get another one's rows"):
        of_timm(OTHER).fc.load_state_dict(of_timm(ORDER).fc.state_dict())


def test_wrapped():
    state_dict = AveragedModel(of_timm(ORDER)).state_dict()
    with pytest.raises(RuntimeError, match="Each would get another one's rows"):
        AveragedModel(of_timm(OTHER)).load_state_dict(state_dict)
    AveragedModel(of_timm(ORDER)).load_state_dict(state_dict)


def test_checkpoints_of_timm(tmp_path):
    model = of_timm(ORDER)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saver = CheckpointSaver(model, optimizer, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=1.0)
    refused(of_timm(OTHER), lambda model: load_checkpoint(model, f"{tmp_path}/last.pth.tar"))
    load_checkpoint(of_timm(ORDER), f"{tmp_path}/last.pth.tar")


def test_other_tasks_and_further_tasks():
    with pytest.raises(RuntimeError, match=r"has 2 tasks, \['a', 'b'\].*this model has 2: \['a', 'c'\].*add_task"):
        of_timm(["a", "c"]).load_state_dict(of_timm(ORDER).state_dict())
    grown = of_timm(["a"])
    grown.add_task("b")
    of_timm(ORDER).load_state_dict(grown.state_dict())
    grown.remove_task("a")
    of_timm(["b"]).load_state_dict(grown.state_dict(), strict=False)


def test_a_set_has_no_order():
    with pytest.raises(TypeError, match=r"a list of names, not the set .*which has no order"):
        of_timm({"a", "b"})
    with pytest.raises(TypeError, match="which has no order"):
        TsbnForMultiTask.from_backbone("timm/test_resnet", {"a", "b"}, pretrained=False)


def test_a_plain_state_dict_has_no_names():
    of_timm(ORDER, keep_affine=True).load_state_dict(timm.create_model("test_resnet", num_classes=3).state_dict())
    without = {name: tensor.clone() for name, tensor in of_timm(ORDER).state_dict().items()}
    of_timm(OTHER).load_state_dict(without)


def test_a_fold_tells_nothing():
    plain = of_timm(ORDER).fold("b").state_dict()
    assert not any("tasks" in entry for entry in plain._metadata.values())


@pytest.mark.parametrize("weighting", [UncertaintyWeighting, DynamicWeightAverage])
def test_loss_weightings(weighting, tmp_path):
    state_dict = saved_and_loaded(weighting(ORDER).state_dict(), tmp_path)
    with pytest.raises(RuntimeError, match="Each would get another one's rows"):
        weighting(OTHER).load_state_dict(state_dict)
    weighting(ORDER).load_state_dict(state_dict)


MESSAGE = r"has rows of 2 tasks, \['b', 'a'\], in this order, the model has 2: \['a', 'b'\]"


@pytest.mark.parametrize("build", [of_timm, of_transformers])
def test_weights_beside_the_config_of_another_model(build, tmp_path):
    for name, tasks in (("one", ORDER), ("other", OTHER)):
        tsbn_hub.save_pretrained(build(tasks), tmp_path / name)
        tsbn_hub.from_pretrained(tmp_path / name)
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "one" / "model.safetensors")
    with pytest.raises(CheckpointError, match=MESSAGE):
        tsbn_hub.from_pretrained(tmp_path / "one")


def test_weights_that_timm_is_given(tmp_path):
    tsbn_hub.save_pretrained(of_timm(OTHER), tmp_path)
    overlay = {"file": f"{tmp_path}/model.safetensors", "num_classes": 3}
    with pytest.raises(CheckpointError, match=MESSAGE):
        of_timm(ORDER, pretrained=True, pretrained_cfg_overlay=overlay)
    of_timm(OTHER, pretrained=True, keep_affine=False, pretrained_cfg_overlay=overlay)


def test_the_note_in_a_file_changes_nothing_else(tmp_path):
    tensors = {"half": torch.rand(3).half(), "long": torch.arange(5), "none": torch.zeros(0), "é": torch.rand(7)}
    save_file(tensors, tmp_path / "plain", metadata={"z": "1", "format": "pt"})
    for name in ("one", "two"):
        shutil.copy(tmp_path / "plain", tmp_path / name)
        note_tasks_of_weights(tmp_path / name, ["left", "rechts ä"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", "pt") as file:
        assert file.metadata() == {"z": "1", "format": "pt", "tasks": json.dumps(["left", "rechts ä"])}
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "plain", "two"]


def test_another_config_of_transformers(tmp_path):
    model, other = of_transformers(ORDER), of_transformers(OTHER)
    model.save_pretrained(tmp_path)
    for model_class in (TsbnForMultiTask, TsbnModel):
        with pytest.raises(ValueError, match=r"tasks=\['b', 'a'\]: those of the checkpoint are \['a', 'b'\]"):
            model_class.from_pretrained(tmp_path, config=other.config)
    with pytest.raises(RuntimeError, match="Each would get another one's rows"):
        TsbnForMultiTask.from_pretrained(None, config=other.config, state_dict=model.state_dict())
    again = TsbnForMultiTask.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert again.tasks == ORDER
