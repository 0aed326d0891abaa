"""`tsbn export`. What the files give is tested in tests/deploy/test_export.py."""

import json
import re

import pytest
import timm
import torch

import tsbn_hub
from tests.deploy.exporting import transformers_model
from tsbn_hub import save_pretrained

from .commands import files, tsbn


@pytest.mark.nightly
def test_a_file_of_torch_export(checkpoint, tmp_path):
    file = tmp_path / "new" / "model.pt2"
    told = tsbn("export", checkpoint, "--format", "torch-export", "--out", file, "--images", "float", columns=80)
    assert told.exit_code == 0, told.output
    assert re.search(rf"^{re.escape(str(file))}: \d\.\d MB, in \d+ s$", told.stdout, re.MULTILINE)
    assert "  images: float32 (batch, 3, 160, 160), 0 to 1\n" in told.stdout
    assert "  corner: float32 (batch, 4)\n    classification: the probability of each class\n" in told.stdout
    assert "  largest difference from torch: 0 of the largest value\n" in told.stdout
    assert max(map(len, told.stdout.splitlines()[1:])) <= 80
    extra = {"tsbn_hub.json": ""}
    program = torch.export.load(file, extra_files=extra)
    outputs = program.module()(torch.rand(1, 3, 160, 160))
    assert {task: output.shape for task, output in outputs.items()} == {"keys": (1, 2), "corner": (1, 4)}
    assert [task["name"] for task in json.loads(extra["tsbn_hub.json"])["tasks"]] == ["keys", "corner"]


def test_plain_folders(tmp_path):
    model = transformers_model("resnet")
    save_pretrained(model, tmp_path / "model")
    told = tsbn("export", tmp_path / "model", "--format", "plain", "--out", tmp_path / "plain", columns=80)
    assert told.exit_code == 0, told.output
    assert "/place: place, a ResNetForImageClassification of transformers\n" in told.stdout
    assert "It is the backbone alone; its head is model.fold_head('seg/parts') in Python." in told.stdout
    alone = tsbn("export", tmp_path / "model", "--format", "plain", "--out", tmp_path / "one", "--task", "place")
    assert alone.exit_code == 0 and (tmp_path / "one" / "preprocessor_config.json").is_file()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--format", "tflite"], 2, "is not one of 'onnx', 'torch-export', 'plain'"),
        (
            ["--task", "smile"],
            1,
            r"^tsbn: There are no tasks \['smile'\]\. The tasks of this model are \['keys', 'corner'\]",
        ),
        (["--task-input"], 1, r"^tsbn: The task cannot be an input of the file\. The tasks have different numbers of"),
        (["--format", "plain", "--task-input"], 1, "^tsbn: --images and --task-input are of files: leave them out"),
        (["--out", "there"], 1, r"^tsbn: there is there already, and is kept\. --overwrite"),
        (["--out", "."], 1, r"^tsbn: \. is a folder: give the path of a file in it"),
    ],
)
def test_what_goes_wrong(options, status, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("kept")
    before = files(tmp_path)
    told = tsbn("export", checkpoint, *([] if "--out" in options else ["--out", "model.onnx"]), *options)
    assert told.exit_code == status and "Traceback" not in told.output
    assert re.search(message, re.sub(r"\s*│?\n│?\s*", " ", told.stderr) if status == 2 else told.stderr), told.stderr
    assert files(tmp_path) == before


def test_an_adapter_is_no_model(tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"keys": 2, "corner": 4})
    tsbn_hub.save_task(model, "keys", tmp_path / "adapter", base="ada/net")
    told = tsbn("export", tmp_path / "adapter", "--out", tmp_path / "model.onnx")
    assert (
        told.exit_code == 1
        and told.stderr.count("\n") == 1
        and "It is a task adapter: tsbn_hub.load_task" in told.stderr
    )


def test_a_missing_package_is_one_line(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    told = tsbn("export", checkpoint, "--out", tmp_path / "model.onnx")
    assert told.exit_code == 1 and told.stderr.count("\n") == 1
    assert "onnxruntime: pip install 'tsbn_hub[export]'" in told.stderr
