"""Small runs that go wrong when they are told to, and what they leave."""

from pathlib import Path

import yaml
from safetensors import safe_open

from tsbn_hub.files.names import MARK

# A data set with random augmentation, and missing labels. The environment says what happens when a sample is read:
# COUNTDOWN, which one, of those that this process reads; SIGNALS, by their names, with a plus between; RANKS, on which
# processes; WHOM they reach: the process that reads ("self"), and the one that started it ("parent"), or the whole
# process group ("group").
DATA = """
import math, multiprocessing, os, random, signal
from pathlib import Path
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info


def send_signals():
    left = int(os.environ.get("COUNTDOWN", 0))
    os.environ["COUNTDOWN"] = str(left - 1)  # there, for this module is run anew for each split
    worker = get_worker_info()
    if left != 1 or worker is not None and worker.id or os.environ.get("RANK", "0") not in os.environ["RANKS"]:
        return
    parent = os.getppid() if worker is None else multiprocessing.parent_process().pid
    whom = {"self": [os.getpid()], "parent": [parent, os.getpid()], "group": [0]}
    for name in os.environ["SIGNALS"].split("+"):
        for process in whom[os.environ["WHOM"]]:
            os.kill(process, getattr(signal, name))


class Noisy(Dataset):
    num_classes = {"keys": 2, "corner": 4}

    def __init__(self, split, size=48, broken=None):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.corner = torch.randint(4, (size,), generator=generator)
        self.image = torch.rand(size, 1, 32, 32, generator=generator)
        if broken is not None:
            self.image[broken] = math.nan

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        if get_worker_info() is not None and "WORKERS" in os.environ:
            Path(os.environ["WORKERS"], str(os.getpid())).touch()
        send_signals()
        image = self.image[at] + torch.rand(1) + np.random.rand() + random.random()
        return {"image": image.float(), "targets": self.targets(at)}

    def targets(self, at):
        targets = {"corner": self.corner[at]}
        return targets if at % 3 else targets | {"keys": self.corner[at] % 2}


class Sides(Noisy):
    num_classes = {"side": 3}

    def targets(self, at):
        return {"side": self.corner[at] % 3}
"""

SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}  # of a test_resnet
CONFIG = {
    "model": "test_resnet_tsbn",
    "model_args": {"drop_rate": 0.3, **SMALL},
    "epochs": 3,
    "batch_size": 4,
    "eval_batch_size": 16,
    "validation": 0.25,
    "checkpoint_steps": 2,
    "lr": 0.01,
    "ema_decay": 0.9,
    "balancing": "uncertainty",
}
TRAINING, VALIDATION, TEST = 36, 12, 48  # samples that all processes together read in an epoch, and at the end


FIRST = 1  # sample that is read for the shape of the images, before the training


def signals(names, at, ranks="0", whom="self"):
    """The environment that sends signals at a sample: see above."""
    return {"COUNTDOWN": str(at), "SIGNALS": names, "RANKS": ranks, "WHOM": whom}


def write_config(folder, name, **changes):
    """The config of a run into `folder/name`: a file."""
    (folder / "noisy.py").write_text(DATA)
    values = CONFIG | {"data": f"{folder}/noisy.py:Noisy", "output": str(folder / name)} | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def temporary_files(folder):
    """What should not be left of files that are written. A run's mark is meant to stay."""
    return [path.name for path in folder.glob(".*") if path.name != MARK]


def left_by(config):
    """What a run leaves, in bytes: best weights, log, how gates moved, and all of its last state but where it is."""
    output = Path(yaml.safe_load(config.read_text())["output"])
    assert not temporary_files(output)
    with safe_open(output / "state.safetensors", "np") as state:
        names = state.keys()
        tensors = [(name, state.get_tensor(name).tobytes()) for name in names]
        rest = state.metadata()["state"].replace(str(output), "").replace(str(config.parent), "")
    names = ["model.safetensors", "log.jsonl", "config.json", *(path.name for path in output.glob("gates.jsonl"))]
    return [(output / name).read_bytes() for name in names], tensors, rest


def config_of_data(folder: Path, code: str, data: str, **values: object) -> Path:
    """A config of one epoch on a data set, "Name", of code that is written beside it."""
    module = folder / f"{data.lower()}.py"
    module.write_text(code, encoding="utf-8")
    values = {"model": "test_resnet_tsbn", "data": f"{module}:{data}", "output": f"{folder}/run", "epochs": 1, **values}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    return config
