"""Where a backbone, and its image processor, come from."""

import json

import numpy
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from timm.models import register_model
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    TimmWrapperConfig,
    TimmWrapperModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import CheckpointError, TsbnForMultiTask, TsbnModel
from tsbn_hub.models.hf.features import feature_layout
from tsbn_hub.models.hf.sources import image_processor_of
from tsbn_hub.models.timm import weights as weights_of_timm

from .hf_backbones import (
    BACKBONES,
    NAMES,
    TASKS,
    assert_equal,
    randomized,
)
from .test_bad_input import unregister
from .test_hf_saving import assert_round_trip

ROUNDING = 1e-6  # the same weights at another alignment in memory may take another kernel


@pytest.mark.parametrize(
    "name", cases_of(["vit", "swin", "dinov2", "convnext", "resnet", "segformer"], ["vit", "swin", "resnet"])
)
def test_from_a_folder_of_transformers(name, tmp_path):
    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    plain.save_pretrained(tmp_path)
    with torch.no_grad():
        model = TsbnModel.from_backbone(tmp_path, NAMES)
        assert_equal(model(x, task="a"), plain(x), bound=ROUNDING)
        random = TsbnModel.from_backbone(str(tmp_path), NAMES, pretrained=False)
        assert random.config.backbone_config.to_dict() == model.config.backbone_config.to_dict()
        assert random(x, task="a").last_hidden_state.shape == plain(x).last_hidden_state.shape
        assert not torch.equal(random(x, task="a").last_hidden_state, plain(x).last_hidden_state)


def test_from_a_classifier_and_its_folder(tmp_path):
    """Of a whole model of transformers its base is taken."""
    from transformers import ViTForImageClassification

    tiny = BACKBONES["vit"]
    torch.manual_seed(0)
    classifier = ViTForImageClassification(tiny.config).eval()
    classifier.save_pretrained(tmp_path)
    x = tiny.images()
    with torch.no_grad():
        expected = classifier(x, output_hidden_states=True).hidden_states[-1]
        for source in (classifier, tmp_path):
            model = TsbnForMultiTask.from_backbone(source, TASKS)
            assert_equal(model.tsbn(x, task="a", output_hidden_states=True).hidden_states[-1], expected, bound=ROUNDING)


OF_TIMM = [name for name in BACKBONES if name.startswith("timm/")]


@pytest.mark.parametrize("name", cases_of(OF_TIMM, ["timm/test_resnet", "timm/test_vit"]))
def test_from_timm(name):
    tiny = BACKBONES[name]
    torch.manual_seed(0)
    plain = randomized(timm.create_model(name.removeprefix("timm/"), num_classes=7)).eval()
    x = tiny.images()
    model = TsbnModel.from_backbone(plain, NAMES)
    with torch.no_grad():
        assert_equal(model(x, task="a").last_hidden_state, plain.forward_features(x))
        pooled = plain.forward_head(plain.forward_features(x), pre_logits=True)
        assert_equal(model.features(x, task="a").pooled, pooled)
        random = TsbnForMultiTask.from_backbone(name, TASKS, pretrained=False)
        assert not torch.equal(random.tsbn(x, task="a").last_hidden_state, plain.forward_features(x))
        assert random(x).logits["a"].shape == (2, 4)


def test_model_arguments_of_timm(tmp_path):
    model = TsbnForMultiTask.from_backbone("timm/test_vit", TASKS, pretrained=False, img_size=64, in_chans=1)
    x = torch.randn(2, 1, 64, 64)
    assert model(x).logits["z"].shape == (2, 3, 64, 64)
    assert_round_trip(randomized(model), tmp_path, x)
    from_module = TsbnForMultiTask.from_backbone(timm.create_model("test_vit", img_size=64, in_chans=1), TASKS)
    assert from_module(x).logits["z"].shape == (2, 3, 64, 64)


def test_a_file_of_weights_is_loaded_by_timm(tmp_path, monkeypatch):
    """As with the names of timm, the Hub is not asked for weights that the user has."""
    monkeypatch.setattr(weights_of_timm, "check_reachable", pytest.fail)
    weights = tmp_path / "own.safetensors"
    plain = randomized(timm.create_model("test_resnet")).eval()
    save_file(plain.state_dict(), weights)
    overlay = {"file": str(weights)}
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained_cfg_overlay=overlay).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_equal(model.tsbn(x, task="a").last_hidden_state, plain.forward_features(x))
    assert str(tmp_path) not in model.config.to_json_string() and overlay == {"file": str(weights)}

    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=rf"{weights} is truncated"):
        TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained_cfg_overlay=overlay)
    pickled = tmp_path / "own.pth"
    torch.save(plain.state_dict(), pickled)
    with pytest.raises(ValueError, match=rf"{pickled} is no .safetensors file. Pickled weights can run code"):
        TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained_cfg_overlay={"file": str(pickled)})
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        TsbnForMultiTask.from_backbone(
            "timm/test_resnet", TASKS, pretrained_cfg_overlay={"file": str(tmp_path / "none.safetensors")}
        )


