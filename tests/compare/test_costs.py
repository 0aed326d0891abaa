"""What methods cost, measured in this process."""

import json

import pytest
from rich.console import Console

from tsbn_hub.compare import costs as module
from tsbn_hub.compare.costs import MethodCost, measure_costs

from .comparisons import InstantRuns, grid_of


@pytest.fixture
def here(monkeypatch):
    """The process that measures is this one, in one round. How often it was asked for."""
    asked = []

    class Ended:
        def start(self, target, *arguments):
            asked.append(target)
            target(*arguments)
            return self

        def join(self):
            pass

        terminate = join

    monkeypatch.setattr(module, "print_into", lambda log: None)
    monkeypatch.setattr(module, "_ROUNDS", 1)
    monkeypatch.setattr(module, "start_process", Ended().start)
    return asked


def configs_of(grid):
    """By label, the runs of a seed."""
    return {
        variant.label: [
            grid.run(variant, 0, task=task).config
            for task in (["corner", "side"] if variant.is_single_task else [None])
        ]
        for variant in grid.variants()
    }


def test_costs(here, tmp_path):
    configs = configs_of(grid_of(tmp_path, "cross-stitch,stl,hps,tssigma"))
    costs = measure_costs(configs, tmp_path, Console(quiet=True))
    stitched, stl, hps, ours = (costs[label] for label in configs)
    assert [round(each.passes, 2) for each in (stitched, stl, hps, ours)] == [2.0, 2.0, 1.0, 1.97]
    assert stl.parameters == stl.trainable == 2 * stl.of_a_task and stl.parameters > 1.9 * hps.parameters
    assert hps.of_a_task == (4 * 97 + 2 * 97) / 2 and ours.of_a_task > hps.of_a_task  # the heads alone, of 96 features
    assert ours.memory > 1.5 * hps.memory and stl.memory < 1.1 * hps.memory and min(hps.seconds, stl.seconds) > 0
    assert measure_costs(configs, tmp_path, Console(quiet=True)) == costs and len(here) == 1
    measure_costs({"hps": configs["hps"]}, tmp_path, Console(quiet=True))
    assert len(here) == 2


@pytest.mark.parametrize("stored", ["", "{", "[]", '{"key": 1}', '{"key": KEY, "costs": {"hps": {"flops": 1}}}'])
def test_what_was_kept_is_damaged(stored, monkeypatch, tmp_path):
    """It is measured anew; where that fails, the console says with what, and the comparison goes on without."""
    configs = configs_of(grid_of(tmp_path, "hps"))
    (tmp_path / "costs.txt").write_text("Traceback\nRuntimeError: out of memory\n\n")
    keys = []
    monkeypatch.setattr(
        module, "start_process", lambda *arguments: keys.append(arguments[2]) or InstantRuns(monkeypatch)
    )
    measure_costs(configs, tmp_path, Console(quiet=True))
    (tmp_path / "costs.json").write_text(stored.replace("KEY", json.dumps(keys[0])))
    monkeypatch.setattr(module, "start_process", lambda *arguments: InstantRuns(monkeypatch))
    console = Console(width=200, record=True, quiet=False)
    assert measure_costs(configs, tmp_path, console) == {}
    assert "could not be measured: RuntimeError: out of memory" in console.export_text()


def test_nothing_to_measure(tmp_path):
    assert measure_costs({}, tmp_path, Console(quiet=True)) == {} and not list(tmp_path.iterdir())


def test_every_cost_is_said():
    assert set(MethodCost.__dataclass_fields__) <= set(MethodCost.__doc__.replace(":", " ").split())
