"""How the gates of a run move: what a run keeps of them, and the picture."""

import json
import warnings

import numpy as np
import pytest
import torch

import tsbn_hub
from tests.training.small_runs import FIRST, TRAINING, VALIDATION, signals, write_config
from tsbn_hub.analysis import draw_movement, importance_matrix, read_gates
from tsbn_hub.analysis.gates.movement_picture import _figure
from tsbn_hub.training import Stopped, TrainingConfig, train

LONG = "a long name of a task, " * 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = write_config(tmp_path_factory.mktemp("whole"), "run", epochs=2)
    train(TrainingConfig.read(config))
    return config.with_suffix("")


def test_a_line_is_what_the_gates_were(run):
    lines = read_gates(run)
    assert [line["epoch"] for line in lines] == [0, 1, 2] and lines[0]["tasks"] == ["keys", "corner"]
    assert lines[0]["mean"] == [0.5, 0.5] and lines[0]["std"] == lines[0]["near_0"] == lines[0]["near_1"] == [0, 0]
    log = [json.loads(text)["validation"] for text in (run / "log.jsonl").read_text().splitlines()[:2]]
    means = [np.mean([values["accuracy"] for values in scores.values()]) for scores in log]
    line, importance = lines[1 + np.argmax(means)], importance_matrix(tsbn_hub.from_pretrained(run))  # the best epoch
    gates = importance.matrix.double().numpy()
    np.testing.assert_allclose(line["mean"], gates.mean(1), atol=1e-4)
    np.testing.assert_allclose(line["std"], gates.std(1), atol=1e-4)
    quantiles = np.quantile(gates, [0.05, 0.25, 0.5, 0.75, 0.95], 1)
    np.testing.assert_allclose(np.transpose(line["quantiles"]), quantiles, atol=1e-4)
    assert list(line["layers"]) == list(importance.layers)
    for name, columns in importance.layers.items():
        np.testing.assert_allclose(line["layers"][name], gates[:, columns].mean(1), atol=1e-4)


@pytest.mark.parametrize("at", [FIRST + TRAINING + VALIDATION // 2, FIRST + TRAINING + VALIDATION + 6])
def test_a_resumed_run_has_each_line_once(at, run, tmp_path, monkeypatch):
    """Stopped in the validation of the first epoch, or in the second one; and killed after a line is written."""
    config = write_config(tmp_path, "run", epochs=2)
    with monkeypatch.context() as signalled:
        for name, value in signals("SIGTERM", at).items():
            signalled.setenv(name, value)
        with pytest.raises(Stopped):
            train(TrainingConfig.read(config))
    file = tmp_path / "run" / "gates.jsonl"
    before = file.read_text().splitlines()
    assert len(before) == (1 if at < FIRST + TRAINING + VALIDATION else 2)
    file.write_text("\n".join([*before, *(run / "gates.jsonl").read_text().splitlines()[len(before) :]]) + "\n")
    train(TrainingConfig.read(config))
    assert file.read_bytes() == (run / "gates.jsonl").read_bytes()


def test_another_run_leaves_no_line_of_the_first(run, tmp_path):
    config = write_config(tmp_path, "run", epochs=1, norm="shared", ema_decay=None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "gates.jsonl").write_bytes((run / "gates.jsonl").read_bytes())
    train(TrainingConfig.read(config))
    assert read_gates(tmp_path / "run") == [] and not (tmp_path / "run" / "gates.jsonl").exists()


@pytest.mark.parametrize("text", ["{", "[1]", '{"epoch": 1}', "\udcff"])
def test_a_broken_line(text, tmp_path):
    (tmp_path / "gates.jsonl").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=r"gates\.jsonl, line 1, says nothing of gates: .*Remove the file"):
        read_gates(tmp_path)


def lines_of(tasks, layers, epochs, name="task"):
    gates = torch.rand(epochs + 1, tasks, generator=torch.Generator().manual_seed(0))
    return [
        {
            "epoch": epoch, "tasks": [f"{name} {at}" for at in range(tasks)], "mean": of_epoch, "std": of_epoch,
            "quantiles": [[0.1, 0.3, 0.5, 0.6, 0.9]] * tasks, "near_0": of_epoch, "near_1": of_epoch,
            "layers": {f"layer{at // 6}.{at % 6}.bn1": of_epoch for at in range(layers)},
        }
        for epoch, of_epoch in enumerate(gates.tolist())
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "layers", "epochs", "name"),
    [(1, 1, 1, "$task"), (2, 53, 3, LONG), (6, 8, 100, "$task"), (40, 155, 30, LONG), (7, 1, 0, LONG)],
)
def test_the_picture(tasks, layers, epochs, name):
    lines = lines_of(tasks, layers, epochs, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = _figure(lines)
        figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.get_figwidth() and box.y1 <= figure.get_figheight()
    _, apart, means, *_ = figure.axes
    if tasks <= 6:
        assert [list(line.get_ydata()) for line in apart.lines] == pytest.approx(
            np.transpose([line["std"] for line in lines])
        )
        assert len({line.get_color() for line in apart.lines}) == tasks
    (image,) = means.images
    expected = np.transpose([np.mean(line["mean"]) for line in lines])
    np.testing.assert_allclose(image.get_array()[0], expected, rtol=1e-5)
    assert means.get_xlim() == (-0.5, epochs + 0.5)


def test_without_lines(tmp_path):
    with pytest.raises(ValueError, match="No line says how gates have moved"):
        draw_movement([], tmp_path / "picture.png")