def test_random_weights_of_a_model_type():
    model = TsbnForMultiTask.from_backbone("vit", TASKS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    assert model.config.backbone_config.hidden_size == 32 and model.config.keep_affine is False
    again = TsbnForMultiTask.from_backbone(ViTConfig(**model.config.backbone_config.to_dict()), TASKS)
    assert again.state_dict().keys() == model.state_dict().keys()


def test_memory_of_a_plain_model_is_not_shared():
    plain = BACKBONES["vit"].plain()
    model = TsbnForMultiTask.from_backbone(plain, TASKS)
    own = {tensor.data_ptr() for tensor in plain.state_dict().values()}
    assert not own & {tensor.data_ptr() for tensor in model.state_dict().values()}


# --- image processors ---


def picture(width: int = 400, height: int = 320) -> Image.Image:
    pixels = numpy.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_image_processor_of_transformers_travels(tmp_path):
    plain = ViTModel(BACKBONES["vit"].config)
    plain.save_pretrained(tmp_path / "plain")
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], do_rescale=True)
    processor.save_pretrained(tmp_path / "plain")
    model = TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS)
    model.save_pretrained(tmp_path / "ours")
    for again in (
        AutoImageProcessor.from_pretrained(tmp_path / "ours"),
        TsbnForMultiTask.from_pretrained(tmp_path / "ours").image_processor,
    ):
        expected = processor(picture(), return_tensors="pt").pixel_values
        assert torch.equal(again(picture(), return_tensors="pt").pixel_values, expected)
    assert TsbnForMultiTask.from_backbone(plain.config, TASKS).image_processor is None


def test_image_processor_travels_with_a_folded_model(tmp_path):
    model = TsbnForMultiTask.from_backbone(BACKBONES["vit"].config, TASKS)
    model.image_processor = ViTImageProcessor(image_mean=[0.1, 0.2, 0.3])
    folded = model.fold("a")
    tsbn_hub.save_pretrained(folded, tmp_path)
    for again in (
        AutoImageProcessor.from_pretrained(tmp_path),
        TsbnForMultiTask.from_backbone(folded, TASKS).image_processor,
    ):
        assert list(again.image_mean) == [0.1, 0.2, 0.3]
    model.image_processor = None
    assert model.fold("a").image_processor is None


PREPROCESSING = {
    "crop": "beit_base_patch16_224",
    "bilinear": "mobilenetv3_small_050",
    "no-crop": "test_vit",
    "squash": "coat_lite_medium_384.in1k",
    "squash-oblong": "vit_5b_patch16_sapiens2.fb",
}


def wrapped(name: str) -> TimmWrapperModel:
    """A model of timm, of any size: without memory."""
    with torch.device("meta"):
        return TimmWrapperModel(
            TimmWrapperConfig(architecture=name, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        )


@pytest.mark.parametrize("name", PREPROCESSING.values(), ids=PREPROCESSING)
def test_image_processor_of_timm_makes_timms_pixels(name, tmp_path):
    """Those of its transform for evaluation, where the crop can be in the middle."""
    processor = image_processor_of(f"timm/{name}", wrapped(name))
    assert isinstance(processor, BitImageProcessor)
    processor.save_pretrained(tmp_path)
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), verbose=False)
    # Resized, the image is wider than the crop by an even number of pixels.
    image = picture(*(320, 320) if name.startswith("mobilenet") else (400, 320))
    expected = create_transform(**config)(image)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt").pixel_values[0]
    assert pixels.shape == expected.shape
    error = (pixels - expected).abs() * min(config["std"]) * 255
    assert error.max() <= 3 and error.mean() <= 0.3, "in steps of 256"


def test_no_image_processor_pads():
    name = "deepseek_vit_412m.deepseek_v4_1_flash"
    assert timm.get_pretrained_cfg(name).crop_mode == "border"
    assert image_processor_of(f"timm/{name}", wrapped(name)) is None


