"""Ctrl-C and SIGTERM: the step is finished, the state saved, and the same command ends as if nothing had happened."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.matrices import NIGHTLY, cases_of
from tests.training import processes
from tests.training.small_runs import FIRST, TRAINING, VALIDATION, left_by, signals, write_config
from tsbn_hub.cli.main import app
from tsbn_hub.training import Stopped, TrainingConfig, train

ROOT = Path(__file__).parents[2]
EPOCH = TRAINING + VALIDATION


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run leaves, by the number of its processes."""
    left = {}
    for number in (1, 2):
        config = write_config(tmp_path_factory.mktemp("whole"), "whole", epochs=2)
        assert processes.train(config, number) == [0] * number, processes.printed(config)
        left[number] = left_by(config)
    return left


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, "stopped", epochs=2)


def train_here(config, monkeypatch, environment=None):
    """Train in this process."""
    for name, value in (environment or signals("", at=0)).items():
        monkeypatch.setenv(name, value)
    return train(TrainingConfig.read(config))


@pytest.mark.parametrize("name", cases_of(["SIGINT", "SIGTERM"], ["SIGTERM"]))
def test_at_random_samples(name, config, whole, monkeypatch):
    handler, draw = signal.getsignal(getattr(signal, name)), random.Random(name)
    for _ in range(4 if NIGHTLY else 2):
        with pytest.raises(Stopped, match=rf"Stopped by {name} in epoch \d, after its step \d+.*goes on") as stopped:
            train_here(config, monkeypatch, signals(name, FIRST + draw.randint(1, TRAINING // 2)))
        assert stopped.value.exit_status == 128 + getattr(signal, name)
        assert signal.getsignal(getattr(signal, name)) == handler
    train_here(config, monkeypatch)
    assert left_by(config) == whole[1]


MOMENTS = {
    "first step": (1, "epoch 1, after its step 1", "epoch 1, after its step 1"),
    "last step of an epoch": (TRAINING, "epoch 1, after its step 9", "epoch 1, after its step 9"),
    "validation": (TRAINING + 1, "epoch 1, after its step 9", "epoch 1, after its step 9"),
    "second epoch": (EPOCH + 9, "epoch 2, after its step 3", "epoch 2, after its step 3"),
    "test": (2 * EPOCH + 1, "the test", "epoch 2, after its step 9"),
}


@pytest.mark.parametrize("moment", cases_of(MOMENTS, ["validation", "test"]))
def test_the_message_says_where(moment, config, whole, monkeypatch, capsys):
    sample, where, saved = MOMENTS[moment]
    with pytest.raises(Stopped, match=rf"in {where}\."):
        train_here(config, monkeypatch, signals("SIGINT", FIRST + sample))
    capsys.readouterr()
    train_here(config, monkeypatch)
    assert f"Going on in {saved}.\n" in capsys.readouterr().out
    assert left_by(config) == whole[1]


def test_a_second_ctrl_c_ends_at_once(config, whole, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt) as interrupted:
        train_here(config, monkeypatch, signals("SIGINT+SIGINT", FIRST + 30))
    assert not isinstance(interrupted.value, Stopped)
    capsys.readouterr()
    train_here(config, monkeypatch)
    # The 30th sample is of step 8: the state is that of step 6, for one is written every 2 steps.
    assert "Going on in epoch 1, after its step 6." in capsys.readouterr().out
    assert left_by(config) == whole[1]


def test_sigterm_after_ctrl_c_is_no_impatience(config, monkeypatch):
    # torchrun, and a terminal that is closed, send both.
    with pytest.raises(KeyboardInterrupt, match="Stopped by SIGINT"):
        train_here(config, monkeypatch, signals("SIGINT+SIGTERM", FIRST + 5))


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_exit_status_of_one_process(name, status, config):
    assert processes.train(config, 1, signals(name, 20)) == [status]
    printed = processes.printed(config)
    assert re.search(rf"^tsbn: Stopped by {name} in epoch 1, after its step 5\.", printed, re.MULTILINE), printed
    assert "Traceback" not in printed


STOPPED = {
    "the second": ("SIGTERM", "1", 6, "epoch 1, after its step 2", [143, 143]),
    "the first": ("SIGINT", "0", 16, "epoch 1, after its step 4", [130, 143]),
    "both": ("SIGINT", "01", 3, "epoch 1, after its step 1", [130, 130]),
    "the first, validation": ("SIGTERM", "0", 17, "epoch 1, after its step 4", [143, 143]),
    "the second, test": ("SIGINT", "1", 33, "the test", [143, 130]),
}


@pytest.mark.parametrize("who", cases_of(STOPPED, ["the first, validation", "the second, test"]))
def test_two_processes(who, config, whole):
    name, ranks, sample, where, statuses = STOPPED[who]
    # A process reads 16 samples an epoch. Those of the validation are one batch, of the first process.
    assert processes.train(config, 2, signals(name, FIRST + sample, ranks)) == statuses, processes.printed(config)
    for rank in range(2):
        by = name if str(rank) in ranks else "another process"
        printed = processes.printed(config, rank)
        assert f"Stopped by {by} in {where}." in printed and "Traceback" not in printed, printed
    assert processes.train(config, 2) == [0, 0]
    assert left_by(config) == whole[2]


@pytest.mark.parametrize(
    ("name", "sample", "status", "way"),
    [
        ("SIGINT", 1, 130, "fork"),
        pytest.param("SIGKILL", 10, -9, "fork", marks=pytest.mark.nightly),
        ("SIGTERM", 1, 143, "forkserver"),
    ],
)
def test_processes_that_load_data(name, sample, status, way, config, whole, tmp_path, monkeypatch):
    config = write_config(tmp_path, "stopped", epochs=2, workers=2)
    seen = tmp_path / "seen"
    seen.mkdir()
    environment = signals(name, FIRST + sample, whom="parent") | {"WORKERS": str(seen)}
    codes = processes.train(config, 1, environment, target=train_with_workers, arguments=[way])
    assert codes == [status] and "Traceback" not in processes.printed(config), processes.printed(config)
    workers = [int(path.name) for path in seen.iterdir()]
    deadline = time.monotonic() + 30  # a worker looks every 5 s whether its parent is alive
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers and not any(map(alive, workers))
    train_here(write_config(tmp_path, "stopped", epochs=2), monkeypatch)  # without workers
    assert left_by(config) == whole[1]


def train_with_workers(config, way):
    """`tsbn train`, where new processes start as by default in Python 3.13 on Linux (fork), or in 3.14 (forkserver)."""
    multiprocessing.set_start_method(way, force=True)
    app(["train", "--config", str(config)])


def alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def launch(command, config, environment):
    """Run the script as a launcher starts it, in a process group of its own."""
    return subprocess.run(
        [sys.executable, "-m", *command, "examples/finetune.py", "--config", config],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"} | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        start_new_session=True,
    )


def test_ctrl_c_at_accelerate_launch(config, whole, monkeypatch):
    command = ["accelerate.commands.launch", "--num_processes=1"]
    done = launch(command, config, signals("SIGINT", 20, whom="group"))  # the terminal signals the group
    assert "Stopped by SIGINT in epoch 1, after its step 5." in done.stdout, done.stdout
    train_here(config, monkeypatch)
    assert left_by(config) == whole[1]


@pytest.mark.nightly
def test_torchrun_is_killed(config, whole):
    command = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    # Both processes, and the launcher.
    killed = launch(command, config, signals("SIGKILL", FIRST + 12, ranks="01", whom="parent"))
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    done = launch(command, config, {})
    assert done.returncode == 0 and "Going on in epoch 1, after its step 2." in done.stdout, done.stdout
    assert left_by(config) == whole[2]
