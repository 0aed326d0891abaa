"""Classes keep their names, and folded classifiers their answers, in timm, transformers and its pipeline."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, BitImageProcessor, ResNetConfig

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.deploy.prediction import predict
from tsbn_hub.hub.cards.card import write_card
from tsbn_hub.models import surface_of
from tsbn_hub.models.libraries import build_model
from tsbn_hub.models.surface import NewModel

PETS, AGES = ["cat", "dog", "eel", "fox"], ["young", "old"]
TASKS = [Task("pet", labels=PETS), Task("age", labels=AGES)]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1])


def reloaded_run(folder, tasks, name="test_resnet_tsbn"):
    """A model as `tsbn train` builds and keeps it, in memory again."""
    torch.manual_seed(0)
    model = build_model(NewModel(name, tasks, (3, 48, 64), False, "sigmoid", {}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    tsbn_hub.save_pretrained(model, folder)
    return tsbn_hub.from_pretrained(folder).eval()


def answer_of(model, task):
    """The probabilities of the classes, by name, for the photo as the model's own preprocessing has it."""
    surface = surface_of(model)
    images = surface.preprocessing().prepare(PHOTO)[None]
    with torch.no_grad():
        output = model(images, task=task)
    scores = getattr(output, "logits", {task: output})[task].softmax(-1)[0]
    return surface.kinds()[task].by_label(scores.tolist())


# --- a pipeline of transformers ---


class OfTasks(transformers.ImageClassificationPipeline):
    def postprocess(self, model_outputs):
        return sorted(model_outputs["logits"])


@pytest.mark.parametrize("task", [None, "pet"])
def test_a_pipeline_is_for_one_task(task):
    model, processor = TsbnForMultiTask.from_backbone(RESNET, TASKS), BitImageProcessor()
    model.set_task(task)
    for pipeline in ("image-classification", "image-segmentation", "depth-estimation"):
        with pytest.raises(ValueError, match=rf"{pipeline}.*the tasks \['pet', 'age'\].*model=model.fold\('pet'\)"):
            transformers.pipeline(pipeline, model=model, image_processor=processor)
    assert OfTasks(model, image_processor=processor)(PHOTO) == ([task] if task else ["age", "pet"])
    trunk = TsbnModel.from_backbone(RESNET, ["pet", "age"])
    trunk.set_task(task)
    if task is None:
        with pytest.raises(ValueError, match="model of one output"):
            transformers.pipeline("image-feature-extraction", model=trunk, image_processor=processor)
    else:
        assert transformers.pipeline("image-feature-extraction", model=trunk, image_processor=processor)(PHOTO)


# --- a folded classifier of transformers ---


def test_a_reloaded_runs_fold_answers_in_a_pipeline_as_the_run_does(tmp_path):
    model = reloaded_run(tmp_path / "run", [*TASKS, Task("depth", "depth")])
    tsbn_hub.save_pretrained(model.fold("pet"), tmp_path / "pet")
    config = json.loads((tmp_path / "pet" / "config.json").read_text())
    assert config["label_names"] == PETS and config["num_classes"] == 4
    answers = transformers.pipeline("image-classification", str(tmp_path / "pet"))(PHOTO)
    scores = {each["label"]: each["score"] for each in answers}
    # A resized pixel of PIL may be another one than torch's by 1 in 255.
    assert scores == pytest.approx(answer_of(model, "pet"), abs=0.02) and sum(scores.values()) == pytest.approx(1)


@pytest.mark.parametrize("task", ["pet", "depth"])
def test_timm_loads_a_fold_of_transformers_on_its_architecture(task, tmp_path):
    model = reloaded_run(tmp_path / "run", [*TASKS, Task("depth", "depth")])
    plain = model.fold(task)
    tsbn_hub.save_pretrained(plain, tmp_path / task)
    again = timm.create_model(f"local-dir:{tmp_path / task}", pretrained=True).eval()
    x = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        output = plain(x)
        assert torch.equal(again(x), output.logits if task == "pet" else output.pooler_output)
    config = timm.data.resolve_data_config(pretrained_cfg=again.pretrained_cfg)
    assert config["input_size"] == (3, 48, 64) and config["crop_mode"] == "squash" and not any(config["mean"])
    assert again.pretrained_cfg.get("label_names") == (PETS if task == "pet" else [])
    native = type(plain).from_pretrained(tmp_path / task)
    assert torch.equal(native(x)[0], output[0])


@pytest.mark.parametrize(
    "processor",
    [
        BitImageProcessor(size={"height": 40, "width": 50}, do_center_crop=False, do_normalize=False),
        BitImageProcessor(size={"shortest_edge": 47}, crop_size={"height": 41, "width": 41}, resample=2),
        BitImageProcessor(size={"height": 60, "width": 80}, crop_size={"height": 48, "width": 64}),
    ],
    ids=["squashed", "cropped", "squashed-and-cropped"],
)
def test_the_image_processor_that_it_was_trained_with(processor, tmp_path):
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained=False)
    model.image_processor = processor
    tsbn_hub.save_pretrained(model.fold("pet"), tmp_path)
    expected = processor(PHOTO, return_tensors="pt").pixel_values
    again = AutoImageProcessor.from_pretrained(tmp_path)(PHOTO, return_tensors="pt").pixel_values
    assert again.shape == expected.shape and (again - expected).abs().mean() < 0.02 * expected.std()


