"""Data sets with tasks and image sizes of their own, trained in turns."""

import json
from collections import Counter
from itertools import chain, product

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

import tsbn_hub
from tests.matrices import cases_of
from tests.training import processes
from tsbn_hub.training import TrainingConfig, loop, train
from tsbn_hub.training.loop import Training


class OneShade(Dataset):
    """Images that are all alike."""

    num_classes = {}

    def __init__(self, split, size, side, shade):
        self.size, self.image = size, torch.full((3, side, side), float(shade))

    def __len__(self):
        return self.size

    def __getitem__(self, at):
        return {"image": self.image, "targets": {task: at % number for task, number in self.num_classes.items()}}


class Dark(OneShade):
    num_classes = {"night": 2}


class Bright(OneShade):
    num_classes = {"day": 3, "noon": 2}


TASKS_BY_SIDE = {32: ["night"], 48: ["day", "noon"]}


class Watched(Training):
    """Writes down the forwards of each step, the side of the images and the tasks, and the statistics at the end."""

    def take_step(self, batches):
        if not hasattr(self, "forwards"):
            self.forwards = []
            self.learner.network.register_forward_pre_hook(self.note)
        self.forwards.append([])
        return super().take_step(batches)

    def note(self, network, arguments):
        images, tasks, *_ = arguments
        self.forwards[-1].append([images.shape[-1], tasks])

    def run(self):
        scores = super().run()
        rank = self.accelerator.process_index
        (self.folder.path / f"forwards.{rank}").write_text(json.dumps(self.forwards))
        save_file(dict(self.model.named_buffers()), self.folder.path / f"statistics.{rank}")
        return scores


def train_watched(_, values):
    """What each process does."""
    loop.Training = Watched
    train(TrainingConfig(**values))


@pytest.fixture(autouse=True)
def _watched(monkeypatch):
    monkeypatch.setattr(loop, "Training", Watched)


BY_SIZE, BY_RATES = (None, [12, 6]), ([1, 2], [6, 12])  # rates, and in how many rounds of batches each is seen


@pytest.mark.parametrize(
    ("number", "drawn", "micro_batches"),
    cases_of(
        product([1, 2], [BY_SIZE, BY_RATES], [1, 2]),
        [(1, BY_SIZE, 2), (2, BY_RATES, 1)],
    ),
)
def test_a_step_is_for_the_tasks_of_its_data(tmp_path, number, drawn, micro_batches):
    rates, rounds = drawn
    sources = [
        {"name": f"{__file__}:Dark", "args": {"size": 64, "side": 32, "shade": 0}},
        {"name": f"{__file__}:Bright", "args": {"size": 32, "side": 48, "shade": 10}},
    ]
    output = tmp_path / "run"
    values = {
        "model": "test_resnet_tsbn",
        "data": [source if rates is None else source | {"rate": rates[at]} for at, source in enumerate(sources)],
        "output": str(output),
        "epochs": 2,
        "batch_size": 4 // number,
        "gradient_accumulation_steps": micro_batches,
        "validation": 0.25,
        "lr": 1e-30,  # no weight moves, so that the statistics are known
    }
    if number == 1:
        train_watched(None, values)
    else:
        codes = processes.train(tmp_path, number, target=train_watched, arguments=(values,))
        assert codes == [0] * number, [processes.printed(tmp_path, rank) for rank in range(number)]

    steps = json.loads((output / "forwards.0").read_text())
    forwards = list(chain.from_iterable(steps))
    assert all(tasks == TASKS_BY_SIDE[side] for side, tasks in forwards)
    assert Counter(side for side, _ in forwards) == {32: 2 * rounds[0], 48: 2 * rounds[1]}
    assert all(len(step) == micro_batches for step in steps)
    if micro_batches == 2:
        assert any(step[0] != step[1] for step in steps), "a step of both data sets"
    last = json.loads((output / "log.jsonl").read_text().splitlines()[-2])
    in_steps = [{task for _, tasks in step for task in tasks} for step in steps]
    assert last["steps"] == Counter(chain.from_iterable(in_steps))
    for rank in range(number):
        assert json.loads((output / f"forwards.{rank}").read_text()) == steps
        check_statistics(output, rank, {"night": 2 * rounds[0], "day": 2 * rounds[1], "noon": 2 * rounds[1]})


def check_statistics(output, rank, batches):
    """Behind the first convolution: of black images 0, to the bit; of bright ones always the same mean."""
    model, own = tsbn_hub.from_pretrained(output), load_file(output / f"statistics.{rank}")
    assert model.tasks == list(batches)
    assert own["conv1.1.num_batches_tracked"].tolist() == list(batches.values())
    mean = model.conv1[0](Bright("train", size=1, side=48, shade=10)[0]["image"][None]).mean((0, 2, 3))
    night, day, noon = own["conv1.1.running_mean"]
    assert not night.any() and torch.equal(day, noon)
    torch.testing.assert_close(day, (1 - 0.9 ** batches["day"]) * mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own["conv1.1.running_var"][0], torch.full_like(night, 0.9 ** batches["night"]))
