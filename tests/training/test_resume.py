"""A run that is killed at any moment and started again ends as one that was not, bit for bit."""

import random
import signal
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from tests.training import processes

# A data set with random augmentation, and missing labels, which may end its process when a sample is read.
DATA = """
import os, random, signal
import numpy as np
import torch
from torch.utils.data import Dataset

READ = random.__dict__.setdefault("samples_read", [0])  # this module is run anew for each split


class Noisy(Dataset):
    num_classes = {"keys": 2, "corner": 4}

    def __init__(self, split, size=48):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.corner = torch.randint(4, (size,), generator=generator)
        self.image = torch.rand(size, 1, 32, 32, generator=generator)

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        READ[0] += 1
        if READ[0] == int(os.environ.get("KILL_AT", 0)) and os.environ.get("RANK", "0") == os.environ.get("KILL", "0"):
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        image = self.image[at] + torch.rand(1) + np.random.rand() + random.random()
        targets = {"corner": self.corner[at]}
        return {"image": image.float(), "targets": targets if at % 3 else targets | {"keys": self.corner[at] % 2}}
"""

CONFIG = {
    "model": "test_resnet_tsbn",
    "model_args": {"drop_rate": 0.3},
    "epochs": 3,
    "batch_size": 4,
    "validation": 0.25,
    "checkpoint_steps": 2,
    "lr": 0.01,
    "ema_decay": 0.9,
    "balancing": "uncertainty",
}
READS = 3 * 36  # samples that training reads, shared by the processes


@pytest.fixture
def make_config(tmp_path):
    (tmp_path / "noisy.py").write_text(DATA)

    def make(name, **changes):
        path = tmp_path / f"{name}.yaml"
        values = CONFIG | {"data": f"{tmp_path}/noisy.py:Noisy", "output": str(tmp_path / name)} | changes
        path.write_text(yaml.safe_dump(values))
        return path

    return make


def left_by(config):
    """What a run leaves, in bytes: best weights, log, and all of its last state but the path."""
    output = Path(yaml.safe_load(config.read_text())["output"])
    assert not list(output.glob(".*")), "a temporary file was left"
    with safe_open(output / "state.safetensors", "np") as state:
        names = state.keys()
        tensors = [(name, state.get_tensor(name).tobytes()) for name in names]
        rest = state.metadata()["state"].replace(str(output), "")
    return [(output / name).read_bytes() for name in ("model.safetensors", "log.jsonl", "config.json")], tensors, rest


@pytest.mark.parametrize(
    ("number", "changes"),
    [(1, {}), (1, {"mixed_precision": "bf16"}), (2, {}), (2, {"mixed_precision": "bf16"})],
    ids=["one process", "one in bf16", "two", "two in bf16"],
)
def test_killed_again_and_again(make_config, number, changes):
    whole, killed = make_config("whole", **changes), make_config("killed", **changes)
    assert processes.train(whole, number) == [0] * number, processes.printed(whole)
    draw = random.Random(f"{number} {changes}")
    deaths = 0
    while True:
        environment = {"KILL_AT": str(draw.randint(1, READS // number)), "SIGNAL": str(int(signal.SIGKILL)),
                       "KILL": str(draw.randrange(number))}  # fmt: skip
        if deaths == 4:
            environment = {}
        codes = processes.train(killed, number, environment)
        if codes == [0] * number:
            break
        assert -signal.SIGKILL in codes, processes.printed(killed)
        deaths += 1
    assert deaths
    assert left_by(killed) == left_by(whole)
