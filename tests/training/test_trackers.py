"""A run can be followed; where it cannot, that is told before anything is written."""

import json

import pytest

from tests.training.small_runs import signals, write_config
from tsbn_hub.training import Stopped, TrainingConfig, train


@pytest.fixture
def tensorboard():
    pytest.importorskip("tensorboard")
    return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(tensorboard, folder):
    """All scalars that a run wrote, {name: {step: value}}, and how often each step was written."""
    found, times = {}, {}
    for path in sorted(folder.rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        events = tensorboard.EventAccumulator(str(path)).Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                found.setdefault(name, {})[event.step] = event.value
                times[name, event.step] = times.get((name, event.step), 0) + 1
    return found, times


def logged(config):
    lines = [json.loads(line) for line in (config.with_suffix("") / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "epoch" in line]


def test_scalars_by_epoch(tensorboard, tmp_path):
    config = write_config(tmp_path, "run", trackers=["tensorboard"])
    train(TrainingConfig.read(config))
    found, times = scalars(tensorboard, config.with_suffix(""))
    for line in logged(config):
        step = 9 * line["epoch"]
        of_tasks = {f"loss/{task}": loss for task, loss in line["loss"].items()}
        of_tasks |= {f"validation/{task}/accuracy": each["accuracy"] for task, each in line["validation"].items()}
        for name, value in of_tasks.items():
            assert found[name][step] == pytest.approx(value, rel=1e-6)
        assert found["lr"][step] == pytest.approx(line["lr"]) and found["epoch"][step] == line["epoch"]
    assert found["loss/corner"].keys() == {9, 18, 27}  # by epoch alone: those of single steps have another name
    assert set(times.values()) == {1}
    before = sorted(config.with_suffix("").rglob("*"))
    train(TrainingConfig.read(config))  # a finished run
    assert sorted(config.with_suffix("").rglob("*")) == before


def test_going_on(tensorboard, tmp_path, monkeypatch):
    config = write_config(tmp_path, "run", trackers=["tensorboard"])
    for name, value in signals("SIGTERM", 60).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Stopped, match="epoch 2"):
        train(TrainingConfig.read(config))
    train(TrainingConfig.read(config))
    found, times = scalars(tensorboard, config.with_suffix(""))
    for line in logged(config):
        assert found["loss/corner"][9 * line["epoch"]] == pytest.approx(line["loss"]["corner"], rel=1e-6)
        assert times["loss/corner", 9 * line["epoch"]] == 1


@pytest.mark.parametrize("name", ["comet_ml", "tensorbord", "all", ""])
def test_a_tracker_that_is_not_there(name, tmp_path):
    config = TrainingConfig.read(write_config(tmp_path, "run", trackers=[name]))
    with pytest.raises(ValueError, match=rf"trackers=\['{name}'\]: {name} is not installed. Installed: \["):
        train(config)
    assert not (tmp_path / "run").exists()
