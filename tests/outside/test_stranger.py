"""A package of somebody else's adds one of everything that is registered; a run with all of them is used by everything.

Each step is a process of its own, which knows of the package only by what files say. They are forks of one that has
imported tsbn_hub and nothing of the package.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.forks import ALL, Forks
from tests.matrices import NIGHTLY, cases_of
from tsbn_hub.files.names import MARK

HERE = Path(__file__).parent

CONFIG = {
    "model": "stranger_net_tsbn",
    "model_args": {"width": 8},
    "data": "Discs",
    "data_args": {"size": 48, "quantile": 0.7},
    "heads": {"side": {"name": "two_layers", "width": 8}},
    "balancing": "inverse",
    "epochs": 2,
    "batch_size": 8,
    "warmup_epochs": 0,
    "imports": ["stranger"],
}
METHODS = {"task norms": {}, "a trunk": {"method": "copies", "method_args": {"scale": 2.0}}}


class Folder:
    """A working directory, in which the package can be imported, or not."""

    def __init__(self, path: Path, forks: Forks) -> None:
        self.path = path
        self.forks = forks
        self.own = {"XDG_CACHE_HOME": str(path / "cache"), "COLUMNS": "100", "PYTHONPATH": str(HERE)}
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **self.own}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.forks.run(*arguments, cwd=self.path, env=self.environment | environment)

    def tsbn(self, *arguments: str) -> str:
        done = self.run("-m", "tsbn_hub.cli", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def processes():
    """Where processes come from that speak with no Hub."""
    with Forks(*ALL) as forks:
        yield forks


@pytest.fixture(scope="module", params=cases_of(METHODS, ["task norms"]))
def trained(request, processes, tmp_path_factory):
    """A folder with a run, which was stopped after its first epoch and then went on."""
    folder = Folder(tmp_path_factory.mktemp("stranger"), processes)
    config = {**CONFIG, **METHODS[request.param], "output": "run"}
    (folder.path / "run.yaml").write_text(yaml.safe_dump(config))
    folder.tsbn("train", "run.yaml", "--output", "whole")
    stopped = folder.run("-c", STOPPED)
    assert stopped.returncode == 0, stopped.stderr
    assert "Going on in epoch 2" in folder.tsbn("train", "run.yaml")
    return folder


STOPPED = """
from tsbn_hub.training import TrainingConfig, loop
class Enough(Exception): pass
real = loop.Training._end_epoch
def end_epoch(self, *args):
    real(self, *args)
    self._save()
    raise Enough
loop.Training._end_epoch = end_epoch
try:
    loop.train(TrainingConfig.read("run.yaml"))
except Enough:
    pass
"""


def test_a_resumed_run_ends_as_a_whole_one(trained):
    weights = [(trained.path / run / "model.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]


def test_the_run_says_what_it_needs(trained):
    recipe = yaml.safe_load((trained.path / "run" / "training.yaml").read_text())
    checkpoint = json.loads((trained.path / "run" / "config.json").read_text())
    assert "stranger" in recipe["imports"]
    assert any(name.startswith("stranger") for name in checkpoint["imports"])


def test_every_command_knows_it(trained):
    scores = json.loads(trained.tsbn("evaluate", "run", "--json"))
    assert list(scores) == ["radius", "side"] and list(scores["radius"]) == ["pinball", "covered"]
    Image.new("RGB", (40, 30)).save(trained.path / "photo.png")
    trained.tsbn("predict", "run", "photo.png", "--out", "predictions")
    described = json.loads((trained.path / "predictions" / "predictions.json").read_text())["photo.png"]
    assert "quantile" in described["radius"] and described["side"]["class"] in ("left", "right")
    costs = json.loads(trained.tsbn("info", "run", "--json"))
    assert [task["head"] for task in costs["tasks"]] == ["two_layers", "two_layers width=8"]
    trained.tsbn("card", "run", "--license", "mit")
    card = (trained.path / "run" / "README.md").read_text()
    assert "| radius | quantile |" in card and "pinball ↓" in card and "cc0-1.0" in card
    assert "would go to ada/discs" in trained.tsbn("push", "run", "ada/discs", "--dry-run")


LOAD = """
import sys, torch, tsbn_hub
model = tsbn_hub.from_pretrained("run", trust=sys.argv[1] == "trust")
print(type(model.tsbn).__name__, [type(kind).__name__ for kind in model.kinds.values()])
"""


def test_a_strangers_folder_runs_nothing_unasked(trained, tmp_path):
    """Without the mark's record the folder is anybody's: its code is named, and imported only where it is asked for."""
    trained.environment["XDG_CACHE_HOME"] = str(tmp_path)
    try:
        refused = trained.run("-c", LOAD, "ask")
        assert refused.returncode == 1 and "stranger" in refused.stderr and "trust=True" in refused.stderr
        assert "Quantile" in trained.run("-c", LOAD, "trust").stdout
        for command in (["info", "run"], ["evaluate", "run"], ["card", "run"]) if NIGHTLY else (["evaluate", "run"],):
            refused = trained.run("-m", "tsbn_hub.cli", *command)
            assert refused.returncode == 1 and "--trust" in refused.stderr, refused.stdout + refused.stderr
            trained.tsbn(*command, "--trust")
            trained.tsbn(*command, "--import", "stranger")
    finally:
        trained.environment["XDG_CACHE_HOME"] = str(trained.path / "cache")


LOAD_OF_HUB = """
import sys, tsbn_hub
try:
    tsbn_hub.from_pretrained("ada/discs")
except ValueError as error:
    print("refused:", " ".join(str(error).split()))
assert not any(name.partition(".")[0] == "stranger" for name in sys.modules)
model = tsbn_hub.from_pretrained("ada/discs", trust=True)
print([type(kind).__name__ for kind in model.kinds.values()])
"""


def test_by_the_hub_to_another_process(trained, hub, clients, tmp_path):
    environment = hub.environment(tmp_path / "huggingface", "hf_ada", **trained.own)

    def run(*arguments):
        return clients.run(*arguments, cwd=trained.path, env=environment)

    pushed = run("-m", "tsbn_hub.cli", "push", "run", "ada/discs")
    assert "is at" in pushed.stdout, pushed.stderr
    refused, *_, loaded = run("-c", LOAD_OF_HUB).stdout.splitlines()
    assert "refused" in refused and "stranger" in refused and "Quantile" in loaded
    assert MARK not in hub.repositories["ada/discs"].files()


def test_what_is_gone_is_named(trained, tmp_path):
    """The record of the mark would find the package where it was; another user's machine has neither."""
    refused = trained.run("-c", LOAD, "trust", PYTHONPATH="", XDG_CACHE_HOME=str(tmp_path))
    assert refused.returncode == 1 and "stranger" in refused.stderr
