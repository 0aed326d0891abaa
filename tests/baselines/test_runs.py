"""A rival goes through all that a run does."""

import dataclasses
import json

import pytest
import yaml
from PIL import Image

from tests.cli.commands import tsbn
from tests.matrices import cases_of
from tests.training.small_runs import config_of_data
from tsbn_hub.training import TrainingConfig, loop

DATA = """
import torch
from torch.utils.data import Dataset
from tsbn_hub import Task

class Discs(Dataset):
    tasks = [Task("side", num_classes=2), Task("depth", kind="depth", head="small"), Task("size", kind="regression")]

    def __init__(self, split):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.x, self.size = torch.rand(2, 20, generator=generator)

    def __len__(self):
        return 20

    def __getitem__(self, at):
        row = torch.linspace(0, 1, 32)
        disc = ((row - self.x[at]).abs() < 0.1 + 0.2 * self.size[at]).float().expand(32, 32)
        targets = {"side": (self.x[at] > 0.5).long(), "depth": 2 - disc, "size": self.size[at][None]}
        if at >= 8:  # a batch lacks it as a whole
            del targets["depth"]
        return {"image": disc.expand(3, 32, 32), "targets": targets}
"""
WAYS = {
    "cross-stitch": {"method_args": {"per_channel": True}},
    "mtan": {"backward": "task"},
    "stats": {"tasks_per_step": 2},
}


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module", params=cases_of(WAYS, ["cross-stitch"]))
def run(request, tmp_path_factory):
    """A run that was stopped after its first epoch and went on, and one that was not."""
    folder = tmp_path_factory.mktemp(request.param)
    options = {"method": request.param, "epochs": 2, "batch_size": 4, "lr": 0.003, **WAYS[request.param]}
    config = TrainingConfig.read(config_of_data(folder, DATA, "Discs", **options))
    with pytest.MonkeyPatch.context() as patch:
        end = loop.Training._end_epoch

        def end_epoch(self, *args):
            end(self, *args)
            self._save()
            raise StoppedError

        patch.setattr(loop.Training, "_end_epoch", end_epoch)
        with pytest.raises(StoppedError):
            loop.train(config)
    assert tsbn("train", str(folder / "config.yaml")).exit_code == 0
    loop.train(dataclasses.replace(config, output=str(folder / "whole")))
    return folder, request.param


def test_resumed_bit_for_bit(run):
    folder, _ = run
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


def test_every_command(run):
    folder, method = run
    recipe = yaml.safe_load((folder / "run" / "training.yaml").read_text())
    assert recipe["method"] == method
    scores = json.loads(tsbn("evaluate", str(folder / "run"), "--json").output)
    assert list(scores) == ["side", "depth", "size"]
    Image.new("RGB", (40, 30)).save(folder / "photo.png")
    told = tsbn("predict", str(folder / "run"), str(folder / "photo.png"), "--out", str(folder / "out"))
    assert told.exit_code == 0, told.output
    cost = json.loads(tsbn("info", str(folder / "run"), "--json").output)
    assert [task["name"] for task in cost["tasks"]] == ["side", "depth", "size"]
    told = tsbn("card", str(folder / "run"), "--license", "mit", "--overwrite")
    assert told.exit_code == 0, told.output
    card = (folder / "run" / "README.md").read_text()
    said = {
        "cross-stitch": "`cross-stitch`: cross-stitch networks: a network for each task",
        "mtan": "(Liu et al. 2019, [arXiv 1803.10704](https://arxiv.org/abs/1803.10704))",
        "stats": "running statistics of its own in the BatchNorms",
    }
    assert said[method] in card and f"method: {method}" in card
    assert "would go to ada/discs" in tsbn("push", str(folder / "run"), "ada/discs", "--dry-run").output
