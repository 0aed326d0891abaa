"""Cards: what the Hub reads in them, what a reader reads in them, and that their code runs."""

import ast
import dataclasses
import math
import re

import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard, metadata_load
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from transformers import ResNetConfig

import tsbn_hub
from tests.hub.cards import code_of, run_code
from tests.hub.descriptions import faults_of_card
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.hub import Results, push_folder, write_card
from tsbn_hub.hub.cards.metadata import base_model
from tsbn_hub.results.recording import weights_digest
from tsbn_hub.results.results import DataMeasured, Metric, OtherSeed, SingleTask, TaskMeasured
from tsbn_hub.training import TrainingConfig

ODD = [
    "zebra",
    "mouse",
    "ant",
    "yes",
    "1",
    "quote \" ' `",
    "colon: {a}",
    "Höhe|Öl",
    "höhe öl",
    "a\nb",
    "<b>*_x_*",
    "null",
]
SIGMA = "TSσBN"


def timm_model(tasks=("z", "a", "m"), **options):
    torch.manual_seed(0)
    return timm.create_model("test_resnet_tsbn", num_classes={task: 2 + at for at, task in enumerate(tasks)}, **options)


def hf_model(model_class=TsbnForMultiTask, **options):
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", **{"num_channels": 3} | options
    )
    tasks = [
        Task("z", kind="segmentation", labels=["floor", "wall"]),
        Task("a", kind="depth"),
        Task("m", kind="normals"),
        Task("c", labels=[f"sort {number}" for number in range(30)]),
    ]
    return model_class.from_backbone(
        config, tasks if model_class is TsbnForMultiTask else [task.name for task in tasks]
    )


def saved(tmp_path, model, name="faces"):
    folder = tmp_path / name
    tsbn_hub.save_pretrained(model, folder)
    return folder


def results_of(folder, tasks, values=None, **others):
    """Results of classification tasks: by task its accuracy."""
    values = values or {task: 0.5 + 0.01 * at for at, task in enumerate(tasks)}
    measured = [
        TaskMeasured(
            task, "classification", 2 + at, [Metric("accuracy", values[task], True), Metric("nll", 0.25, False)]
        )
        for at, task in enumerate(tasks)
    ]
    data = [DataMeasured("Faces", 100, list(tasks), "https://example.org/faces", "cc-by-4.0")]
    return Results(
        weights_digest(folder), **{"data": data, "split": "test", "epoch_chosen_by": "chance"} | others, tasks=measured
    )


def card_of(folder, *arguments, **options):
    write_card(folder, *arguments, **options)
    return (folder / "README.md").read_text()


def rows(card):
    return [line for line in card.splitlines() if line.startswith("| ")]


# What the Hub reads.


@pytest.mark.parametrize("tasks", [["z", "a", "m"], ODD], ids=["plain", "odd"])
def test_every_task_survives_the_metadata(tasks, tmp_path):
    folder = saved(tmp_path, timm_model(tasks))
    results = results_of(folder, tasks)
    results.write(folder)
    card = card_of(folder)
    data = ModelCard.load(folder / "README.md").data
    assert [result.task_name for result in data.eval_results] == tasks
    assert [result.metric_name for result in data.eval_results] == [f"{task}: accuracy" for task in tasks]
    assert [result.metric_value for result in data.eval_results] == [
        round(0.5 + 0.01 * at, 5) for at in range(len(tasks))
    ]
    configs = [result.dataset_config for result in data.eval_results]
    assert len({config.lower() for config in configs}) == len(tasks)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", config) for config in configs)
    assert {(result.task_type, result.dataset_type, result.dataset_name) for result in data.eval_results} == {
        ("image-classification", "faces", "Faces")
    }
    assert data.tags == ["tsbn", "multi-task", *tasks]
    assert (data.library_name, data.pipeline_tag, data.metrics) == ("timm", "image-classification", ["accuracy"])
    assert data.model_name == "faces"
    assert len(metadata_load(folder / "README.md")["model-index"][0]["results"]) == len(tasks)
    assert faults_of_card(card) == ([], [])


