"""`tsbn evaluate`; that it says what training said is in test_train.py."""

import json
import re

import pytest

from tsbn_hub.training import loop

from .commands import tsbn


def test_a_task_that_the_test_set_lacks(config, tmp_path):
    (tmp_path / "noisy.py").write_text(
        (tmp_path / "noisy.py").read_text()
        + """

class Partly(Noisy):
    def __init__(self, split):
        super().__init__(split)
        self.split = split

    def targets(self, at):
        return {"corner": self.corner[at]} if self.split == "test" else super().targets(at)
"""
    )
    told = tsbn("train", "--config", config, "--set", f"data={tmp_path}/noisy.py:Partly")
    assert told.exit_code == 0, told.output
    scores = json.loads(
        tsbn("evaluate", tmp_path / "run", "--json").stdout, parse_constant=lambda name: pytest.fail(name)
    )
    assert scores["keys"] == {"accuracy": None} and scores["corner"]["accuracy"] >= 0


@pytest.mark.parametrize("folder", ["nowhere", ""])
def test_a_folder_without_a_run(folder, config, tmp_path):
    told = tsbn("evaluate", tmp_path / folder)
    assert told.exit_code == 1 and re.search(r"^tsbn: There is no file .*training\.yaml\.", told.stderr)
    assert "Traceback" not in told.output and (folder or f"There are ['{config}']" in told.stderr)


def test_the_config_in_place_of_the_folder(config):
    told = tsbn("evaluate", config)
    assert told.exit_code == 2 and "is a file" in " ".join(told.stderr.split()).lower()


def test_a_run_without_a_model_yet(config, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(loop.Training, "run", fail)
    assert tsbn("train", "--config", config).exit_code == 1
    told = tsbn("evaluate", tmp_path / "run")
    assert told.exit_code == 1 and "has no config.json" in told.stderr and "Traceback" not in told.output
