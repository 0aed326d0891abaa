"""A few of transformers' vision architectures, of every kind one; `python -m tests.conformance.backbones` tries all."""

import re

import pytest
import torch
import transformers
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BitConfig,
    CLIPConfig,
    CLIPModel,
    Data2VecVisionForImageClassification,
    PvtConfig,
    SiglipConfig,
    SiglipModel,
    ViTModel,
    Wav2Vec2Config,
)

from tests.matrices import cases_of
from tests.models.hf_backbones import BACKBONES, randomized
from tests.models.vision_architectures import (
    TASKS,
    assert_near,
    documented,
    first_tensor,
    tiny_config,
    try_out,
    vision_types,
)
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.models.hf.features import as_maps
from tsbn_hub.norms import TaskNorm

WORK = ["bit", "clip_vision_model", "data2vec-vision", "pvt", "rt_detr_resnet", "vitpose_backbone"]
REFUSED = ["clip", "detr", "idefics3_vision", "imagegpt", "pixtral", "swin2sr", "timm_backbone", "videomae", "vit_mae"]
SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)


@pytest.mark.parametrize(
    "model_type", cases_of([*WORK, *REFUSED], ["clip_vision_model", "rt_detr_resnet", "vitpose_backbone", *REFUSED])
)
def test_what_becomes_of_an_architecture(model_type):
    outcome = try_out(model_type)
    assert outcome == documented()[model_type]
    assert outcome.works == (model_type in WORK)


def test_no_architecture_is_unknown():
    """A new version of transformers has brought these: run `python -m tests.conformance.backbones --write`."""
    assert sorted(set(vision_types(exactly=False)) - documented().keys()) == []


@pytest.mark.parametrize(("config_class", "model_class"), [(CLIPConfig, CLIPModel), (SiglipConfig, SiglipModel)])
def test_a_folder_of_images_and_text(config_class, model_class, tmp_path):
    """The error names the image part, and how to get at it: that works."""
    config = config_class(
        vision_config=dict(image_size=32, patch_size=8, **SMALL), text_config=dict(vocab_size=50, **SMALL)
    )
    whole = model_class(config).eval()
    whole.save_pretrained(tmp_path)
    for source in (tmp_path, whole, config):
        with pytest.raises(ValueError, match=r"^\w+Config \(\w+\) cannot be a backbone: .*VisionModel: ") as caught:
            TsbnForMultiTask.from_backbone(source, TASKS)
    named, name = re.search(
        r"Give its (\w+): \w+\.from_pretrained\(…\)\.(\w+), or its vision_config", str(caught.value)
    ).groups()
    tower = getattr(AutoModel.from_pretrained(tmp_path).eval(), name)
    assert isinstance(tower, getattr(transformers, named))
    model, x = TsbnModel.from_backbone(tower, ["a", "b"]), torch.randn(2, 3, 32, 32)
    assert_near(model(x, task="b").last_hidden_state, whole.vision_model(x).last_hidden_state)


def test_models_of_other_things_than_images(tmp_path):
    BertModel(BertConfig(vocab_size=20, **SMALL)).save_pretrained(tmp_path)
    for source, name in (
        (tmp_path, r"BertConfig \(bert\)"),
        ("bert", r"BertConfig \(bert\)"),
        (Wav2Vec2Config(), r"Wav2Vec2Config \(wav2vec2\)"),
    ):
        with pytest.raises(ValueError, match=rf"^{name} cannot be a backbone: \w+Model takes no images"):
            TsbnModel.from_backbone(source, ["a", "b"])


@torch.no_grad()
def test_the_pooler_of_a_classifier_is_kept(tmp_path):
    """AutoModel builds Data2Vec without the pooler that its classifier reads."""
    config = tiny_config("data2vec-vision")
    classifier = randomized(Data2VecVisionForImageClassification(config)).eval()
    classifier.save_pretrained(tmp_path)
    x = torch.randn(2, 3, 64, 64)
    pooled = classifier.data2vec_vision(x).pooler_output
    for source in (classifier, tmp_path):
        assert_near(TsbnForMultiTask.from_backbone(source, TASKS).tsbn.features(x, task="a").pooled, pooled)
    TsbnForMultiTask.from_backbone(AutoModel.from_config(config), TASKS)  # without it: a fresh one


def test_a_pyramid_of_tokens_of_oblong_images():
    """Tokens in the order of their patches, the last ones with one of the class."""
    images, grids = torch.zeros(1, 3, 64, 128), [(16, 32), (8, 16), (4, 8), (2, 4)]
    expected = [torch.randn(1, 8, *grid) for grid in grids]
    tokens = [each.flatten(2).transpose(1, 2) for each in expected]
    tokens[-1] = torch.cat([torch.zeros(1, 1, 8), tokens[-1]], dim=1)
    for actual, grid in zip(as_maps(tokens, images, PvtConfig()), expected, strict=True):
        assert torch.equal(actual, grid)
    with pytest.raises(ValueError, match="not those of all patches"):
        as_maps([torch.zeros(1, 100, 8)], images, PvtConfig())


def test_group_norms_with_an_activation_get_gates():
    model = TsbnModel.from_backbone(
        BitConfig(num_groups=4, embedding_size=16, hidden_sizes=[8, 16], depths=[1, 1]), ["a", "b"]
    )
    assert any(isinstance(module, TaskNorm) for module in model.modules())


def test_a_folder_with_a_number_of_classes_of_its_own(tmp_path):
    """PVT's configuration has it beside the names of the classes."""
    model = TsbnForMultiTask.from_backbone(tiny_config("pvt"), [Task("a", num_classes=3)])
    model.fold("a").save_pretrained(tmp_path)
    assert transformers.PvtForImageClassification.from_pretrained(tmp_path).classifier.out_features == 3


def test_a_plain_folder_is_loaded_as_before(tmp_path):
    plain = ViTModel(BACKBONES["vit"].config).eval()
    plain.save_pretrained(tmp_path)
    x = BACKBONES["vit"].images()
    assert_near(first_tensor(TsbnModel.from_backbone(tmp_path, ["a", "b"])(x, task="a")), first_tensor(plain(x)))