def test_what_is_not_known_is_not_in_the_metadata(tmp_path):
    folder = saved(tmp_path, timm_model())
    data = metadata_load_of(card_of(folder))
    assert data.keys() == {"library_name", "pipeline_tag", "tags"}
    assert faults_of_card((folder / "README.md").read_text()) == ([], [])


def metadata_load_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_task_without_a_score_has_no_entry(tmp_path):
    folder = saved(tmp_path, timm_model())
    results_of(folder, ["z", "a"], {"z": None, "a": 0.75}).write(folder)
    card = card_of(folder)
    (result,) = ModelCard.load(folder / "README.md").data.eval_results
    assert (result.task_name, result.metric_value) == ("a", 0.75)
    assert rows(card)[2:8] == [
        "| z | classification | 2 | accuracy ↑ | not measured |",
        "| | | | nll ↓ | 0.25 |",
        "| a | classification | 3 | accuracy ↑ | 75.00% |",
        "| | | | nll ↓ | 0.25 |",
        "| m | classification | 4 | not measured | |",
        rows(card)[7],
    ]
    assert "Of m nothing was measured." in card and "nan" not in card.lower()


def test_no_score_at_all(tmp_path):
    folder = saved(tmp_path, timm_model())
    results_of(folder, ["z"], {"z": None}).write(folder)
    assert "model-index" not in metadata_load_of(card_of(folder))


def test_several_data_sets(tmp_path):
    folder = saved(tmp_path, timm_model())
    data = [
        DataMeasured("Faces", 100, ["z", "a"], "https://huggingface.co/datasets/ada/faces", None),
        DataMeasured("Places", 2000, ["m", "a"], None, "mit", "Ada [and] co"),
    ]
    results_of(folder, ["z", "a", "m"], data=data).write(folder)
    card = card_of(folder)
    loaded = ModelCard.load(folder / "README.md").data
    assert [(each.dataset_type, each.dataset_name) for each in loaded.eval_results] == [
        ("ada/faces", "Faces"), ("ada/faces-places", "Faces, Places"), ("places", "Places")
    ]  # fmt: skip
    assert loaded.datasets == ["ada/faces"]
    assert "test split of Faces (100 samples) and Places (2,000 samples)" in card
    assert (
        "- Data: Faces (<https://huggingface.co/datasets/ada/faces>), its licence is not stated. For z and a." in card
    )
    assert r"- Data: Places by Ada \[and\] co, licence mit. For m and a." in card


def test_a_model_of_transformers(tmp_path):
    folder = saved(tmp_path, hf_model())
    card = card_of(folder)
    data = metadata_load_of(card)
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "image-segmentation")
    assert "| z | segmentation | 2 | not measured | |" in card and "| a | depth | | not measured | |" in card
    assert "The classes of z: floor, wall." in card and "The classes of c" not in card
    assert "One network (`resnet`, transformers) for 4 tasks: z, a, m and c." in card and SIGMA in card


def test_the_hubs_words_for_kinds_and_metrics(tmp_path):
    folder = saved(tmp_path, hf_model())
    measured = [
        TaskMeasured("m", "normals", None, [Metric("mean_angle", 17.9, False)]),
        TaskMeasured("z", "segmentation", 2, [Metric("miou", 0.5, True)]),
        TaskMeasured("a", "depth", None, [Metric("abs_err", 0.4, False)]),
    ]
    data = [DataMeasured("Rooms", 10, ["z", "a", "m"])]
    dataclasses.replace(results_of(folder, ["z"]), data=data, tasks=measured).write(folder)
    card_of(folder)
    data = ModelCard.load(folder / "README.md").data
    assert [(each.task_type, each.metric_type) for each in data.eval_results] == [
        ("image-feature-extraction", "mean_angle"), ("image-segmentation", "mean_iou"), ("depth-estimation", "abs_err")
    ]  # fmt: skip
    assert data.metrics == ["mean_iou"]


