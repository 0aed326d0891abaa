"""Data sets by their names."""

import pytest
import torch
from torch.utils.data import Dataset

from tsbn_hub import Task
from tsbn_hub.data import MultiDigits, register_data_set, tasks_of
from tsbn_hub.data.sets.registry import data_sets, find_data_set
from tsbn_hub.files.registry import UnknownNameError
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_data, build_tasks


class Columns(Dataset):
    """As many tasks as it is asked for."""

    def __init__(self, split, columns, size=8):
        self.tasks = [Task(name, num_classes=number) for name, number in columns.items()]
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        targets = {task.name: torch.tensor(index % task.num_classes) for task in self.tasks}
        return {"image": torch.rand(3, 32, 32), "targets": targets}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(data_sets, "_entries", dict(data_sets._entries))


def config_of(data, **changes):
    return TrainingConfig(model="test_resnet_tsbn", data=data, output="run", **changes)


def test_what_the_package_has():
    known = {"Castles", "CelebA", "Cityscapes", "MultiDigits", "MultiFashion", "NYUv2", "Scenes"}
    assert known <= set(data_sets)  # other tests register more
    assert find_data_set("MultiDigits") is MultiDigits


def test_tasks_of_the_instance():
    register_data_set("columns")(Columns)
    config = config_of("columns", data_args={"columns": {"age": 4, "place": 3}}, tasks=["place", "age"])
    data = build_data(config, "train")
    assert [(task.name, task.num_classes) for task in build_tasks(config, data)] == [("place", 3), ("age", 4)]
    kept, held_out = data.split_off(0.5)
    assert tasks_of(kept) == tasks_of(held_out) == data.tasks
    with pytest.raises(ValueError, match=r"tasks=\['smile'\]: columns has no \['smile'\]. It has \['age', 'place'\]"):
        build_data(config_of("columns", data_args={"columns": {"age": 4, "place": 3}}, tasks=["smile"]), "train")


def test_tasks_of_each_instance_beside_each_other():
    register_data_set("columns")(Columns)
    sources = [{"name": "columns", "args": {"columns": columns}} for columns in ({"age": 4}, {"place": 3, "age": 4})]
    assert [task.name for task in build_data(config_of(sources), "test").tasks] == ["age", "place"]


def test_an_instance_without_tasks():
    register_data_set("columns")(Columns)
    with pytest.raises(ValueError, match="Columns must say its tasks"):
        build_data(config_of("columns", data_args={"columns": {}}), "train")


def test_a_function_that_makes_a_data_set():
    @register_data_set("ages")
    def ages(split, number):
        return Columns(split, {"age": number})

    (source,) = config_of("ages", data_args={"number": 5}).sources()
    assert tasks_of(source.dataset("train")) == [Task("age", num_classes=5)]


def test_near_misses_and_duplicates():
    register_data_set("columns")(Columns)
    with pytest.raises(
        UnknownNameError, match=r"data='column' is unknown. Known: .*'columns'.*Did you mean 'columns'\?"
    ):
        find_data_set("column")
    with pytest.raises(ValueError, match=r"The data set 'columns' is registered already, as .*Columns"):
        register_data_set("columns")(MultiDigits)
    with pytest.raises(ValueError, match="'MultiDigits' is registered already"):
        register_data_set("MultiDigits")(Columns)


def test_a_class_of_a_file(tmp_path):
    (tmp_path / "my_faces.py").write_text("class Faces: pass")
    faces = find_data_set(f"{tmp_path}/my_faces.py:Faces")
    assert find_data_set(f"{tmp_path}/my_faces.py:Faces") is faces, "the file was imported anew"
    with pytest.raises(ValueError, match=r"my_faces.py:Places': .*my_faces.py has no Places"):
        find_data_set(f"{tmp_path}/my_faces.py:Places")


def test_a_module_is_no_file():
    with pytest.raises(ValueError, match=r"data='torch.hub:load': .* there is no file torch.hub"):
        find_data_set("torch.hub:load")