def test_image_processor_of_a_timm_model_travels(tmp_path):
    model = TsbnForMultiTask.from_backbone(timm.create_model("test_vit"), TASKS)
    model.save_pretrained(tmp_path)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(picture(), return_tensors="pt").pixel_values
    assert model(pixels).logits["z"].shape[-2:] == pixels.shape[-2:] == (160, 160)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("test_vit", {"img_size": 64}), ("test_vit", {"img_size": 64, "in_chans": 1}), ("test_resnet", {"in_chans": 4})],
    ids=str,
)
def test_image_processor_of_timm_fits_the_models_arguments(architecture, arguments, in_memory):
    backbone = timm.create_model(architecture, **arguments) if in_memory else f"timm/{architecture}"
    model = TsbnForMultiTask.from_backbone(backbone, TASKS, pretrained=False, **({} if in_memory else arguments))
    processor, channels = model.image_processor, arguments.get("in_chans", 3)
    assert len(processor.image_mean) == len(processor.image_std) == channels
    size = arguments.get("img_size", 160)
    assert (processor.crop_size["height"], processor.crop_size["width"]) == (size, size)
    if channels == 3:
        pixels = processor(picture(), return_tensors="pt").pixel_values
        assert model(pixels).logits["z"].shape[-2:] == (size, size)


def test_image_processor_of_a_third_partys_architecture():
    @register_model
    def third_partys(pretrained=False, **kwargs):
        return timm.create_model("test_resnet", pretrained=pretrained, **kwargs)

    try:
        model = TsbnForMultiTask.from_backbone("timm/third_partys", TASKS, pretrained=False)
        assert model.image_processor.crop_size["height"] == 160
        assert (
            TsbnForMultiTask.from_backbone(TimmWrapperConfig(architecture="third_partys"), TASKS).image_processor
            is None
        )
    finally:
        unregister("third_partys")


def test_an_architecture_that_is_registered_again():
    """As in a notebook, where a cell is changed and run again: the features are those of the new one."""

    def last(width):
        def in_a_notebook(pretrained=False, **kwargs):
            return timm.create_model("test_resnet", channels=(8, 8, 8, width), **kwargs)

        in_a_notebook.__module__ = "__main__"
        register_model(in_a_notebook)
        return feature_layout(TimmWrapperConfig(architecture="in_a_notebook")).channels[-1]

    try:
        assert (last(8), last(16)) == (8, 16)
    finally:
        unregister("in_a_notebook")


def vit_with_processor(folder) -> ViTModel:
    plain = ViTModel(BACKBONES["vit"].config)
    plain.save_pretrained(folder)
    ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(folder)
    return plain


DAMAGED = ['{"size"', "[1]", '{"image_processor_type": 3}', '{"size": 3.5}']


@pytest.mark.parametrize("content", cases_of(DAMAGED, DAMAGED[::2]), ids=str)
def test_a_damaged_image_processor_is_not_none(content, tmp_path):
    vit_with_processor(tmp_path / "plain")
    TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS).save_pretrained(tmp_path / "ours")
    in_memory = ViTModel.from_pretrained(tmp_path / "plain")
    for kind in ("plain", "ours"):
        (tmp_path / kind / "preprocessor_config.json").write_text(content)
    for source, load in (
        ("plain", lambda: TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS)),
        ("plain", lambda: TsbnForMultiTask.from_backbone(in_memory, TASKS)),
        ("ours", lambda: TsbnForMultiTask.from_pretrained(tmp_path / "ours")),
        ("ours", lambda: tsbn_hub.from_pretrained(tmp_path / "ours")),
    ):
        file = tmp_path / source / "preprocessor_config.json"
        with pytest.raises(CheckpointError, match=f"{file} cannot be loaded as an image processor: "):
            load()
    (tmp_path / "ours" / "preprocessor_config.json").unlink()
    assert tsbn_hub.from_pretrained(tmp_path / "ours").image_processor is None


@pytest.mark.parametrize("processor_type", ["EvilProcessor", "ViTImageProcessor"])
def test_an_image_processors_code_is_not_run(processor_type, tmp_path, monkeypatch):
    """transformers would ask at the terminal whether to run it."""
    vit_with_processor(tmp_path)
    TsbnForMultiTask.from_backbone(tmp_path, TASKS).save_pretrained(tmp_path)
    config = {"image_processor_type": processor_type, "auto_map": {"AutoImageProcessor": "evil.EvilProcessor"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import BitImageProcessor\nclass EvilProcessor(BitImageProcessor): pass\n"
    )
    asked = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(text) or "y")
    for load in (tsbn_hub.from_pretrained, TsbnForMultiTask.from_pretrained):
        if processor_type == "EvilProcessor":
            with pytest.raises(CheckpointError, match=r"preprocessor_config\.json (.|\n)*trust_remote_code=True"):
                load(tmp_path)
        else:
            assert type(load(tmp_path).image_processor).__name__.startswith("ViTImageProcessor")
    assert not asked and not (tmp_path / "ran").exists()
