"""Kills in the middle of writing, a full disk, a foreign state, numbers that are not finite: what was good is kept."""

import errno
import os
import shutil
import signal
import subprocess
from itertools import product
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import SafetensorError
from safetensors.torch import save_file

from tests.matrices import cases_of, diagonal
from tests.training import processes
from tests.training.small_runs import FIRST, TRAINING, left_by, signals, temporary_files, write_config
from tsbn_hub.cli.main import app
from tsbn_hub.models.timm import surface
from tsbn_hub.tasks import Classification
from tsbn_hub.training import NotFiniteError, Stopped, TrainingConfig, evaluate_run, loop, train
from tsbn_hub.training.state import run_state


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run leaves."""
    config = write_config(tmp_path_factory.mktemp("whole"), "whole", epochs=2)
    assert processes.train(config) == [0], processes.printed(config)
    return left_by(config)


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, "run", epochs=2)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """The config of a run that was stopped in its second epoch, and a copy of what it left."""
    config = write_config(tmp_path_factory.mktemp("stopped"), "run", epochs=2)
    with pytest.MonkeyPatch.context() as stopping:
        for name, value in signals("SIGTERM", FIRST + TRAINING + 30).items():
            stopping.setenv(name, value)
        with pytest.raises(Stopped, match="epoch 2"):
            train(TrainingConfig.read(config))
    return config, shutil.copytree(config.with_suffix(""), config.with_name("copy"))


@pytest.fixture
def stopped(stopped_once, monkeypatch):
    """The config of a run that was stopped in its second epoch."""
    config, copy = stopped_once
    shutil.rmtree(config.with_suffix(""))
    shutil.copytree(copy, config.with_suffix(""))
    for name, value in signals("", at=0).items():
        monkeypatch.setenv(name, value)
    return config


def files(folder):
    """All files of a folder, and what they hold."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Killed in the middle of writing.


WRITTEN = [
    ("training.yaml", 1),
    ("log.jsonl", 2),
    ("gates.jsonl", 2),
    ("state.safetensors", 1),
    ("state.safetensors", 6),
    ("model.safetensors", 1),
    ("config.json", 1),
]


@pytest.mark.parametrize(
    ("written", "how"),
    cases_of(
        product(WRITTEN, ["half written", "not in its place"]),
        diagonal(WRITTEN, ["not in its place", "half written"]),
    ),
    ids=str,
)
def test_killed_in_writing(written, how, config, whole):
    (name, time), moving = written, how == "not in its place"
    codes = processes.train(config, target=train_and_die_in_writing, arguments=[name, time, moving])
    assert codes == [-signal.SIGKILL], processes.printed(config)
    folder = config.with_suffix("")
    assert list(folder.glob(f".{name}.*")) and (time == 1) != (folder / name).exists()
    if (folder / "state.safetensors").exists():
        run_state.read_state(folder / "state.safetensors")
    train(TrainingConfig.read(config))
    assert left_by(config) == whole


def train_and_die_in_writing(config, name, time, moving):
    """`tsbn train`, until a file is written for the `time`-th time."""
    written = []
    fsync, replace = os.fsync, Path.replace

    def die(path):
        written.append(path)
        if len(written) == time:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync_until_then(number):
        path = str(Path(f"/proc/self/fd/{number}").readlink())
        if name in path and not moving:
            die(path)
        fsync(number)

    def replace_until_then(self, target):
        if target.name == name and moving:
            die(self)
        return replace(self, target)

    os.fsync, Path.replace = fsync_until_then, replace_until_then
    app(["train", "--config", str(config)])


