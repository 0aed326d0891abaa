"""Which epoch is kept, and when a run ends before its last one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tsbn_hub.results.recording import record_run
from tsbn_hub.results.results import Results
from tsbn_hub.tasks import Classification, Regression
from tsbn_hub.training import Stopped, train
from tsbn_hub.training.evaluation import mean_score
from tsbn_hub.training.loop import Training

from .test_units_of_regression import prices_run


@pytest.fixture
def config(tmp_path):
    return prices_run(tmp_path, data_args={"size": 32}, epochs=6)


@pytest.fixture
def scored(monkeypatch):
    """Lets the validation scores of the epochs be these, whatever the model does."""

    def score(*means):
        def mean_of(self, started):
            with monkeypatch.context() as patch:
                patch.setattr("tsbn_hub.training.loop.mean_score", lambda *args: means[self.record.epoch - 1])
                end(self, started)

        monkeypatch.setattr(Training, "_end_epoch", mean_of)

    end = Training._end_epoch
    return score


def log_of(config):
    return [json.loads(line) for line in Path(config.output, "log.jsonl").read_text("utf-8").splitlines()]


def epochs_of(config):
    return [line["epoch"] for line in log_of(config) if "epoch" in line]


@pytest.mark.parametrize(
    ("means", "patience", "last"),
    [
        pytest.param([0.5, 0.4, 0.4, 0.9, 0.9, 0.9], 2, 3, marks=pytest.mark.nightly),  # as in a run that goes on
        ([0.5, 0.4, 0.6, 0.6, 0.6, 0.9], 2, 5),
        ([0.5, 0.4, 0.6, 0.6, 0.6, 0.9], None, 6),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.5], 1, 6),
    ],
)
def test_it_stops_when_nothing_gets_better(means, patience, last, config, scored, capsys):
    scored(*means)
    train(replace(config, early_stopping=patience))
    assert epochs_of(config) == list(range(1, last + 1))
    stopped = last < 6
    assert ("Stopped after epoch" in capsys.readouterr().out) == stopped
    end = log_of(config)[-1]
    assert end["ended_by"] == ("early_stopping" if stopped else "epochs") and "price" in end["test"]
    assert end["best_epoch"] == means.index(max(means[:last])) + 1


@pytest.mark.parametrize(
    ("patience", "shown"),
    [
        (2, ["", "best: epoch 1, 2 left  ", "best: epoch 1, 1 left  ", "best: epoch 3, 2 left  "]),
        (None, ["", "best: epoch 1  ", "best: epoch 1  ", "best: epoch 3  "]),
    ],
)
def test_the_progress_bar_names_the_best_epoch(patience, shown, config, scored, monkeypatch):
    take_step, seen = Training.take_step, []

    def looking(self, batches):
        (bar,) = self.progress.tasks
        if not self.record.steps:
            seen.append(bar.fields["losses"])
        elif self.record.steps == 1:
            assert bar.fields["losses"].startswith(f"{seen[-1]}loss: price")
        return take_step(self, batches)

    monkeypatch.setattr(Training, "take_step", looking)
    scored(0.5, 0.4, 0.6, 0.6)
    train(replace(config, early_stopping=patience, epochs=4))
    assert seen == shown


def test_a_run_that_goes_on_stops_where_the_whole_one_does(config, scored, monkeypatch, tmp_path):
    config = replace(config, early_stopping=2)
    scored(0.5, 0.4, 0.4, 0.9, 0.9, 0.9)
    train(config)
    parts = replace(config, output=str(tmp_path / "parts"))
    take_step, calls = Training.take_step, []

    def stopping(self, batches):
        calls.append(1)
        return take_step(self, batches) or len(calls) == 2 * len(self.steps) + 1

    with monkeypatch.context() as patch:
        patch.setattr(Training, "take_step", stopping)
        with pytest.raises(Stopped, match="epoch 3, after its step 1"):
            train(parts)
    train(parts)
    assert log_of(parts) == log_of(config)


def test_the_metric_that_chooses(config):
    config = replace(config, epochs=3, chosen_by={"price": "mae"})
    scores = train(config)
    record_run(config, scores)
    assert Results.read(config.output).epoch_chosen_by.startswith("the mean over tasks of mae on")


def test_an_error_counts_the_less_the_greater_it_is():
    kinds = {"price": Regression(1), "shape": Classification(2)}
    scores = {"price": {"r2": 0.9, "mae": 3.0, "rmse": 4.0}, "shape": {"accuracy": 0.5}}
    assert mean_score(kinds, scores, {"price": "mae"}) == 1 / 4
    assert mean_score(kinds, scores, {"price": "rmse", "shape": "accuracy"}) == pytest.approx((1 / 5 + 0.5) / 2)
    assert mean_score(kinds, scores) == mean_score(kinds, scores, {}) == pytest.approx(0.7)


def test_a_metric_that_is_not_defined():
    with pytest.raises(ValueError, match="r2 of 'price' is not defined on the validation split"):
        mean_score({"price": Regression(1)}, {"price": {"r2": float("nan"), "mae": 1.0}}, {"price": "r2"})


@pytest.mark.parametrize(
    ("chosen_by", "message"),
    [
        ({"prize": "mae"}, "there is no task 'prize'. Did you mean 'price'"),
        ({"price": "mea"}, "'price' has no metric 'mea'. Did you mean 'mae'.*It has"),
    ],
)
def test_what_cannot_choose(chosen_by, message, config):
    with pytest.raises(ValueError, match=message):
        train(replace(config, chosen_by=chosen_by))
