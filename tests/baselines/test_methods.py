"""Methods by their names, in configs and on the command line."""

import pytest
from torch.utils.data import Dataset

from tests.cli.commands import tsbn
from tsbn_hub.baselines import method_of, methods
from tsbn_hub.data import Mixture
from tsbn_hub.models.hf.trunk import trunks
from tsbn_hub.tasks import Task
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_model, build_tasks

NEEDED = {"model": "test_resnet_tsbn", "data": "MultiDigits", "output": "runs/x"}
NORMS = {"stl": "shared", "hps": "shared", "stats": "statistics", "tsbn": "affine", "tssigma": "sigmoid"}
TASKS = [Task("a", num_classes=2), Task("b", num_classes=3)]


def test_all_of_them():
    assert list(methods) == [*NORMS, "cross-stitch", "mtan"]
    assert {name: method.norm for name, method in methods.items() if method.norm} == NORMS
    assert {name for name, method in methods.items() if not method.norm} <= set(trunks)
    assert all(method.summary and (method.source or name == "stl") for name, method in methods.items())
    shown = " ".join(tsbn("train", "--help").output.replace("│", " ").split())
    assert ", ".join(methods) in shown


@pytest.mark.parametrize("method", NORMS)
def test_a_method_of_norms_is_their_style(method):
    norm = NORMS[method]
    for given in ({"method": method}, {"method": method, "norm": norm}):
        config = TrainingConfig(**NEEDED | given)
        assert (config.method, config.norm, config.trunk) == (method, norm, None)
    for other in {*NORMS.values()} - {norm}:
        with pytest.raises(ValueError, match=f"^method='{method}' is norm='{norm}': leave out norm='{other}'"):
            TrainingConfig(**NEEDED | {"method": method, "norm": other})
    with pytest.raises(ValueError, match=f"method='{method}' has none"):
        TrainingConfig(**NEEDED | {"method": method, "method_args": {"same": 1}})
    by_norm = TrainingConfig(**NEEDED | {"norm": norm})
    assert by_norm.method is None
    if method != "stl":  # which is said, never guessed
        assert method_of(norm).name == method
        assert config.differences(vars(by_norm)) == by_norm.differences(vars(config)) == []


def test_a_method_that_is_a_trunk():
    config = TrainingConfig(**NEEDED | {"method": "mtan", "method_args": {"reduction": 2}})
    assert (config.norm, config.trunk) == (None, "mtan")
    with pytest.raises(ValueError, match="method='mtan' has no task norms: leave out norm='shared'"):
        TrainingConfig(**NEEDED | {"method": "mtan", "norm": "shared"})
    assert config.differences(vars(TrainingConfig(**NEEDED)))
    model = build_model(config, TASKS, (3, 32, 32))
    assert type(model.tsbn).__name__ == "Mtan" and model.tsbn.extractors[0].layers[0].out_channels == 24


def test_an_unknown_method():
    config = TrainingConfig(**NEEDED | {"method": "tssgma"})
    with pytest.raises(ValueError, match=r"^method='tssgma' is unknown\. Did you mean 'tssigma'\? Known: stl, .*mtan"):
        build_model(config, TASKS, (3, 32, 32))


class Nothing(Dataset):
    tasks = TASKS

    def __len__(self):
        return 1

    def __getitem__(self, at):
        raise IndexError


def test_single_task_learning_is_of_one_task():
    data = Mixture([Nothing()])
    for tasks in (None, ["b", "a"]):
        config = TrainingConfig(**NEEDED | {"method": "stl", "tasks": tasks})
        with pytest.raises(ValueError, match=r"method='stl' is a network for one task.*`tsbn compare --methods stl`"):
            build_tasks(config, data)
    one = TrainingConfig(**NEEDED | {"method": "stl", "tasks": ["b"]})
    assert [task.name for task in build_tasks(one, data)] == ["b"]


def test_the_method_of_a_network():
    assert method_of("shared", tasks=3).name == "hps" and method_of("shared", tasks=1).name == "stl"
    assert method_of("sigmoid", "mtan").arxiv == "1803.10704"
    own = method_of("sigmoid", "copies")
    assert own.name == "copies" and own.url is None
    assert method_of(None) is None