# What a reader reads.


def test_a_card_that_lacks_all_says_so(tmp_path):
    card = card_of(saved(tmp_path, timm_model()))
    for said in (
        "**Not measured**: no results are recorded", "| z | classification | 2 | not measured | |", "Not recorded.",
        "- Data: not recorded.", "- Weights: their licence is not stated.", "How well it does is not known",
    ):  # fmt: skip
        assert said in card, said
    assert "gates.png" not in card and "Δm" not in card and "None" not in card


def test_names_of_tasks_stay_in_their_cells(tmp_path):
    folder = saved(tmp_path, timm_model(ODD))
    results_of(folder, ODD).write(folder)
    table = rows(card_of(folder))[2 : 2 + 2 * len(ODD)]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in table)
    assert table[14].startswith("| Höhe\\|Öl | ") and table[20].startswith(r"| \<b\>\*\_x\_\* | ")
    assert table[18].startswith("| a b | ")


def test_delta_m(tmp_path):
    folder = saved(tmp_path, timm_model(["z", "a"]))
    single = {"z": SingleTask(0.4, "z_alone"), "a": SingleTask(0.68, "a_alone")}
    results = results_of(folder, ["z", "a"], {"z": 0.5, "a": 0.51}, single_task=single)
    results.write(folder)
    card = card_of(folder)
    assert (
        "**Δm = +0.00%** against single-task training, a network for each task by the same recipe" in card
    )  # +25 − 25
    assert "| z | classification | 2 | accuracy ↑ | 50.00% | 40.00% |" in card and "| | | | nll ↓ | 0.25 | |" in card

    differing = single | {"a": SingleTask(0.6, "a_alone", ["lr", "epochs"])}
    dataclasses.replace(results, single_task=differing).write(folder)
    assert "**Δm = +5.00%** against single-task training, a network for each task by a recipe that differs in epochs and lr" in card_of(folder)  # fmt: skip  # noqa: E501


def test_other_seeds(tmp_path):
    folder = saved(tmp_path, timm_model(["z", "a"]))
    others = [
        OtherSeed(seed, f"run_{seed}", {"z": {"accuracy": value, "nll": 0.25}, "a": {"accuracy": 0.5}})
        for seed, value in ((1, 0.6), (4, 0.7))
    ]
    results = results_of(folder, ["z", "a"], {"z": 0.5, "a": 0.5})
    dataclasses.replace(results, other_seeds=others).write(folder)
    card = card_of(folder)
    assert "| task | kind | classes | metric | value | mean of 3 seeds |\n" in card
    assert "| z | classification | 2 | accuracy ↑ | 50.00% | 60.00% ± 24.84% |" in card
    assert "| | | | nll ↓ | 0.25 | 0.25 ± 0 |" in card
    assert "over them and runs of the same recipe with seeds 1 and 4; ±: half of its 95% interval" in card
    assert rows(card)[5].endswith(" | |"), "no other run has this metric"

    single = {"z": SingleTask(0.4, "z_alone")}
    dataclasses.replace(results, other_seeds=others[:1], single_task=single).write(folder)
    card = card_of(folder)
    assert "| value | mean of 2 seeds | single-task |" in card and "with seed 1; ±" in card
    assert re.search(r"\| z \| .* \| 50.00% \| 55.00% ± 63.53% \| 40.00% \|", card)


@pytest.mark.parametrize("alone", [{}, {"z": 0.4}, {"z": 0.4, "a": None}, {"z": 0.4, "a": 0.0}, {"z": -1.0, "a": 0.5}])
def test_no_delta_m_of_some_tasks(alone, tmp_path):
    folder = saved(tmp_path, timm_model(["z", "a"]))
    single = {task: SingleTask(value, "alone") for task, value in alone.items()}
    results_of(folder, ["z", "a"], single_task=single).write(folder)
    assert "Δm, the gain over single-task training: not measured for all tasks." in card_of(folder)


