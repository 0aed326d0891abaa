"""Whatever cannot be printed, what was measured is kept, and the command ends as if it could."""

import io
import json
import os
import sys

import pytest

from tests.matrices import cases_of
from tests.training.small_runs import config_of_data
from tsbn_hub.cli.main import app
from tsbn_hub.training import TrainingConfig, loop, train
from tsbn_hub.training.report import Output, console_of

from .commands import tsbn

DATA = """
import torch
from torch.utils.data import Dataset
from tsbn_hub import Task


class Named(Dataset):
    tasks = [Task("глаза", labels=["[/b]", "日本"]), Task("[/red]", num_classes=2)]

    def __init__(self, split):
        pass

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"image": torch.rand(3, 32, 32), "targets": {task.name: index % 2 for task in self.tasks}}
"""


@pytest.fixture
def config(tmp_path):
    return config_of_data(tmp_path, DATA, "Named", output=f"{tmp_path}/[/x] 実験", batch_size=4, validation=0.34)


def printing_to(monkeypatch, encoding):
    """Standard output that is strict in its encoding, as on Windows. (Where that is ASCII, typer writes UTF-8.)"""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))

    def written():
        sys.stdout.flush()
        return raw.getvalue().decode(encoding, "replace")

    return written


def run(*arguments):
    """A command, as the console script runs it."""
    with pytest.raises(SystemExit) as ended:
        app(list(map(str, arguments)), prog_name="tsbn")
    return ended.value.code


@pytest.mark.parametrize("encoding", cases_of(["ascii", "cp1252"], ["cp1252"]))
def test_a_run_in_another_encoding(encoding, config, tmp_path, monkeypatch):
    written = printing_to(monkeypatch, encoding)
    for command in (["train", config, "--dry-run"], ["train", config], ["train", config], ["--help"]):
        assert run(*command) == 0, written()
    folder = tmp_path / "[/x] 実験"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [task["name"] for task in results["tasks"]] == ["глаза", "[/red]"]
    for command in (["evaluate", folder], ["info", folder], ["card", folder], ["push", folder, "a/b", "--dry-run"]):
        assert run(*command) == 0, written()
    assert "accuracy ^" in written() and "[/red]" in written() and r"\u0433\u043b" in written()


@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_json_in_another_encoding(command, config, tmp_path, monkeypatch):
    train(TrainingConfig.read(config))
    written = printing_to(monkeypatch, "ascii")
    assert run(command, tmp_path / "[/x] 実験", "--json") == 0
    told = json.loads(written())
    assert "глаза" in (told if command == "evaluate" else [task["name"] for task in told["tasks"]])


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "info", "card", "push"])
def test_help_in_another_encoding(command, monkeypatch):
    written = printing_to(monkeypatch, "cp1252")
    assert run(command, "--help") == 0 and f"tsbn {command}" in written()


def test_from_python(config, monkeypatch):
    written = printing_to(monkeypatch, "cp1252")
    train(TrainingConfig.read(config))
    assert "accuracy ^" in written()


class Full(io.TextIOBase):
    encoding = "utf-8"

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_stops_no_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    scores = train(TrainingConfig.read(config))
    assert scores.keys() == {"глаза", "[/red]"}


def test_what_was_measured_is_recorded_first(config, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("a defect in printing")

    monkeypatch.setattr(loop.report, "score_table", fail)
    told = tsbn("train", config)
    assert told.exit_code == 1 and isinstance(told.exception, RuntimeError)
    assert json.loads((tmp_path / "[/x] 実験" / "results.json").read_text(encoding="utf-8"))["tasks"]


def test_a_pipe_that_nobody_reads(config, tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run("train", config) == 0
    assert (tmp_path / "[/x] 実験" / "README.md").exists()


def test_a_failure_to_print_a_result_is_told(monkeypatch):
    from accelerate import Accelerator

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left"):
        console_of(Accelerator(), Output()).print("what was asked for")
