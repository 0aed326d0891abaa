"""`tsbn predict`."""

import json
import re

import pytest
from PIL import Image

from tsbn_hub.deploy import prediction

from .commands import files, tsbn


def test_predict(checkpoint, picture, tmp_path):
    out = tmp_path / "out"
    told = tsbn("predict", checkpoint, picture, "--out", out)
    assert told.exit_code == 0 and f"{out}: predictions.json" in told.stdout
    assert {path.name for path in out.iterdir()} == {"predictions.json", "red.keys.png", "red.corner.png"}
    chosen = tsbn("predict", checkpoint, picture, "--out", out, "--task", "corner", "--device", "cpu")
    assert chosen.exit_code == 0
    assert list(json.loads((out / "predictions.json").read_text())[str(picture)]) == ["corner"]


def test_predict_with_a_run(config, picture, tmp_path):
    assert tsbn("train", "--config", config).exit_code == 0
    told = tsbn("predict", tmp_path / "run", picture, "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert Image.open(tmp_path / "out" / "red.keys.png").size == (300, 200)  # as the photo
    assert json.loads(tsbn("info", tmp_path / "run", "--json").stdout)["image_shape"] == [1, 32, 32]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"image": "none.png"}, 2, "does not exist"),
        ({"image": "."}, 2, "is a directory"),
        ({"image": "text"}, 1, "^tsbn: .*text is no image"),
        ({"--device": "meta"}, 1, "^tsbn: --device meta: nothing can be computed there"),
        ({"checkpoint": "model"}, 1, "^tsbn: model is neither a folder nor a Hub repo"),
        ({"checkpoint": "org/name"}, 1, "^tsbn: org/name: HF_HUB_OFFLINE .* is set, and the cache has no copy"),
        ({"--task": "smile"}, 1, r"^tsbn: There are no tasks \['smile'\]\. The tasks of this model are"),
        ({"--device": "gpu"}, 1, "^tsbn: --device gpu: "),
        ({"--out": "text"}, 1, "^tsbn: .*exists.*text"),
    ],
)
def test_what_goes_wrong_in_predict(changes, status, message, checkpoint, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint)
    (checkpoint / "text").write_text("no image")
    before = files(tmp_path)
    given = {"checkpoint": checkpoint, "image": picture, "--out": tmp_path / "out"} | changes
    options = [part for name in given if name.startswith("--") for part in (name, given[name])]
    told = tsbn("predict", given["checkpoint"], given["image"], *options)
    assert told.exit_code == status and "Traceback" not in told.output
    assert re.search(message, told.stderr), told.stderr
    assert files(tmp_path) == before and not (tmp_path / "out").exists()


def test_predict_needs_an_image(checkpoint, tmp_path):
    told = tsbn("predict", checkpoint, "--out", tmp_path / "out")
    assert told.exit_code == 2 and "Missing argument" in told.stderr


def test_ctrl_c_in_predict(checkpoint, picture, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "predict", stop)
    told = tsbn("predict", checkpoint, picture, "--out", tmp_path / "out")
    assert told.exit_code == 130 and told.stderr.splitlines()[-1] == "tsbn: stopped by Ctrl-C"
