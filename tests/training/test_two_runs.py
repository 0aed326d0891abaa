"""One run at a time is at work in a folder, and its test is of the weights that it has kept."""

import errno
import os

import pytest

from tests.training.small_runs import FIRST, TRAINING, signals, temporary_files, write_config
from tsbn_hub.files.locking import FolderInUseError
from tsbn_hub.files.names import LOCK
from tsbn_hub.training import Stopped, TrainingConfig, evaluate_run, loop, train


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, "run", epochs=2)


def during_a_run(config, monkeypatch, act, number=5):
    """Train; in one of the first steps do something else. What the run gives."""
    take_step, steps = loop.Training.take_step, []

    def act_then_take_step(self, batches):
        steps.append(batches)
        if len(steps) == number:
            act()
        return take_step(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "take_step", act_then_take_step)
        return train(TrainingConfig.read(config))


@pytest.mark.parametrize(("seed", "restart"), [(0, False), (1, True)])
def test_the_second_run_is_refused(seed, restart, config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    half_written = folder / ".state.safetensors.abc"

    def second_run():
        half_written.touch()  # as if the first run were writing it
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(FolderInUseError, match=rf"Another run is at work in {folder}.*choose another output"):
            train(TrainingConfig.read(config, seed=seed), restart=restart)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        half_written.unlink()

    scores = during_a_run(config, monkeypatch, second_run)
    assert not temporary_files(folder)
    assert evaluate_run(folder)[1] == scores


def test_a_lock_that_is_left_behind_does_not_block(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text("of a run that was killed")
    train(TrainingConfig.read(config, epochs=1))
    assert not temporary_files(tmp_path / "run")


def test_what_a_killed_run_was_writing_is_removed(config, tmp_path):
    (tmp_path / "run" / ".model.safetensors.abc").mkdir(parents=True)  # as models of transformers are written
    (tmp_path / "run" / ".model.safetensors.abc" / "model.safetensors").write_text("a part")
    train(TrainingConfig.read(config, epochs=1))
    assert not temporary_files(tmp_path / "run")


def test_the_folder_is_free_after_an_error(config, monkeypatch):
    def no_space():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        during_a_run(config, monkeypatch, no_space)
    train(TrainingConfig.read(config))


def test_weights_of_somebody_else_are_not_tested(config, tmp_path, monkeypatch):
    weights = tmp_path / "run" / "model.safetensors"
    means = iter([1.0, 0.0])
    monkeypatch.setattr(loop, "mean_score", lambda *args: next(means))  # the first epoch stays the best
    with monkeypatch.context() as stopping:
        for name, value in signals("SIGTERM", FIRST + TRAINING + 30).items():
            stopping.setenv(name, value)
        with pytest.raises(Stopped, match="epoch 2"):
            train(TrainingConfig.read(config))
    own = weights.read_bytes()
    weights.write_bytes(own[:-1] + bytes([own[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"The weights in .*run are not those that this run has kept as its best"):
        train(TrainingConfig.read(config))
    weights.write_bytes(own)
    means = iter([0.0])
    train(TrainingConfig.read(config))


def test_scores_are_told_before_they_are_printed(config, tmp_path, capsys):
    def record(scores):
        told.append(scores)
        assert "test set" not in capsys.readouterr().out
        assert (tmp_path / "run" / LOCK).exists()

    told = []
    scores = train(TrainingConfig.read(config, epochs=1), on_scores=record)
    assert told == [scores] and "test set" in capsys.readouterr().out
