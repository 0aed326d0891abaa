"""The published checkpoints: whole, small, with the card that their files give, and as good as it says."""

import json
import shutil
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard

import tsbn_hub
from tests.hub.cards import code_of, run_code
from tests.hub.descriptions import faults_of_card
from tests.matrices import cases_of
from tsbn_hub.hub import Results, write_card
from tsbn_hub.training import TrainingConfig, evaluate_run

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("model_cards/*/config.json"))
FILES = {
    "README.md", "config.json", "gates.png", "model.safetensors", "predictions.png", "results.json", "training.yaml",
}  # fmt: skip
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def test_there_are_some_of_both_libraries():
    libraries = {ModelCard.load(folder / "README.md").data.library_name for folder in FOLDERS}
    assert libraries == {"timm", "transformers"}
    assert {path.name for path in (ROOT / "model_cards").iterdir()} == {
        "README.md",
        *(folder.name for folder in FOLDERS),
    }


@each_folder
def test_the_layout(folder):
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    is_timm = ModelCard.load(folder / "README.md").data.library_name == "timm"
    assert files.keys() == FILES | (set() if is_timm else {"preprocessor_config.json"})
    assert files["model.safetensors"] < 4e6 and sum(files.values()) < 4.5e6


@each_folder
def test_the_card_is_what_the_files_give(folder, copy):
    committed = (folder / "README.md").read_bytes()
    write_card(copy)
    assert (copy / "README.md").read_bytes() == committed
    (copy / "README.md").unlink()
    write_card(copy, license="apache-2.0")
    assert (copy / "README.md").read_bytes() == committed


@each_folder
def test_the_hub_reads_the_card(folder):
    card, results = ModelCard.load(folder / "README.md"), Results.read(folder)
    measured = {task.name: round(task.metrics[0].value, 5) for task in results.tasks}
    assert {result.task_name: result.metric_value for result in card.data.eval_results} == measured
    assert faults_of_card(card.content) == ([], [])
    assert "not measured" not in card.text.replace("Δm, the gain over single-task training: not measured", "")
    assert "](gates.png)" in card.text and "](predictions.png)" in card.text


@each_folder
def test_the_code_runs_as_it_is_printed(folder, copy, monkeypatch):
    scope = run_code(code_of((folder / "README.md").read_text()), copy.parent, monkeypatch)
    assert scope["model"].tasks == [task.name for task in Results.read(folder).tasks]


@each_folder
def test_it_loads(folder):
    config = TrainingConfig.read(folder / "training.yaml")
    assert config.output == f"runs/{folder.name}"
    model = tsbn_hub.from_pretrained(folder)
    if hasattr(model, "pretrained_cfg"):
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.tasks == [task.name for task in Results.read(folder).tasks]


@pytest.mark.parametrize(
    "folder",
    cases_of(FOLDERS, [folder for folder in FOLDERS if folder.name == "multi_digits_resnet"]),
    ids=lambda folder: folder.name,
)
def test_it_scores_what_is_recorded(folder):
    _, scores = evaluate_run(folder)
    for task in Results.read(folder).tasks:
        recorded = {metric.name: metric.value for metric in task.metrics}
        assert scores[task.name] == pytest.approx(recorded, rel=0.005)  # another processor may round otherwise


def test_the_seeds_on_the_card_of_avatars_are_those_of_the_stored_table():
    results = Results.read(ROOT / "model_cards/avatars_resnet")
    table = json.loads((ROOT / "benchmarks/results/avatars_more_images.json").read_text())
    (row,) = [row for row in table["rows"] if row["method"] == "tssigma"]
    own = {task.name: {metric.name: metric.value for metric in task.metrics} for task in results.tasks}
    values = {0: own} | {other.seed: other.values for other in results.other_seeds}
    assert row["by_seed"] == {
        str(seed): {f"{task}/{metric}": value for task, each in of_seed.items() for metric, value in each.items()}
        for seed, of_seed in values.items()
    }
