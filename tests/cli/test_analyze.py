"""`tsbn analyze`."""

import csv
import re

import pytest

from tests.training.small_runs import write_config
from tsbn_hub.files.names import MARK

from .commands import files, tsbn

THREE = """
import torch
from torch.utils.data import Dataset


class Three(Dataset):
    num_classes = {"a": 2, "b": 2, "c": 2}

    def __init__(self, split):
        self.images = torch.rand(32, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return 32

    def __getitem__(self, at):
        labels = {"a": at % 2, "b": at // 2 % 2, "c": at % 2}
        return {"image": self.images[at], "targets": labels if at % 8 else {"a": 0}}
"""


@pytest.fixture
def three(tmp_path):
    (tmp_path / "three.py").write_text(THREE)
    return write_config(tmp_path, "run", epochs=2, data=f"{tmp_path}/three.py:Three")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_pictures_of_a_run(three, tmp_path):
    assert tsbn("train", three).exit_code == 0
    run, before = tmp_path / "run", files(tmp_path / "run")
    told = tsbn("analyze", run, "--output", tmp_path / "pictures", columns=80)
    assert told.exit_code == 0, told.output
    names = ["similarity", "gate_movement", "gradients"]
    lines = told.stdout.splitlines()
    assert [line.partition(".png: ")[0] for line in lines[:-1]] == names and max(map(len, lines[:-1])) <= 80
    pictures = tmp_path / "pictures"
    assert {path.name for path in pictures.iterdir()} == {f"{name}{end}" for name in names for end in (".png", ".csv")}
    assert files(run) == before and MARK in {path.name for path in run.iterdir()}
    for name in ("similarity", "gradients"):
        rows = read(pictures / f"{name}.csv")
        pairs = [(row["task"], row["other"]) for row in rows if row["layer"] == "all layers"]
        assert pairs == [("a", "b"), ("a", "c"), ("b", "c")] and len(rows) % 3 == 0
        assert all(-1 <= float(row["cosine"]) <= 1 for row in rows)
    rows = read(pictures / "gate_movement.csv")
    assert [(row["epoch"], row["task"]) for row in rows] == [(str(at), task) for at in range(3) for task in "abc"]


def test_what_a_run_cannot_say_is_told(tmp_path):
    shared = write_config(tmp_path, "shared", epochs=1, norm="shared")
    assert tsbn("train", shared).exit_code == 0
    told = tsbn("analyze", tmp_path / "shared")
    assert told.exit_code == 0, told.output
    assert re.match(r"no similarity\.png: \w+ has no gates: only norm='sigmoid'", told.stdout)
    assert "no gate_movement.png: the run has kept no gates" in told.stdout
    found = {path.name for path in (tmp_path / "shared" / "analysis").iterdir()}
    assert found == {"gradients.png", "gradients.csv"}


def test_no_run(tmp_path):
    told = tsbn("analyze", tmp_path)
    assert told.exit_code == 1 and "training.yaml" in told.stderr and not list(tmp_path.iterdir())
