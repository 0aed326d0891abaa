"""Comparisons without training: rows of scores that are made up, and grids whose runs end at once."""

import json
from pathlib import Path

import yaml

from tsbn_hub.compare import Grid, Row
from tsbn_hub.compare.costs import MethodCost
from tsbn_hub.files.names import LOG
from tsbn_hub.results import Results
from tsbn_hub.results.results import DataMeasured, Metric, TaskMeasured

DATA = """
import torch
from torch.utils.data import Dataset


class Corners(Dataset):
    num_classes = {"corner": 4, "side": 2}

    def __init__(self, split, size=64):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.corner = torch.randint(4, (size,), generator=generator)
        self.image = torch.rand(size, 3, 32, 32, generator=generator) / 2
        for image, corner in zip(self.image, self.corner.tolist()):
            image[:, 16 * (corner // 2) :, 16 * (corner % 2) :][:, :16, :16] += 0.5

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        return {"image": self.image[at], "targets": {"corner": self.corner[at], "side": self.corner[at] % 2}}
"""
CONFIG = {
    "model": "test_resnet_tsbn",
    "output": "not used",
    "epochs": 1,
    "batch_size": 16,
    "validation": 0.25,
    "lr": 0.01,
}


def write_config(folder, code=DATA, name="Corners", **changes):
    """The config of a grid, with its data set beside it."""
    (folder / "corners.py").write_text(code)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "data": f"{folder}/corners.py:{name}", **changes}))
    return path


def grid_of(place, methods="stl,hps,tssigma", config=None, **keywords):
    """A grid in a folder, with its single-task runs beside it."""
    keywords = {"folder": place / "grid", "single_task_folder": place / "single_task", **keywords}
    return Grid(file=config or write_config(place), methods=methods.split(","), **keywords)


def results_of(scores, samples=64, name="Corners"):
    """Results with these metrics: by task, by metric, the value and whether higher is better."""
    tasks = [
        TaskMeasured(
            task,
            "classification",
            4,
            [Metric(metric, value, higher, is_share=higher) for metric, (value, higher) in metrics.items()],
        )
        for task, metrics in scores.items()
    ]
    return Results(
        weights="0" * 64,
        data=[DataMeasured(name, samples, list(scores))],
        split="test",
        epoch_chosen_by="the mean over tasks of accuracy",
        tasks=tasks,
    )


def row_of(label, *seeds, passes=None, **keywords):
    """A row; for each seed, by task, the primary metric: a share, higher is better."""
    results = {seed: [results_of({task: {"accuracy": (value, True)} for task, value in scores.items()})]
               for seed, scores in enumerate(seeds)}  # fmt: skip
    cost = (
        None if passes is None else MethodCost(381_000, 381_000, 1440.0, 19.4e6 * passes, passes, 0.1 * passes, 2**20)
    )
    return Row(label, results, cost=cost, **keywords)


class InstantRuns:
    """In the place of processes: a run ends at once, with the accuracies that `scores` has for its config.

    Attributes:
        scores: Called with a config; by task, the accuracy on validation and test data. What it raises is the run's
            failure.
        trained: The configs of the runs that were begun, in order.
    """

    exitcode = 0

    def __init__(self, monkeypatch):
        self.scores = lambda config: dict.fromkeys(config.tasks or ("corner", "side"), 0.5)
        self.trained = []
        monkeypatch.setattr("tsbn_hub.compare.running.start_process", self.start)
        monkeypatch.setattr("tsbn_hub.compare.costs.start_process", self.start)
        monkeypatch.setattr("tsbn_hub.compare.running._SECONDS_BETWEEN_LOOKS", 0.0)

    def start(self, target, *arguments):
        self.exitcode = 1
        if target.__name__ == "_train":
            run = arguments[0]
            self.trained.append(run.config)
            try:
                self.write(Path(run.config.output), self.scores(run.config))
                self.exitcode = 0
            except ValueError as error:
                log = run.folder.parent / "logs" / f"{run.folder.name}.txt"
                log.write_text(f"Traceback\nValueError: {error}\n")
        return self

    def write(self, folder, scores):
        folder.mkdir(parents=True)
        results_of({task: {"accuracy": (value, True)} for task, value in scores.items()}).write(folder)
        line = {"epoch": 1, "validation": {task: {"accuracy": value} for task, value in scores.items()}}
        (folder / LOG).write_text(json.dumps(line) + "\n")

    def is_alive(self):
        return False

    def terminate(self):
        pass

    def join(self):
        pass