# A full disk.


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_in_safetensors(tensors, path, metadata=None):
    save_file(tensors, path, metadata)
    os.truncate(path, path.stat().st_size // 2)
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("where", "attribute", "stub", "name"),
    [
        (run_state, "save_file", no_space_in_safetensors, "state.safetensors"),
        (surface, "save_file", no_space_in_safetensors, "model.safetensors"),
        (surface.TimmSurface, "_save_config", no_space, "config.json"),
        (Path, "write_text", no_space, "log.jsonl"),
        (os, "fsync", no_space, "state.safetensors"),
    ],
    ids=["state", "model", "config", "log", "when it is flushed"],
)
def test_a_full_disk(where, attribute, stub, name, stopped, whole, monkeypatch):
    folder = stopped.with_suffix("")
    before = files(folder)
    with monkeypatch.context() as full:
        full.setattr(where, attribute, stub)
        full.setattr(loop, "mean_score", lambda *args: 1.0)  # better than before: the model is written
        with pytest.raises(OSError, match=rf"{name} could not be written.*No space left on device"):
            train(TrainingConfig.read(stopped))
    assert not temporary_files(folder)
    after = files(folder)
    assert after[name] == before[name]
    run_state.read_state(folder / "state.safetensors")
    train(TrainingConfig.read(stopped))
    assert left_by(stopped) == whole