def test_the_picture_is_shown_if_it_is_there(tmp_path):
    gated, shared = saved(tmp_path, timm_model()), saved(tmp_path, timm_model(norm="shared"), "shared")
    for folder in (gated, shared):
        (folder / "gates.png").touch()
    assert "](gates.png)" in card_of(gated)
    card = card_of(shared)
    assert "gates.png" not in card and SIGMA not in card and "hard sharing" in card


def test_predictions_are_shown_if_they_are_of_these_weights(tmp_path):
    folder = saved(tmp_path, timm_model())
    for noted, shown in ((weights_digest(folder), True), ("0" * 64, False), (None, False)):
        notes = PngInfo()
        if noted is not None:
            notes.add_text("weights", noted)
        Image.new("RGB", (9, 9)).save(folder / "predictions.png", pnginfo=notes)
        card = card_of(folder)
        assert ("](predictions.png)" in card) == shown
        assert ("predictions.png" in push_folder(folder, "ada/net", dry_run=True).files) == shown
        assert faults_of_card(card) == ([], [])


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (1, "The gates of each layer: at 1 a filter is let through, at 0 it is closed.\n"),
        (2, "Above, the gates of each layer: at 1 a filter is let through, at 0 it is closed. Below, how far apart "),
        (
            7,
            "Above, the mean gate of each task in each layer: at 1 all filters are let through, at 0 all are closed. ",
        ),
    ],
)
def test_what_the_picture_shows(tasks, said, tmp_path):
    folder = saved(tmp_path, timm_model([f"task_{at}" for at in range(tasks)]))
    (folder / "gates.png").touch()
    assert said in card_of(folder)


def test_the_recipe_tells_nothing_of_the_machine(tmp_path):
    folder = saved(tmp_path, timm_model())
    config = TrainingConfig(
        model="local-dir:/home/ada/my models/first",
        data=[{"name": "/home/ada/faces.py:Faces", "args": {"root": "/data/secret/faces", "url": "https://a.org/b"}},
              {"name": "~/places.py:Places", "args": {"roots": [r"C:\ada\places", "relative/places"]}}],
        output="/home/ada/runs/x", epochs=7, workers=3, trackers=["wandb"], balancing="uncertainty",
    )  # fmt: skip
    (folder / "training.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    card = card_of(folder)
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    shown = yaml.safe_load(recipe)
    assert shown["model"] == "local-dir:first" and shown["epochs"] == 7 and shown["seed"] == 0
    assert shown["data"] == [
        {"name": "faces.py:Faces", "args": {"root": "faces", "url": "https://a.org/b"}},
        {"name": "places.py:Places", "args": {"roots": ["places", "relative/places"]}},
    ]
    assert not shown.keys() & {"output", "workers", "trackers", "ema_decay"} and shown["balancing"] == "uncertainty"
    assert "- Data: Faces and Places; the licence is not recorded." in card
    assert not any(word in card for word in ("/ada", "ada/", "home", "secret", "C:"))


def test_cost_is_that_of_the_model(tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"z": 1000, "a": 3})
    card = card_of(saved(tmp_path, model))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    gates = sum(norm.gate_logits[0].numel() for norm in model.modules() if hasattr(norm, "gate_logits"))
    classifier = model.fc.weight.shape[1] + 1
    shared = parameters - 2 * gates - 1003 * classifier
    assert f"Shared: {shared:,} parameters" in card and f"Together: {parameters:,} parameters" in card
    (row,) = [row for row in rows(card) if "linear" in row and row.startswith("| a |")]
    assert row.startswith(f"| a | {gates:,} | {gates / shared:.2%} | ") and f"| linear | {3 * classifier:,} |" in row


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"model": "resnet10t_tsbn"}, None),
        ({"model": "resnet10t_tsbn", "pretrained": True}, "timm/resnet10t.c3_in1k"),
        ({"model": "resnet50_tsbn.tv_in1k", "pretrained": True}, "timm/resnet50.tv_in1k"),
        ({"model": "timm/resnet50.tv_in1k", "pretrained": True}, "timm/resnet50.tv_in1k"),
        ({"model": "ada/my_swin.v2", "pretrained": True}, "ada/my_swin.v2"),
        ({"model": "hf-hub:ada/faces", "pretrained": True}, "ada/faces"),
        ({"model": "hf-hub:ada/faces@main", "pretrained": True}, "ada/faces"),
        ({"model": "local-dir:models/faces", "pretrained": True}, None),
        ({"model": "/models/faces", "pretrained": True}, None),
        ({"model": "swin"}, None),
    ],
)  # fmt: skip
def test_the_base_model(changes, base):
    assert base_model(TrainingConfig(data="MultiDigits", output="x", **changes)) == base


