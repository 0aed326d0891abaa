"""Grids in processes that are killed, stopped, and at work in one folder at the same time."""

import json
import multiprocessing
import signal
import sys

import pytest

from tests.matrices import cases_of
from tests.training import processes
from tsbn_hub.compare import Budget, compare, running, write_tables
from tsbn_hub.files.locking import writing_alone

from .comparisons import DATA, grid_of, write_config

# When a run reads this sample of the training data, once, the process that has started it gets a signal. The run then
# takes its time, so that a further grid finds it at work.
SIGNALLING = (
    DATA
    + """

import os, signal, time
from pathlib import Path


class Signalling(Corners):
    def __init__(self, split):
        super().__init__(split)
        self.left = int(os.environ.get("COUNTDOWN", 0)) if split == "train" else 0

    def __getitem__(self, at):
        self.left -= 1
        if self.left == 0:
            try:
                Path(os.environ["ONCE"]).touch(exist_ok=False)
            except FileExistsError:
                return super().__getitem__(at)
            os.kill(os.getppid(), getattr(signal, os.environ["SIGNAL"]))
            if os.environ["SIGNAL"] == "SIGINT":  # as a terminal does it
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(2)
        return super().__getitem__(at)
"""
)


STOPPED_BY = [("SIGKILL", -signal.SIGKILL), ("SIGINT", 128 + signal.SIGINT)]  # and with which exit code


def compare_in_process(config, folder):
    """What a process does, but for costs. Its runs are forks of it: quicker than a fork server, which imports anew."""
    context = multiprocessing.get_context("fork")

    def start_process(target, *arguments):
        process = context.Process(target=target, args=arguments)
        process.start()
        return process

    running.start_process = start_process
    sys.modules["tsbn_hub.compare.compare"].measure_costs = lambda *arguments: {}
    try:
        comparison = compare(grid_of(folder, "hps,tssigma", config))
    except running.Stopped as stopped:
        print(stopped)
        sys.exit(stopped.exit_status)
    write_tables(comparison, folder / "grid")


def start(folder, **environment):
    folder.mkdir(exist_ok=True)
    config = write_config(folder, SIGNALLING, "Signalling", epochs=2, checkpoint_steps=1)
    environment = {"ONCE": f"{folder}/once", **environment}
    return config, processes.start(
        config, environment=environment.items(), target=compare_in_process, arguments=(folder,)
    )


def finish(started):
    config, processes_of_grid = started
    return processes.finish(processes_of_grid), processes.printed(config)


def table(folder):
    """What a grid has measured, but for times."""
    stored = json.loads((folder / "grid/table.json").read_text())
    for row in stored["rows"]:
        del row["training_seconds"]
    return stored


def sittings(folder):
    """By run, how often it was begun."""
    logs = sorted((folder / "grid/runs/logs").glob("*.seconds"))
    return [len(log.read_text().split()) for log in logs]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(folder))[0] == [0]
    assert sittings(folder) == [1, 1]
    return table(folder)


@pytest.mark.parametrize(("name", "code"), cases_of(STOPPED_BY, STOPPED_BY[:1]))
def test_a_grid_goes_on(name, code, undisturbed, tmp_path):
    """Killed, it leaves a run at work, which the next one waits for; stopped by Ctrl-C, the run saves its state."""
    codes, printed = finish(start(tmp_path, COUNTDOWN="60", SIGNAL=name))
    assert codes == [code] and not (tmp_path / "grid/table.json").exists(), printed
    assert ("the same command goes on from there" in printed) == (name == "SIGINT")
    assert finish(start(tmp_path))[0] == [0]
    assert table(tmp_path) == undisturbed
    assert sittings(tmp_path) == ([1, 1] if name == "SIGKILL" else [2, 1])


def test_two_grids_in_one_folder(undisturbed, tmp_path):
    """Each run is trained once, and both have the whole table."""
    both = [start(tmp_path), start(tmp_path)]
    assert [finish(started)[0] for started in both] == [[0], [0]]
    assert table(tmp_path) == undisturbed and sittings(tmp_path) == [1, 1]


def test_a_run_that_is_at_work_elsewhere_is_waited_for(tmp_path, monkeypatch):
    """No process is started for it, and it is told once."""
    monkeypatch.setattr(running, "_SECONDS_UNTIL_TRIED_AGAIN", 0.0)
    grid = grid_of(tmp_path, "hps")
    hps = grid.run(grid.variants()[0], 0)
    hps.folder.mkdir(parents=True)
    monkeypatch.setattr(running, "_start", lambda run, jobs: pytest.fail(f"{run} was started"))
    told = []
    with writing_alone(hps.folder):
        assert running.run_all([hps], 1, running.time.monotonic() + 1, lambda *what: told.append(what)) == {}
    assert told == [(hps, "waits for another process that is at work on it")]


def test_what_a_run_fails_with(tmp_path):
    """In processes as users have them: the reason is one line, whatever was printed after it."""
    config = write_config(tmp_path, backward="task")
    comparison = compare(grid_of(tmp_path, "hps", config, balancings=["gls", "equal"], seeds=1), Budget(jobs=2))
    gls, equal = comparison.rows
    (reason,) = gls.missing.values()
    assert reason.startswith("ValueError: ") and "backward" in reason and not gls.results
    assert not equal.missing and round(equal.cost.passes, 3) == 1 and equal.seconds > 0