@pytest.fixture
def disk(tmp_path):
    """A folder with little space, and a function that gives it some."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(disk, tmp_path, whole):
    folder, enlarge = disk
    config = write_config(tmp_path, "run", epochs=2, output=str(folder / "run"))
    with pytest.raises(OSError, match=r"run/state.safetensors could not be written.*[Nn]o space left"):
        train(TrainingConfig.read(config))  # the first state fits, and not two
    assert not temporary_files(folder / "run")
    assert run_state.read_state(folder / "run" / "state.safetensors")["record"]["steps"] == 2
    enlarge()
    train(TrainingConfig.read(config))
    assert left_by(config) == whole


# Another run's folder, and a state that is damaged.


def refused(config, message, **changes):
    """Training raises, and changes no file."""
    folder = config.with_suffix("")
    before = files(folder)
    with pytest.raises(ValueError, match=message):
        train(TrainingConfig.read(config, **changes))
    assert files(folder) == before


def test_another_config(stopped, whole):
    message = r"run holds another run \(lr: 0.01, here 0.02; seed: 0, here 1\)\. Choose another output, or restart"
    refused(stopped, message, lr=0.02, seed=1)
    train(TrainingConfig.read(stopped, workers=0, checkpoint_steps=1000))  # may change; so may where the folder is
    assert left_by(stopped)[0] == whole[0]


def test_another_precision_of_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch --mixed_precision bf16` does
    config = write_config(tmp_path, "run", epochs=1)
    scores = train(TrainingConfig.read(config))
    folder = config.with_suffix("")
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    refused(config, r"another run \(mixed_precision: 'bf16', here 'no'\)")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert evaluate_run(folder)[1] == scores


def test_another_number_of_processes(stopped):
    folder = stopped.with_suffix("")
    before = files(folder)
    assert processes.train(stopped, 2) == [1, 1]
    for rank in range(2):
        assert "holds another run (processes: 1, here 2)" in processes.printed(stopped, rank)
    assert files(folder) == before


def test_restart(stopped, tmp_path):
    changes = {"seed": 1, "norm": "affine", "tasks": ["corner"], "epochs": 1}
    train(TrainingConfig.read(stopped, **changes), restart=True)
    train(TrainingConfig.read(write_config(tmp_path, "anew", **changes)))
    assert left_by(stopped)[0] == left_by(tmp_path / "anew.yaml")[0]


def damage(path, how):
    if how == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    elif how == "its header alone":
        os.truncate(path, 8 + int.from_bytes(path.read_bytes()[:8], "little"))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    elif how == "a pickle":
        torch.save({"model": torch.zeros(3)}, path)
    elif how == "a model":
        shutil.copy(path.parent / "model.safetensors", path)
    elif how == "no dictionary":
        save_file({}, path, metadata={"state": "[1, 2]"})
    elif how == "no JSON":
        save_file({}, path, metadata={"state": "{"})


DAMAGES = ["truncated", "its header alone", "empty", "zeros", "a pickle", "a model", "no dictionary",
           "no JSON"]  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state(how, stopped, whole):
    damage(stopped.with_suffix("") / "state.safetensors", how)
    refused(stopped, r"state.safetensors is damaged, or not the state of a run.*restart")
    if how == "truncated":
        train(TrainingConfig.read(stopped), restart=True)
        assert left_by(stopped) == whole


def test_a_state_of_another_version(stopped):
    path = stopped.with_suffix("") / "state.safetensors"
    run_state.write_state(path, run_state.read_state(path) | {"version": 0})
    refused(stopped, "state.safetensors was written by another version")


def test_a_finished_run(config, capsys):
    scores = train(TrainingConfig.read(config))
    folder, printed = config.with_suffix(""), capsys.readouterr().out
    before, times = files(folder), {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train(TrainingConfig.read(config)) == scores
    again = capsys.readouterr().out
    table = printed[printed.index("┏") :]
    assert table in again and "epoch   1" in printed and "epoch   1" not in again
    assert files(folder) == before
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


# Losses and gradients that are not finite.


LOSS = Classification.loss


def not_finite(what, task_classes, calls):
    """Classification.loss, but with a loss or gradient that is not finite for a task, from some call on."""
    seen = []

    def replaced(self, logits, target):
        value = LOSS(self, logits, target)
        if logits.shape[1] != task_classes:
            return value
        seen.append(value)
        if len(seen) < calls:
            return value
        return value * torch.inf if what == "loss" else value + (0 * logits).sum().sqrt()  # its gradient: inf * 0

    return replaced


@pytest.mark.parametrize(
    ("what", "backward", "task"),
    cases_of(
        product(["loss", "gradient"], ["all", "task"], ["keys", "corner"]),
        [
            ("loss", "task", "corner"),
            ("gradient", "all", "keys"),
        ],
    ),
)
def test_not_finite(what, backward, task, monkeypatch, tmp_path):
    classes, step = {"keys": (2, 10), "corner": (4, 9)}[task]
    changes = {"epochs": 2, "backward": backward, "batch_size": 6, "balancing": "equal", "checkpoint_steps": 3}
    config, finite = (write_config(tmp_path, name, **changes) for name in ("run", "finite"))
    which = f"the loss of '{task}' is inf" if what == "loss" else f"the gradient of '{task}' is not finite"
    message = rf"^In epoch 2, step {step - 6} \(step {step} of the run\), {which}\. .*run keeps the last good state"
    calls = 9  # one of the first 9 steps is without keys
    for _ in range(2):
        with monkeypatch.context() as broken, pytest.raises(NotFiniteError, match=message):
            broken.setattr(Classification, "loss", not_finite(what, classes, calls))
            train(TrainingConfig.read(config))
        record = run_state.read_state(tmp_path / "run" / "state.safetensors")["record"]
        calls = 9 - record["task_steps"][task]
    assert (record["epoch"], record["steps"]) == (1, 6) if step == 9 else (2, 3)
    for each in (config, finite):
        train(TrainingConfig.read(each))
    assert left_by(config) == left_by(finite)


def test_an_image_that_is_not_finite_on_one_of_two_processes(tmp_path):
    config = write_config(tmp_path, "run", epochs=2, checkpoint_steps=1, data_args={"broken": 5})
    told = []
    for _ in range(2):
        assert processes.train(config, 2) == [1, 1]
        for rank in range(2):
            (line,) = [line for line in processes.printed(config, rank).splitlines() if line.startswith("tsbn: ")]
            told.append(line)
        run_state.read_state(tmp_path / "run" / "state.safetensors")
    assert len(set(told)) == 1 and "the loss of 'corner' is nan" in told[0], told
    assert not temporary_files(tmp_path / "run")


def test_gradients_that_overflow(config, monkeypatch):
    monkeypatch.setattr(
        Classification, "loss", lambda self, logits, target: LOSS(self, logits, target) + 1e30 * logits.mean()
    )
    both = r"the gradient of 'keys' is not finite, the gradient of 'corner' is not finite\."
    with pytest.raises(NotFiniteError, match=rf"In epoch 1, step 1 \(step 1 of the run\), {both}"):
        train(TrainingConfig.read(config))
