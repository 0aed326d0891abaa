"""Steps for some tasks each: which ones are drawn, and that the others rest."""

import json
from collections import Counter
from itertools import chain, product
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.utils.data import Dataset

from tests.matrices import NIGHTLY, cases_of
from tests.training import processes
from tests.training.small_runs import SMALL
from tsbn_hub.norms import TaskParameters
from tsbn_hub.training import TrainingConfig, loop, train
from tsbn_hub.training.loop import Training

STEPS = 24  # of the two epochs below
OPTIMIZERS = {"adamw": {}, "sgd": {"momentum": 0.9, "nesterov": True}}


class Noise(Dataset):
    """Every sample has a label for each task."""

    num_classes = {"b": 3, "a": 5, "c": 2}

    def __init__(self, split, size=64):
        self.image = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(int(split == "test")))

    def __len__(self):
        return len(self.image)

    def __getitem__(self, at):
        return {"image": self.image[at], "targets": {task: at % number for task, number in self.num_classes.items()}}


class Watched(Training):
    """Writes down which tasks each step has moved."""

    def run(self):
        scores = super().run()
        (self.folder.path / f"moved.{self.accelerator.process_index}").write_text(json.dumps(self.moved))
        return scores

    def take_step(self, batches):
        before = {task: self.belongings(task) for task in self.kinds}
        stop = super().take_step(batches)
        moved = [task for task in self.kinds if differ(before[task], self.belongings(task))]
        self.moved = [*getattr(self, "moved", []), moved]
        return stop

    def belongings(self, task):
        """Everything, copied, that belongs to a task: parameters, statistics, optimizer state."""
        row, found = self.model.tasks.index(task), {}
        for name, module in self.model.named_modules():
            for stacked in module.stacked_names() if isinstance(module, TaskParameters) else ():
                tensor = getattr(module, stacked)
                state = {"value": tensor, **self.learner.optimizer.optimizer.state.get(tensor, {})}
                found |= {
                    f"{name}.{stacked}.{key}": value.detach()[module.rows(row)].clone()
                    for key, value in state.items()
                    if torch.is_tensor(value) and value.shape == tensor.shape
                }
        return found


def differ(before, after):
    """Bit for bit. What the first step has added, the optimizer's state, starts from zero."""
    return any(not torch.equal(value, before.get(name, torch.zeros_like(value))) for name, value in after.items())


def watched_run(values):
    """A run: what was moved in each step, and the number of steps that each task had by its log."""
    AcceleratorState._reset_state(reset_partial_state=True)
    train(TrainingConfig(**values), restart=True)
    return written(values), last_epoch(values)["steps"]


def written(values, rank=0):
    return json.loads(Path(values["output"], f"moved.{rank}").read_text())


def last_epoch(values):
    lines = Path(values["output"], "log.jsonl").read_text().splitlines()
    return json.loads(lines[-2])


def train_watched(_, values):
    """What each of two processes does."""
    loop.Training = Watched
    train(TrainingConfig(**values))


@pytest.fixture(autouse=True)
def _watched(monkeypatch):
    monkeypatch.setattr(loop, "Training", Watched)


@pytest.fixture
def values(tmp_path):
    return {
        "model": "test_resnet_tsbn",
        "model_args": SMALL,
        "data": f"{__file__}:Noise",
        "output": str(tmp_path / "run"),
        "epochs": 2,
        "batch_size": 4,
        "validation": 0.25,
        "tasks_per_step": 1,
    }


STYLES = [("sigmoid", "all"), ("affine", "task"), ("shared", "all")]


@pytest.mark.parametrize(
    ("optimizer", "style"),
    cases_of(product(OPTIMIZERS, STYLES), [("adamw", STYLES[0]), ("sgd", STYLES[1]), ("adamw", STYLES[2])]),
)
def test_idle_tasks_rest_and_the_log_counts_the_others(values, optimizer, style):
    norm, backward = style
    chosen = {"optimizer": optimizer, "optimizer_args": OPTIMIZERS[optimizer], "norm": norm, "backward": backward}
    moved, steps = watched_run(values | chosen)
    assert len(moved) == STEPS and all(len(tasks) == 1 for tasks in moved)
    assert steps == Counter(task for (task,) in moved) and steps.keys() == {"b", "a", "c"}


def test_several_tasks_a_step(values):
    moved, steps = watched_run(values | {"tasks_per_step": 2})
    assert all(len(tasks) == 2 for tasks in moved) and len({tuple(tasks) for tasks in moved}) == 3
    assert steps == Counter(chain.from_iterable(moved))


def test_with_tasks_for_all_none_rests(values):
    moved, steps = watched_run(values | {"tasks_per_step": 3, "epochs": 1})
    assert moved == [["b", "a", "c"]] * (STEPS // 2)
    assert steps == dict.fromkeys("bac", STEPS // 2)


def test_the_seed_says_which(values):
    sequences = []
    for seed in (0, 0, 1):
        sequences.append(watched_run(values | {"seed": seed, "epochs": 1})[0])
    assert sequences[0] == sequences[1] != sequences[2]


def test_each_task_is_as_likely(values, monkeypatch):
    """Of 192 draws, each of three tasks gets 64, give or take 4 standard deviations of 6.5. By day of half as many."""
    epochs, draws, bound = (4, 192, 26) if NIGHTLY else (2, 96, 18.5)
    monkeypatch.setattr(loop, "Training", Training)
    values |= {"data_args": {"size": 128}, "epochs": epochs, "batch_size": 2}
    train(TrainingConfig(**values))
    steps = last_epoch(values)["steps"]
    assert sum(steps.values()) == draws
    assert all(abs(number - draws / 3) < bound for number in steps.values())


def test_two_processes_draw_the_same(values, tmp_path):
    codes = processes.train(tmp_path, 2, target=train_watched, arguments=(values | {"batch_size": 2},))
    assert codes == [0, 0], [processes.printed(tmp_path, rank) for rank in range(2)]
    first, second = written(values, 0), written(values, 1)
    assert first == second == watched_run(values)[0]
