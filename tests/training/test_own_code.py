"""Runs with data sets, kinds, heads and loss weightings in files of the user's own, and what later commands know."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import tsbn_hub
from tests.own_code import HEAD, KIND, nothing_imported, working_directory
from tsbn_hub.files.names import MARK
from tsbn_hub.files.own_code import import_own
from tsbn_hub.files.permission import NotImportedError
from tsbn_hub.hub import push_folder, write_card
from tsbn_hub.hub.adapters import push_task_of_folder
from tsbn_hub.training import TrainingConfig, evaluate_run, train
from tsbn_hub.training.recipe.building import build_data

DATA = """
from pathlib import Path
import torch
from torch.utils.data import Dataset
from tsbn_hub.data import register_data_set
from tsbn_hub.tasks import Task
from tsbn_hub.training.balancing import LossWeighting, register_balancing

Path(__file__).with_suffix(".imported").touch()

@register_data_set("animals")
class Animals(Dataset):
    def __init__(self, split, names=("cat", "dog")):
        self.tasks = [Task(name, "weight", head="mean") for name in names]

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.full((3, 32, 32), index / 8)
        return {"image": image, "targets": {task.name: torch.tensor([index / 4]) for task in self.tasks}}

@register_balancing("mine")
class Mine(LossWeighting):
    pass

class Plain(Animals):
    def __init__(self, split):
        self.tasks = [Task("left", num_classes=2)]

    def __getitem__(self, index):
        return {"image": torch.rand(3, 32, 32), "targets": {"left": index % 2}}