# The licence of the weights.


def test_a_licence_stays_until_another_is_given(tmp_path):
    folder = saved(tmp_path, timm_model())
    assert "license" not in metadata_load_of(card_of(folder))
    for options, license in (
        ({"license": "mit"}, "mit"),
        ({}, "mit"),
        ({"license": "cc0-1.0"}, "cc0-1.0"),
        ({}, "cc0-1.0"),
    ):
        card = card_of(folder, **options)
        assert metadata_load_of(card)["license"] == license and f"- Weights: licence {license}." in card


def test_the_licence_of_a_card_that_cannot_be_read(tmp_path):
    folder = saved(tmp_path, timm_model())
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(ValueError, match=r"README.md, whose licence would be kept, has metadata that cannot be read"):
        write_card(folder, overwrite=True)
    assert metadata_load_of(card_of(folder, license="mit", overwrite=True))["license"] == "mit"
    (folder / "README.md").write_text("A card by hand.\n")
    assert "license" not in metadata_load_of(card_of(folder, overwrite=True))


@pytest.mark.parametrize("license", ["Apache 2.0", "", "mit\n", "MIT"])
def test_what_is_no_licence(license, tmp_path):
    with pytest.raises(ValueError, match=r"is no licence's name on the Hub, such as apache-2\.0"):
        write_card(saved(tmp_path, timm_model()), license=license)


# The code.


