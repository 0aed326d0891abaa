"""`from_pretrained` and `save_pretrained` of models of transformers, folded and not. (Of the Hub: tests/hub.)"""

import json
import shutil

import pytest
import torch
from transformers import PreTrainedModel

import tsbn_hub
from tests.models.hf_backbones import BACKBONES, assert_equal, assert_states_equal
from tsbn_hub import CheckpointError

TINY = ["vit", "resnet", "timm/test_resnet"]


@pytest.fixture(params=TINY)
def tiny(request):
    return BACKBONES[request.param]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["multi_task", "backbone"])
def test_a_round_trip(kind, tiny, tmp_path):
    model = getattr(tiny, kind)()
    tsbn_hub.save_pretrained(model, tmp_path / "new" / "folder")
    again = tsbn_hub.from_pretrained(str(tmp_path / "new" / "folder"))
    assert type(again) is type(model) and again.tasks == model.tasks and not again.training
    assert_states_equal(again, model)
    assert_equal(again(tiny.images()), model(tiny.images()), bound=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("task", ["a", "m"], ids=["classification", "depth"])
def test_a_folded_model(task, tiny, tmp_path):
    plain = tiny.multi_task().fold(task)
    tsbn_hub.save_pretrained(plain, tmp_path)
    again = tsbn_hub.from_pretrained(tmp_path)
    assert type(again) is type(plain) and isinstance(again, PreTrainedModel)
    assert_equal(again(tiny.images()), plain(tiny.images()), bound=1e-6)


@pytest.mark.parametrize("names", [None, [], ["NoSuchModel"]])
def test_a_class_that_is_unknown(names, tmp_path):
    tsbn_hub.save_pretrained(BACKBONES["vit"].multi_task(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": names}))
    with pytest.raises(ValueError, match="names the architectures"):
        tsbn_hub.from_pretrained(tmp_path)


def test_weights_that_are_truncated_missing_or_a_pickle(tmp_path):
    tsbn_hub.save_pretrained(BACKBONES["vit"].multi_task(), tmp_path)
    weights = tmp_path / "model.safetensors"
    shutil.copy(weights, tmp_path / "whole")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is truncated"):
        tsbn_hub.from_pretrained(tmp_path)
    weights.unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors .*pytorch_model\.bin.* can run code"):
        tsbn_hub.from_pretrained(tmp_path)
