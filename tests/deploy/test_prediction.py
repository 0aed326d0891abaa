"""Predictions for image files: what the model sees, what is written, and what goes wrong."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

import tsbn_hub
from tests.models.test_families import randomize
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.data import read_image
from tsbn_hub.deploy import predict, predict_files, prediction
from tsbn_hub.models import surface_of

TASKS = [
    Task("seg", "segmentation", labels=["floor", "wall", "door"], head_args={"channels": 8}),
    Task("depth", "depth", head_args={"channels": 8}),
    Task("place", labels=["room", "hall"]),
]
AS_IT_IS = {"input_size": (3, 40, 48), "mean": (0.0,) * 3, "std": (1.0,) * 3, "crop_pct": 1.0}


def noise(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def timm_model(data_config: dict = AS_IT_IS, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(
        "test_resnet_tsbn", num_classes={"b": 3, "a": 7}, pretrained_cfg_overlay=data_config, **kwargs
    )
    randomize(model)
    return model.eval()


def transformers_model(**processing: object) -> nn.Module:
    from transformers import BitImageProcessor

    torch.manual_seed(0)
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained=False)
    randomize(model)
    model.image_processor = BitImageProcessor(
        **{"size": {"height": 64, "width": 96}, "do_center_crop": False, "image_mean": [0.1] * 3, **processing}
    )
    return model


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    noise().save(path)
    return path


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what the model sees and says ---


@torch.no_grad()
def test_a_timm_model_gets_what_its_config_says():
    model = timm_model(AS_IT_IS | {"mean": (0.25,) * 3, "std": (0.5,) * 3})
    pixels = pil_to_tensor(noise()) / 255
    expected = model((pixels[None] - 0.25) / 0.5)
    predictions = predict(model.train(), noise())
    assert list(predictions) == ["b", "a"] and not model.training
    for task, predicted in predictions.items():
        assert torch.allclose(predicted.value, expected[task].softmax(1)[0], atol=1e-5)
        assert predicted.description["class"] == str(expected[task].argmax().item())
        alone = predict(model, noise(), [task])
        assert list(alone) == [task] and torch.allclose(alone[task].value, predicted.value, atol=1e-6)


@torch.no_grad()
def test_a_timm_model_of_grey_images():
    grey = {"input_size": (1, 40, 48), "mean": (0.25,), "std": (0.5,), "crop_pct": 1.0}
    model = timm_model(grey, in_chans=1)
    pixels = pil_to_tensor(noise(mode="L")) / 255
    expected = model((pixels[None] - 0.25) / 0.5)
    for image in (noise(), noise(mode="L")):
        predictions = predict(model, image)
        assert torch.allclose(predictions["a"].value, expected["a"].softmax(1)[0], atol=1e-5)
    assert predictions["a"].picture.shape == (3, 40, 48)


def test_a_timm_model_of_another_size_than_its_pretrained_one():
    model = timm.create_model("test_vit_tsbn", img_size=64, num_classes={"b": 3, "a": 7})
    assert surface_of(model).preprocessing().prepare(noise()).shape == (3, 64, 64)
    assert predict(model, noise())["a"].picture.shape == (3, 40, 48)


@torch.no_grad()
def test_a_model_of_transformers_of_grey_images():
    from transformers import BitImageProcessor

    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained=False, in_chans=1)
    model.image_processor = BitImageProcessor(do_resize=False, do_center_crop=False, image_mean=[0.25], image_std=[0.5])
    expected = model((pil_to_tensor(noise(mode="L"))[None] / 255 - 0.25) / 0.5).logits
    assert torch.allclose(predict(model, noise())["place"].value, expected["place"].softmax(1)[0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 64), (300, 50)])
def test_a_model_of_transformers_gets_what_its_image_processor_gives(size):
    model = transformers_model()
    expected = model(**model.image_processor(noise(*size), return_tensors="pt")).logits
    predictions = predict(model, noise(*size))
    assert predictions["seg"].value.shape == predictions["depth"].value.shape == (64, 96)
    assert torch.equal(predictions["seg"].value, expected["seg"].argmax(1)[0])
    assert torch.allclose(predictions["depth"].value, expected["depth"][0, 0].clamp(min=0), atol=1e-5)
    assert torch.allclose(predictions["place"].value, expected["place"].softmax(1)[0], atol=1e-5)
    assert predictions["place"].description["class"] == ["room", "hall"][expected["place"].argmax()]
    alone = predict(model, noise(*size), ["depth"])
    assert list(alone) == ["depth"] and torch.allclose(alone["depth"].value, predictions["depth"].value, atol=1e-5)


@pytest.mark.parametrize("processing", [{}, {"do_normalize": False}, {"do_rescale": False}], ids=str)
def test_pictures_are_drawn_over_the_image_before_it_is_normalised(processing):
    model = transformers_model(**processing)
    picture = predict(model, noise(96, 64))["seg"]
    expected = model.kinds["seg"].picture(picture.value, pil_to_tensor(noise(96, 64)) / 255)
    assert (picture.picture[:, :64, :96].int() - expected.int()).abs().max() <= 1  # beside it is the legend


def test_half_precision():
    model = timm_model()
    expected = predict(model, noise())["a"].value
    assert torch.allclose(predict(model.to(torch.bfloat16), noise())["a"].value, expected, atol=0.05)


@torch.no_grad()
@pytest.mark.parametrize("build", [timm_model, transformers_model])
def test_a_task_that_is_set_changes_nothing(build):
    model = build()
    expected = predict(model, noise())
    model.set_task(model.tasks[-1])
    for task, predicted in predict(model, noise()).items():
        assert torch.allclose(predicted.value.float(), expected[task].value.float(), atol=1e-5)


@torch.no_grad()
def test_a_folded_model_has_one_task():
    model = timm_model()
    (folded,) = predict(model.fold("a"), noise()).items()
    assert folded[0] == "default"
    assert torch.allclose(folded[1].value, predict(model, noise())["a"].value, atol=1e-6)


# --- what is written ---


@pytest.mark.parametrize("build", [timm_model, transformers_model])
def test_the_files(build, image, tmp_path):
    model, other = build(), tmp_path / "other.jpg"
    noise(200, 100).save(other)
    returned = predict_files(model, [image, str(other)], tmp_path / "new" / "out")
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {
        "predictions.json", *(f"{name}.{task}.png" for name in ("image", "other") for task in model.tasks)
    }  # fmt: skip
    written = json.loads((out / "predictions.json").read_text())
    assert written == returned and list(written) == [str(image), str(other)]
    for path in (image, other):
        for task, expected in predict(model, read_image(path)).items():
            assert written[str(path)][task] == expected.description
            with Image.open(out / f"{path.stem}.{task}.png") as picture:
                assert torch.equal(pil_to_tensor(picture), expected.picture)


def test_images_of_one_name(tmp_path):
    paths = [tmp_path / name for name in ("a/cat.png", "b/cat.png", "cat-2.png", "a/Cat.jpg", "cat.jpg")]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        noise(30 + number).save(path)
    predict_files(timm_model(), [*paths, paths[0]], tmp_path / "out", ["a"])
    names = [path.name for path in (tmp_path / "out").glob("*.png")]
    assert sorted(names) == ["Cat-3.a.png", "cat-2-2.a.png", "cat-2.a.png", "cat-4.a.png", "cat.a.png"]
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text())) == [str(path) for path in paths]


def test_a_task_with_a_slash_in_its_name(image, tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"/left/right": 2})
    predict_files(model, [image], tmp_path / "out")
    assert "/left/right" in json.loads((tmp_path / "out" / "predictions.json").read_text())[str(image)]
    assert len(files(tmp_path / "out")) == 2 and len(list(tmp_path.iterdir())) == 2


def test_tasks_that_differ_in_case_alone(image, tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"Age": 2, "age": 3})
    predict_files(model, [image], tmp_path / "out")
    assert set(files(tmp_path / "out")) == {"image.Age.png", "image.age-2.png", "predictions.json"}


def test_a_strip_as_an_image():
    with pytest.raises(ValueError, match="one side is over 100 times the other"):
        predict(timm_model(), Image.new("RGB", (1, 101)))


def test_a_second_run(image, tmp_path):
    out = tmp_path / "out"
    predict_files(timm_model(), [image], out)
    (out / "notes.txt").write_text("mine")
    before = files(out)
    predict_files(timm_model(), [image], out)
    assert files(out) == before
    predict_files(timm_model(), [image], out, ["a"])
    assert files(out).keys() == before.keys()
    assert list(json.loads((out / "predictions.json").read_text())[str(image)]) == ["a"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("No space left on device")], ids=["Ctrl-C", "full disk"])
def test_what_is_finished_stays(stop, tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}.png" for name in "xyz"]
    for path in paths:
        noise().save(path)

    def fail_at_the_last(model, image, tasks, done=[]):  # noqa: B006
        done.append(image)
        if len(done) == 3:
            raise stop
        return predict(model, image, tasks)

    monkeypatch.setattr(prediction, "predict", fail_at_the_last)
    with pytest.raises(type(stop) if isinstance(stop, OSError) else stop):
        predict_files(timm_model(), paths, tmp_path / "out", ["a"])
    assert files(tmp_path / "out").keys() == {"x.a.png", "y.a.png", "predictions.json"}
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text())) == [str(path) for path in paths[:2]]


# --- what goes wrong ---


def broken(model: nn.Module) -> nn.Module:
    nn.init.constant_(next(model.parameters()), float("nan"))
    return model


def without_image_processor() -> nn.Module:
    model = transformers_model()
    model.image_processor = None
    return model


def headless() -> nn.Module:
    return tsbn_hub.TsbnModel.from_backbone("timm/test_resnet", ["a"], pretrained=False)


WRONG = {
    "unknown task": (timm_model, ["a", "c"], r"There are no tasks \['c'\]. The tasks of this model are \['b', 'a'\]"),
    "no image processor": (without_image_processor, None, r"no preprocessor_config\.json.*model\.image_processor"),
    "five channels": (lambda: timm_model(in_chans=5), None, "images of 5 channels"),
    "means": (lambda: timm_model(in_chans=1), None, r"mean \[0\.0, 0\.0, 0\.0\].*1 channel\..*data_config"),
    "image_mean": (lambda: transformers_model(image_mean=[0.5]), None, r"mean \[0\.5\].*3 channels\..*image_mean"),
    "no classifier": (lambda: timm.create_model("test_resnet_tsbn", num_classes=0), None, "has no classifier"),
    "no heads": (headless, None, "no heads"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(what, image, tmp_path):
    build, tasks, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        predict_files(build(), [image], tmp_path / "out", tasks)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_image_is_told_before_anything_is_written(image, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png is no image"):
        predict_files(timm_model(), [image, tmp_path / "text.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_image_is_told(image, tmp_path):
    (tmp_path / "half.png").write_bytes(image.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half\.png cannot be read as an image"):
        predict_files(timm_model(), [image, tmp_path / "half.png"], tmp_path / "out", ["a"])
    assert files(tmp_path / "out").keys() == {"image.a.png", "predictions.json"}


def test_no_image_is_overwritten(image, tmp_path):
    noise().save(tmp_path / "image.a.png")
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"image\.a\.png'\] would be overwritten"):
        predict_files(timm_model(), [image, tmp_path / "image.a.png"], tmp_path)
    assert files(tmp_path) == before


def test_outputs_that_are_not_finite(image):
    with pytest.raises(ValueError, match="task 'b' is not finite"):
        predict(broken(timm_model()), noise())


# --- the image's shape, and what is imported ---


def test_the_shape_of_images():
    assert surface_of(timm_model()).image_shape == (3, 40, 48)
    assert surface_of(timm.create_model("test_vit_tsbn", img_size=64, in_chans=5)).image_shape == (5, 64, 64)
    assert surface_of(transformers_model()).image_shape == (3, 64, 96)
    assert surface_of(transformers_model(size={"shortest_edge": 80})).image_shape == (3, 80, 80)
    assert surface_of(without_image_processor()).image_shape == (3, 160, 160)
    from transformers import ResNetConfig, ViTConfig

    tiny = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, image_size=96)
    assert surface_of(TsbnForMultiTask.from_backbone(tiny, TASKS)).image_shape == (3, 96, 96)
    tiny = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1], num_channels=1)
    assert surface_of(TsbnForMultiTask.from_backbone(tiny, TASKS)).image_shape == (1, 224, 224)


WITHOUT_TRANSFORMERS = """
import sys
from tsbn_hub.cli.main import app
checkpoint, image, out = sys.argv[1:]
for arguments in (["predict", checkpoint, image, "--out", out], ["info", checkpoint]):
    try:
        app(arguments)
    except SystemExit as ended:
        assert not ended.code
assert "transformers" not in sys.modules
"""


def test_a_timm_checkpoint_needs_no_transformers(image, tmp_path, python):
    tsbn_hub.save_pretrained(timm_model(), tmp_path / "model")
    result = python(WITHOUT_TRANSFORMERS, tmp_path / "model", image, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "image.a.png").is_file()


def test_a_tensor_is_predicted_as_the_picture_is():
    model, picture = timm_model(), noise()
    expected = {task: each.value for task, each in predict(model, picture).items()}
    values = pil_to_tensor(picture)
    for image in (values, values / 255, values.numpy(), values.double() / 255):
        found = {task: each.value for task, each in predict(model, image).items()}
        assert all(torch.equal(found[task], value) for task, value in expected.items())
    for image, message in (
        (values.float(), "go from 0 to 255; expected"),
        (values.float() / 128 - 1, "expected are values from 0 to 1, which the model's own preprocessing"),
        (values.permute(1, 2, 0), r"which is \(H, W, C\)"),
        ("image.png", "An image is of class builtins.str"),
    ):
        with pytest.raises(ValueError, match=message):
            predict(model, image)
