"""`tsbn card`."""

import re
from pathlib import Path

import pytest
import timm
import yaml

from tsbn_hub import save_pretrained
from tsbn_hub.hub import Results

from .commands import files, tsbn


@pytest.mark.nightly
def test_single_task_runs_in_the_card(config, tmp_path):
    run, alone = tmp_path / "run", [tmp_path / task for task in ("keys", "corner")]
    for folder, tasks in ((run, "keys,corner"), *((folder, folder.name) for folder in alone)):
        assert tsbn("train", "--config", config, "--tasks", tasks, "--output", folder).exit_code == 0
    options = [option for folder in alone for option in ("--single-task", folder)]
    told = tsbn("card", run, *options, "--license", "mit")
    assert told.exit_code == 0 and "results.json" in told.output
    card, measured = (run / "README.md").read_text(), [Results.read(folder).tasks[0].metrics[0] for folder in alone]
    assert "the same recipe" in card and "license: mit\n" in card
    for task, metric in zip(("keys", "corner"), measured, strict=True):
        assert re.search(rf"\| {task} \| .* \| {metric.value:.2%} \|\n", card)

    before = files(tmp_path)
    assert tsbn("card", run).exit_code == 0 and files(tmp_path) == before
    assert tsbn("train", "--config", config, "--tasks", "keys,corner").exit_code == 0  # it is finished
    assert files(tmp_path) == before


def test_a_card_of_a_checkpoint(checkpoint, tmp_path):
    told = tsbn("card", checkpoint)
    assert told.exit_code == 0, told.output
    assert {"README.md", "gates.png"} < {path.name for path in Path(checkpoint).iterdir()}
    card = (Path(checkpoint) / "README.md").read_text()
    assert "](gates.png)" in card and "Not measured" in card


def test_predictions_in_the_card(config, tmp_path):
    """Without the data those of these weights stay, and those of others go."""
    run, picture = tmp_path / "run", tmp_path / "run" / "predictions.png"
    assert tsbn("train", "--config", config).exit_code == 0
    first = picture.read_bytes()
    assert "](predictions.png)" in (run / "README.md").read_text()
    recipe = yaml.safe_load((run / "training.yaml").read_text())
    (run / "training.yaml").write_text(yaml.safe_dump({**recipe, "data": "Nowhere", "imports": []}))
    told = tsbn("card", run)
    assert told.exit_code == 0 and f"tsbn: {run} gets no new predictions.png: " in told.stderr
    assert picture.read_bytes() == first and "](predictions.png)" in (run / "README.md").read_text()
    (run / "results.json").unlink()
    save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4}), run)
    assert tsbn("card", run).exit_code == 0
    assert not picture.exists() and "predictions.png" not in (run / "README.md").read_text()


def test_a_card_of_a_folded_model(tmp_path):
    save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4}).fold("keys"), tmp_path)
    assert tsbn("card", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--single-task", "runs/none"], "has no results.json: nothing measured was recorded"),
        (["--other-seed", "runs/none"], "has no results.json: nothing measured was recorded"),
        (["--license", "Apache 2"], "license='Apache 2' is no licence's name on the Hub"),
    ],
)
def test_what_goes_wrong_with_a_card(options, message, checkpoint):
    before = {path.name: path.read_bytes() for path in Path(checkpoint).iterdir() if path.name != "gates.png"}
    told = tsbn("card", checkpoint, *options)
    assert told.exit_code == 1 and re.search(f"^tsbn: .*{message}", told.stderr) and "Traceback" not in told.output
    assert {name: (Path(checkpoint) / name).read_bytes() for name in before} == before


def test_a_card_of_nothing(tmp_path):
    told = tsbn("card", tmp_path)
    assert told.exit_code == 1 and re.search("^tsbn: .* has no config.json", told.stderr)