"""
OWN = ["src/animals.py", "src/own_weights.py", "own_heads"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    return working_directory(
        tmp_path, monkeypatch, {"src/animals.py": DATA, "src/own_weights.py": KIND, "own_heads.py": HEAD}
    )


def config_of(**changes):
    values = {"model": "test_resnet_tsbn", "data": "animals", "output": "run", "epochs": 1, "batch_size": 3,
              "validation": 0.25, "balancing": "mine", "imports": OWN}  # fmt: skip
    return TrainingConfig(**values | changes)


def recipe(folder="run"):
    return yaml.safe_load(Path(folder, "training.yaml").read_text())


def forget_traces(here):
    traces = sorted(path.stem for path in here.rglob("*.imported"))
    for path in here.rglob("*.imported"):
        path.unlink()
    return traces


@pytest.fixture
def run(here):
    """A run that another process has trained."""
    with nothing_imported():
        scores = train(config_of())
    assert forget_traces(here) == ["animals", "own_heads", "own_weights"]
    return scores


def test_a_run_says_what_it_needs(run, here):
    assert recipe()["imports"] == OWN and len(Path("run", MARK).read_text()) == 32
    assert json.loads(Path("run/config.json").read_text())["imports"] == OWN[1:], "what its model needs"


def test_a_run_whose_script_registers_things_by_itself_says_it_too(here):
    with nothing_imported():
        for name in OWN:
            import_own(name)
        train(config_of(imports=[]))
    assert sorted(recipe()["imports"]) == sorted(OWN)


def test_later_commands_know_it_from_anywhere(run, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with nothing_imported():
        _, scores = evaluate_run(here / "run")
    assert scores == run and forget_traces(here) == ["animals", "own_heads", "own_weights"]
    with nothing_imported():
        assert tsbn_hub.from_pretrained(here / "run").tasks == ["cat", "dog"]
    with nothing_imported():
        write_card(here / "run")
    assert "src/animals.py" in (here / "run" / "README.md").read_text()
    with nothing_imported():
        files = push_folder(here / "run", "ada/animals", dry_run=True).files
    assert "training.yaml" in files and not [name for name in files if name.startswith(".")]
    with nothing_imported():
        push_task_of_folder(here / "run", "cat", "ada/cat", base="ada/animals", dry_run=True)


def strangers(tmp_path, here):
    """The same folder, as a stranger has published it."""
    shutil.copytree(here / "run", tmp_path / "stranger", ignore=shutil.ignore_patterns(MARK))
    return tmp_path / "stranger"


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (evaluate_run, "src/animals.py"),
        (tsbn_hub.from_pretrained, "src/own_weights.py"),
        (write_card, "src/own_weights.py"),
        (lambda folder, **trust: push_folder(folder, "ada/x", dry_run=True, **trust), "src/own_weights.py"),
        (
            lambda folder, **trust: push_task_of_folder(folder, "cat", "ada/x", base="ada/y", dry_run=True, **trust),
            "src/own_weights.py",
        ),
    ],
    ids=["evaluate", "load", "card", "push", "push a task"],
)
def test_a_strangers_folder(run, here, tmp_path, command, needs):
    folder = strangers(tmp_path, here)
    with nothing_imported():
        with pytest.raises(NotImportedError, match=f"--import {needs}"):
            command(folder)
        assert forget_traces(here) == []
        command(folder, trust=True)
    assert "own_heads" in forget_traces(here)


def test_a_mark_of_the_users_own_in_a_strangers_folder(run, here, tmp_path):
    folder = strangers(tmp_path, here)
    shutil.copy(here / "run" / MARK, folder)
    values = recipe(folder)
    (here / "src" / "evil.py").write_text((here / "src" / "animals.py").read_text())
    for change in ({"imports": [*OWN, "src/evil.py"]}, {"data": "src/evil.py:Animals"}, {"imports": ["evil"]}):
        (folder / "training.yaml").write_text(yaml.safe_dump(values | change))
        with nothing_imported(), pytest.raises(NotImportedError, match="evil"):
            evaluate_run(folder)
        assert forget_traces(here) == []


@pytest.fixture
def plain(here):
    """A run whose own code is its data set alone."""
    with nothing_imported():
        scores = train(config_of(data="src/animals.py:Plain", balancing="equal", imports=[]))
    forget_traces(here)
    return scores


def test_a_data_set_in_a_file(plain, here, tmp_path, monkeypatch):
    assert recipe()["imports"] == [] and Path("run", MARK).exists()
    assert "imports" not in json.loads(Path("run/config.json").read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "animals.py").write_text("raise KeyError('another file of this name')")
    with nothing_imported():
        assert evaluate_run(here / "run")[1] == plain


@pytest.mark.parametrize("data", ["src/animals.py:Plain", ["src/animals.py:Plain"], [{"name": "src/animals.py:Plain"}]])
def test_a_strangers_data_set_in_a_file(plain, here, tmp_path, data):
    folder = strangers(tmp_path, here)
    (folder / "training.yaml").write_text(yaml.safe_dump(recipe() | {"data": data}))
    with nothing_imported(), pytest.raises(NotImportedError, match=r"--import src/animals.py"):
        evaluate_run(folder)
    assert forget_traces(here) == [] and tsbn_hub.from_pretrained(folder).tasks == ["left"]
    with nothing_imported():
        assert evaluate_run(folder, trust=True)[1] == plain
    shutil.copytree("src", folder / "src")
    shutil.rmtree("src")
    with nothing_imported():
        import_own(str(folder / "src" / "animals.py"))
        assert evaluate_run(folder)[1] == plain, "what the user has imported needs no permission"


@pytest.mark.parametrize("data", ["torch.hub:load", "subprocess:Popen", "os.py:system"])
def test_a_strangers_recipe_calls_nothing_of_the_libraries(plain, here, tmp_path, data):
    folder = strangers(tmp_path, here)
    (folder / "training.yaml").write_text(yaml.safe_dump(recipe() | {"data": data}))
    with nothing_imported(), pytest.raises(ValueError, match=r"was not imported|there is no file"):
        evaluate_run(folder)


def test_a_run_goes_on_with_other_imports(run, here):
    with nothing_imported():
        Path("src/animals.py").rename("src/beasts.py")
        assert train(config_of(imports=["src/beasts.py", *OWN[1:]])) == run


def test_a_run_without_own_code_has_no_mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of(data="MultiDigits", imports=[], balancing="equal", tasks=["left"], epochs=1, batch_size=64)
    monkeypatch.setattr("tsbn_hub.data.MultiDigits.__len__", lambda self: 64)
    train(config)
    assert recipe()["imports"] == [] and not list(Path("run").glob(".*"))


def test_a_file_that_is_not_there(here):
    with pytest.raises(ValueError, match=r"'none\.py' cannot be imported: there is no file none\.py"):
        train(config_of(imports=["none.py"]))
    with pytest.raises(ValueError, match="data='animals' is unknown"):
        build_data(config_of(imports=[]), "train")
    assert not Path("run").exists()