def test_the_backbones_own_image_processor_stays_as_timm_says_it(tmp_path):
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained=False)
    native = timm.create_model("test_resnet")
    model.image_processor = TsbnForMultiTask.from_backbone(native, TASKS).image_processor
    kept = TsbnForMultiTask.from_backbone(native, TASKS).fold("pet").config.pretrained_cfg
    known = timm.get_pretrained_cfg("test_resnet")
    assert kept["crop_pct"] == known.crop_pct and list(kept["input_size"]) == list(known.input_size)
    assert "hf_hub_id" not in kept and "label_offset" not in kept


def test_an_image_processor_that_timm_has_no_words_for(tmp_path, caplog):
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS, pretrained=False)
    model.image_processor = BitImageProcessor(do_resize=False, do_center_crop=False)
    plain = model.fold("pet")
    assert "for transformers alone" in caplog.text
    tsbn_hub.save_pretrained(plain, tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path)(PHOTO, return_tensors="pt").pixel_values.shape[-2:] == (90, 120)


def test_the_problem_of_the_backbones_checkpoint_is_not_the_folds(tmp_path):
    config = ResNetConfig(**RESNET.to_dict())
    config.problem_type = "multi_label_classification"
    plain = TsbnForMultiTask.from_backbone(config, TASKS).fold("pet")
    assert plain.config.problem_type == "single_label_classification"
    assert plain(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 3])).loss > 0


# --- a model of timm ---


def test_the_names_of_classes_survive_a_run_of_timm(tmp_path):
    model = reloaded_run(tmp_path / "run", TASKS)
    assert model.task_labels == [PETS, AGES] and set(answer_of(model, "pet")) == set(PETS)
    again = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True)
    assert again.task_labels == [PETS, AGES]
    assert [asdict(surface_of(again).described(task)) for task in again.tasks] == [asdict(task) for task in TASKS]
    assert predict(model, PHOTO)["age"].description["class"] in AGES
    write_card(tmp_path / "run")
    assert "cat, dog, eel, fox" in (tmp_path / "run" / "README.md").read_text()


def test_the_names_of_classes_survive_a_fold(tmp_path):
    model = reloaded_run(tmp_path / "run", TASKS)
    expected = answer_of(model, "age")
    tsbn_hub.save_pretrained(model.fold("age"), tmp_path / "age")
    plain = timm.create_model(f"local-dir:{tmp_path / 'age'}", pretrained=True).eval()
    assert plain.pretrained_cfg["label_names"] == AGES and surface_of(plain).kinds()["default"].labels == AGES
    assert AutoConfig.from_pretrained(tmp_path / "age").id2label == dict(enumerate(AGES))
    answers = transformers.pipeline("image-classification", str(tmp_path / "age"))(PHOTO)
    assert {each["label"]: each["score"] for each in answers} == pytest.approx(expected, abs=1e-4)
    tsbn_hub.save_pretrained(plain, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["label_names"] == AGES


def test_the_names_of_a_plain_checkpoints_classes(tmp_path):
    plain = timm.create_model("test_resnet", num_classes=2)
    plain.pretrained_cfg = {**plain.pretrained_cfg, "label_names": AGES, "num_classes": 2}
    tsbn_hub.save_pretrained(plain, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architecture": "test_resnet_tsbn"}))
    assert timm.create_model(f"local-dir:{tmp_path}", pretrained=True).task_labels == [AGES]
    assert timm.create_model(f"local-dir:{tmp_path}", num_classes=5).task_labels == [None]


def test_tasks_that_come_and_go():
    model = timm.create_model(
        "test_resnet_tsbn", num_classes={"pet": 4, "age": 2}, task_labels=[PETS, None], keep_affine=True
    )
    assert model.fold("age").pretrained_cfg.get("label_names") is None
    model.add_task("size", num_classes=2, labels=["small", "large"])
    model.remove_task("age")
    assert model.task_labels == [PETS, ["small", "large"]]
    with pytest.raises(ValueError, match="num_classes=3, but 2 labels"):
        model.add_task("coat", num_classes=3, labels=["wool", "silk"])
    assert model.tasks == ["pet", "size"]
    model.reset_classifier({"size": 2})
    assert model.task_labels == [PETS, None], "a new classifier has other classes"
    model.reset_classifier(4)
    assert model.task_labels == [None, None] and "task_labels" not in model.recipe.model_args()


def test_a_task_adapter_brings_the_names(tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"pet": 4, "age": 2}, task_labels=[PETS, AGES])
    tsbn_hub.save_task(model, "age", tmp_path)
    model.remove_task("age")
    tsbn_hub.load_task(model, tmp_path)
    assert model.task_labels == [PETS, AGES]


def test_other_numbers_of_classes_have_no_names(tmp_path):
    tsbn_hub.save_pretrained(
        timm.create_model("test_resnet_tsbn", num_classes={"pet": 4, "age": 2}, task_labels=[PETS, AGES]), tmp_path
    )
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=2)
    assert model.task_labels == [None, AGES] and model.task_classes == [2, 2]


def test_a_class_may_be_named_as_a_key_of_the_libraries(tmp_path):
    """Where a string would ask for another repo, a class weight asks for nothing."""
    loss = {"name": "cross_entropy", "class_weights": {"backbone": 2, "architecture": 0.5}}
    task = Task("part", labels=["backbone", "architecture"], kind_args={"loss": loss})
    tsbn_hub.save_pretrained(TsbnForMultiTask.from_backbone("timm/test_resnet", [task], pretrained=False), tmp_path)
    assert tsbn_hub.from_pretrained(tmp_path).config.tasks == [task]
    config = json.loads((tmp_path / "config.json").read_text())
    config["tasks"][0]["kind_args"]["loss"]["class_weights"]["backbone"] = "2"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="backbone='2': a checkpoint may not ask for that"):
        tsbn_hub.from_pretrained(tmp_path)