@pytest.mark.parametrize("tasks", [["z", "a", "m"], ["only"], ODD[5:]], ids=["three", "one", "odd"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_code_for_timm(tasks, channels, tmp_path, monkeypatch, capsys):
    model = timm_model(tasks, in_chans=channels)
    code = code_of(card_of(saved(tmp_path, model, 'my "faces" ß'), model))
    assert code.startswith("import tsbn_hub")
    scope = run_code(code, tmp_path, monkeypatch)
    images, plain = scope["images"], scope["plain"].eval()
    assert images.shape == (1, channels, 160, 160) and type(plain).__name__ == "ResNet"
    torch.testing.assert_close(scope["output"], model.eval()(images, task=tasks[0]))
    torch.testing.assert_close(plain(images), scope["output"])
    assert len(tasks) == 1 or list(scope["outputs"]) == tasks
    assert ('Image.open("photo.jpg")' in code) == (channels != 5)
    assert capsys.readouterr().out == f"{scope['output'].argmax()}\n"


@pytest.mark.parametrize("folded", [False, True])
def test_the_code_for_timm_prints_the_name_of_a_class(folded, tmp_path, monkeypatch, capsys):
    model = timm_model(["z", "a"], task_labels=[["cat", "dog"], None])
    model = model.fold("z") if folded else model
    scope = run_code(code_of(card_of(saved(tmp_path, model), model)), tmp_path, monkeypatch)
    assert capsys.readouterr().out == f"{['cat', 'dog'][scope['output'].argmax()]}\n"


@pytest.mark.parametrize("folded", [False, True])
def test_the_code_for_timm_has_images_of_the_size_that_it_was_built_for(folded, tmp_path, monkeypatch):
    model = timm.create_model("test_vit_tsbn", num_classes={"z": 2, "a": 3}, img_size=64)
    model = model.fold("z") if folded else model
    scope = run_code(code_of(card_of(saved(tmp_path, model), model)), tmp_path, monkeypatch)
    assert scope["images"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("processor", [True, False])
def test_the_code_for_transformers(channels, processor, tmp_path, monkeypatch, capsys):
    from transformers import BitImageProcessor

    model = hf_model(num_channels=channels)
    if processor:
        size = {"height": 32, "width": 48}
        model.image_processor = BitImageProcessor(size=size, do_center_crop=False, do_normalize=False)
    code = code_of(card_of(saved(tmp_path, model), model))
    assert code.startswith("import tsbn_hub")
    scope = run_code(code, tmp_path, monkeypatch)
    height, width = (32, 48) if processor and channels != 4 else (224, 224)
    assert scope["pixel_values"].shape == (1, channels, height, width)
    assert list(scope["logits"]) == ["z"] and scope["prediction"].shape == (1, height, width)
    assert type(scope["backbone"]).__name__ == "ResNetModel" and type(scope["head"]) is type(model.head("z"))
    assert ('Image.open("photo.jpg")' in code) == (processor and channels != 4)
    assert ast.literal_eval(capsys.readouterr().out) == model.kinds["z"].describe(scope["prediction"][0])


def test_the_code_for_transformers_prints_the_name_of_a_class(tmp_path, monkeypatch, capsys):
    from transformers import BitImageProcessor

    model = hf_model()
    model.image_processor = BitImageProcessor(size={"height": 32, "width": 48}, do_center_crop=False)
    names = model.kinds["c"].labels
    for task in ("z", "a", "m"):
        model.remove_task(task)
    for each in (model, model.fold("c")):
        run_code(code_of(card_of(saved(tmp_path, each), each, overwrite=True)), tmp_path, monkeypatch)
        assert capsys.readouterr().out.strip() in names


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("by_timm", [False, True])
def test_a_backbone_alone(folded, by_timm, tmp_path, monkeypatch):
    if by_timm:
        model = TsbnModel.from_backbone("timm/test_resnet", ["z", "a"], pretrained=False, in_chans=4)
    else:
        model = hf_model(TsbnModel, num_channels=4)
    card = card_of(saved(tmp_path, model.fold("a") if folded else model))
    scope = run_code(code_of(card), tmp_path, monkeypatch)
    size = 160 if by_timm else 224
    assert scope["pixel_values"].shape == (1, 4, size, size) and len(scope["output"].last_hidden_state) == 1
    assert "None" not in card and ("| a | no head | | not measured | |" in card) != folded


def test_the_code_of_a_repo(tmp_path):
    folder = saved(tmp_path, timm_model())
    card = card_of(folder, name="ada/my-faces")
    assert 'timm.create_model("hf-hub:ada/my-faces", pretrained=True)' in card and "\n# ada/my-faces\n" in card
    assert "local-dir" not in card and "org/name" not in card
    assert 'from_pretrained("ada/my-faces")' in card_of(saved(tmp_path, hf_model(), "hf"), name="ada/my-faces")


@pytest.mark.parametrize("name", ["faces", "ada/my faces", "a/b/c", ""])
def test_what_is_no_repo(name, tmp_path):
    with pytest.raises(ValueError, match="is no repo of the Hub"):
        write_card(saved(tmp_path, timm_model()), name=name)


def test_a_folded_model_of_timm(tmp_path, monkeypatch):
    plain = timm_model().fold("a")
    folder = saved(tmp_path, plain)
    write_card(folder, plain)
    card = (folder / "README.md").read_text()
    assert "tsbn_hub" not in code_of(card)
    scope = run_code(code_of(card), tmp_path, monkeypatch)
    torch.testing.assert_close(scope["output"], plain.eval()(scope["images"]))
    data = metadata_load_of(card)
    assert (data["library_name"], data["pipeline_tag"]) == ("timm", "image-classification") and "tags" not in data
    assert "A plain `test_resnet` of timm: the task a, folded out of" in card and "Not measured" not in card
    assert "A plain `test_resnet` of timm. It loads" in card_of(folder)


def test_a_folded_classifier_of_transformers(tmp_path, monkeypatch):
    folder = saved(tmp_path, hf_model().fold("c"))
    card = card_of(folder)
    scope = run_code(code_of(card), tmp_path, monkeypatch)
    assert scope["output"].logits.shape == (1, 30) and "ResNetForImageClassification" in card
    assert metadata_load_of(card)["pipeline_tag"] == "image-classification"


# The file.


def test_an_edited_card_is_kept(tmp_path):
    folder = saved(tmp_path, timm_model())
    card = card_of(folder)
    (folder / "README.md").write_bytes(card.replace("\n", "\r\n").encode())  # as Git may have it on Windows
    assert card_of(folder) == card
    for edited in (card.replace("# faces", "# My faces"), card + "\nMore.\n", card.rpartition("<!--")[0], ""):
        (folder / "README.md").write_text(edited)
        with pytest.raises(FileExistsError, match="was edited, or is not from here, and is kept"):
            write_card(folder)
        assert (folder / "README.md").read_text() == edited
        assert card_of(folder, overwrite=True) == card


def test_one_task(tmp_path):
    card = card_of(saved(tmp_path, timm_model(["a"])))
    assert "for one task, a: the task has a gate" in card and "is shared, and" not in card
    assert metadata_load_of(card)["tags"] == ["tsbn", "a"]


def test_a_recipe_has_a_line_a_key(tmp_path):
    """Also where no value is nested, for which PyYAML would write all of it in braces."""
    folder = saved(tmp_path, timm_model())
    config = TrainingConfig(model="test_resnet_tsbn", data="MultiDigits", output="runs/x")
    (folder / "training.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    assert "```yaml\nmodel: test_resnet_tsbn\ndata: MultiDigits\n" in card_of(folder)


def test_a_card_is_a_function_of_the_folder(tmp_path):
    folder = saved(tmp_path, timm_model())
    results_of(folder, ["z", "a", "m"]).write(folder)
    first = card_of(folder)
    assert card_of(folder) == first and card_of(folder, timm_model()) == first
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "results.json",
    ]


def test_the_model_is_left_as_it_was(tmp_path):
    model = timm_model().train()
    model.bn1 = model.bn1.eval() if hasattr(model, "bn1") else None
    modes = [module.training for module in model.modules()]
    assert True in modes and False in modes
    write_card(saved(tmp_path, model), model)
    assert [module.training for module in model.modules()] == modes


def test_results_of_other_weights(tmp_path):
    folder, model = saved(tmp_path, timm_model()), timm_model()
    results_of(folder, ["z"]).write(folder)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    tsbn_hub.save_pretrained(model, folder)
    with pytest.raises(ValueError, match=r"results.json is of other weights than those beside it. Measure these"):
        write_card(folder)
    assert not (folder / "README.md").exists()


def test_results_of_other_tasks(tmp_path):
    folder = saved(tmp_path, timm_model())
    results_of(folder, ["z", "smile"]).write(folder)
    with pytest.raises(ValueError, match=r"has the tasks \['smile'\], which the model lacks. It has \['z', 'a', 'm'\]"):
        write_card(folder)


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        write_card(tmp_path)


def test_a_share_is_a_percentage_and_an_error_is_not(tmp_path):
    folder = saved(tmp_path, timm_model(["z"]))
    metrics = [
        Metric("r2", -0.5, True),
        Metric("psnr", 31.25, True),
        Metric("err", 0.125, False),
        Metric("f", 1.0, True),
    ]
    task = TaskMeasured("z", "classification", 2, metrics)
    dataclasses.replace(results_of(folder, ["z"]), tasks=[task]).write(folder)
    assert [row.split(" | ")[-1] for row in rows(card_of(folder))[2:6]] == ["-0.5 |", "31.25 |", "0.125 |", "100.00% |"]
    assert not math.isnan(ModelCard.load(folder / "README.md").data.eval_results[0].metric_value)
