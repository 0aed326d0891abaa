"""A run that is killed at any moment and started again ends as one that was not, bit for bit."""

import multiprocessing
import random
import signal

import pytest

from tests.matrices import NIGHTLY, cases_of
from tests.training import processes
from tests.training.small_runs import FIRST, TRAINING, left_by, signals, write_config
from tsbn_hub.cli.main import app

EPOCHS, DEATHS = (3, 4) if NIGHTLY else (2, 2)


def kill_until_it_ends(config, number, deaths, draw, **how):
    """Train, killed at random samples that many times; how often it was."""
    died = 0
    while True:
        at = FIRST + draw.randint(1, EPOCHS * TRAINING // number)
        killed = signals("SIGKILL", at, ranks=str(draw.randrange(number)))
        codes = processes.train(config, number, killed if died < deaths else (), **how)
        if codes == [0] * number:
            return died
        assert -signal.SIGKILL in codes, processes.printed(config)
        died += 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run of the plain configuration leaves, in one process."""
    config = write_config(tmp_path_factory.mktemp("whole"), "whole", epochs=EPOCHS)
    assert processes.train(config) == [0], processes.printed(config)
    return left_by(config)


def test_killed_again_and_again_in_one_process(tmp_path, whole):
    killed = write_config(tmp_path, "killed", epochs=EPOCHS)
    assert kill_until_it_ends(killed, 1, DEATHS, random.Random("1 {}"))
    assert left_by(killed) == whole


@pytest.mark.parametrize(
    ("number", "changes"),
    cases_of(
        [(1, {"mixed_precision": "bf16"}), (2, {}), (2, {"mixed_precision": "bf16"})],
        [(2, {"mixed_precision": "bf16"})],
    ),
    ids=str,
)
def test_killed_again_and_again(tmp_path, number, changes):
    whole, killed = (write_config(tmp_path, name, epochs=EPOCHS, **changes) for name in ("whole", "killed"))
    assert processes.train(whole, number) == [0] * number, processes.printed(whole)
    assert kill_until_it_ends(killed, number, DEATHS, random.Random(f"{number} {changes}"))
    assert left_by(killed) == left_by(whole)


MIXTURE = [{"name": "Noisy", "rate": 3}, {"name": "Sides", "rate": 1}]
WAYS = {
    "tasks drawn for each step, one backward a task, accumulated": {
        "balancing": "dwa",
        "backward": "task",
        "tasks_per_step": 1,
        "gradient_accumulation_steps": 2,
        "batch_size": 2,
        "optimizer": "sgd",
        "optimizer_args": {"momentum": 0.9},
        "ema_decay": None,
        "channels_last": True,
    },
    "a mixture by rates": {
        "data": MIXTURE,
        "balancing": "rlw",
        "tasks_per_step": 2,
        "schedule": "step",
        "decay_epochs": 1,
        "norm": "affine",
    },
    "joined statistics, clipped gradients": {
        "balancing": "dwa",
        "sync_batch_norm": True,
        "max_grad_norm": 0.1,
        "gradient_accumulation_steps": 2,
        "batch_size": 2,
        "optimizer": "lion",
    },
}


DRAWN, BY_RATES, JOINED = WAYS


@pytest.mark.parametrize(
    ("way", "number"),
    cases_of([(DRAWN, 1), (BY_RATES, 1), (BY_RATES, 2), (JOINED, 2)], [(DRAWN, 1), (BY_RATES, 1)]),
)
def test_ways_to_train(tmp_path, way, number):
    changes = dict(WAYS[way])
    if "data" in changes:
        changes["data"] = [{**each, "name": f"{tmp_path}/noisy.py:{each['name']}"} for each in MIXTURE]
    whole, killed = (write_config(tmp_path, name, epochs=EPOCHS, **changes) for name in ("whole", "killed"))
    assert processes.train(whole, number) == [0] * number, processes.printed(whole)
    assert kill_until_it_ends(killed, number, DEATHS // 2, random.Random(f"{number} {way} 1"))
    assert left_by(killed) == left_by(whole)


def test_the_processes_that_load_data_may_change(tmp_path, whole):
    for workers, at in ((2, 7), (0, 20), (1, 11))[:DEATHS]:
        killed = write_config(tmp_path, "killed", epochs=EPOCHS, workers=workers)
        environment = signals("SIGKILL", at, whom="parent" if workers else "self")
        assert processes.train(killed, 1, environment, target=train_with_forks) == [-signal.SIGKILL]
    write_config(tmp_path, "killed", epochs=EPOCHS, workers=0)
    assert processes.train(killed) == [0], processes.printed(killed)
    assert left_by(killed) == whole


def train_with_forks(config):
    multiprocessing.set_start_method("fork", force=True)
    app(["train", "--config", str(config)])
