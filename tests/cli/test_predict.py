"""`tsbn predict`."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tsbn_hub
from tsbn_hub.data import read_image
from tsbn_hub.deploy import predict

from .commands import files, tsbn


def test_predict(checkpoint, picture, tmp_path):
    out = tmp_path / "out"
    told = tsbn("predict", checkpoint, picture, "--out", out)
    assert told.exit_code == 0 and f"{out}/predictions.json: 1 of 1 images are predicted" in told.stdout
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
        ({"image": "."}, 1, r"^tsbn: \. has no images"),
        ({"image": "*.jpg"}, 2, "does not exist: no file is named so"),
        ({"image": "labels.csv"}, 1, "^tsbn: labels.csv has no column whose cells name files"),
        ({"--maps": "maps"}, 1, "^tsbn: There are no maps: none of the tasks"),
        ({"--output": "a.csv"}, 2, "leave out --output and --pictures"),
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
    (checkpoint / "labels.csv").write_text("file\nnone.png\n")
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


def photos(folder, count=5, broken=(2,)):
    """Pictures of many sizes in a folder with a folder; some are no images."""
    chance = np.random.default_rng(0)
    (folder / "photos" / "more").mkdir(parents=True)
    for number in range(count):
        path = folder / "photos" / ("more" if number % 2 else "") / f"{number}.png"
        size = (40 + 7 * number, 60 - 5 * number % 30, 3)
        Image.fromarray(chance.integers(0, 256, size, dtype=np.uint8)).save(path)
        if number in broken:
            path.write_bytes(path.read_bytes()[:300])
    return folder / "photos"


def test_a_folder_with_a_broken_file(checkpoint, tmp_path):
    folder = photos(tmp_path)
    told = tsbn("predict", checkpoint, folder, "--output", tmp_path / "new" / "out.jsonl", "--batch-size", 3)
    assert told.exit_code == 3, told.output
    assert "4 of 5 images are predicted" in told.stdout
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"tsbn: {folder}/2.png: ") and "cannot be read as an image" in line
    lines = [json.loads(line) for line in (tmp_path / "new" / "out.jsonl").read_text().splitlines()]
    names = [Path(line["file"]).relative_to(folder).as_posix() for line in lines]
    assert names == ["0.png", "2.png", "4.png", "more/1.png", "more/3.png"]
    assert [list(line) for line in lines] == [["file", "error" if at == 1 else "predictions"] for at in range(5)]
    model = tsbn_hub.from_pretrained(checkpoint)
    for line in lines[:1] + lines[2:]:
        for task, expected in predict(model, read_image(line["file"])).items():
            found = line["predictions"][task]
            assert found["class"] == expected.description["class"]
            assert found["scores"] == pytest.approx(expected.description["scores"], abs=1e-6)
    assert not list((tmp_path / "new").glob("*.partial"))


def test_the_forms_say_the_same(checkpoint, tmp_path):
    folder = photos(tmp_path, count=3, broken=(1,))
    for name in ("out.csv", "out.jsonl", "out.json"):
        assert tsbn("predict", checkpoint, folder, "--output", tmp_path / name).exit_code == 3
    printed = tsbn("predict", checkpoint, f"{folder}/**/*.png")
    assert printed.exit_code == 3 and printed.stdout == (tmp_path / "out.jsonl").read_text()
    lines = [json.loads(line) for line in printed.stdout.splitlines()]
    assert json.loads((tmp_path / "out.json").read_text()) == {
        line["file"]: line.get("predictions", {"error": line.get("error")}) for line in lines
    }
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "keys", "keys.score", "corner", "corner.score", "error"]
    for row, line in zip(rows, lines, strict=True):
        assert row["file"] == line["file"] and row["error"] == line.get("error", "")
        for task, said in line.get("predictions", {}).items():
            assert (row[task], float(row[f"{task}.score"])) == (said["class"], said["score"])


def test_a_table(checkpoint, tmp_path):
    folder = photos(tmp_path)
    (tmp_path / "rows.csv").write_text("id;photo\n7;more/1.png\n8;\n9;gone.png\n10;0.png\n11;more/1.png\n")
    given = ["predict", checkpoint, tmp_path / "rows.csv", "--images", folder]
    lines = [json.loads(line) for line in tsbn(*given).stdout.splitlines()]
    assert [line["file"] for line in lines] == [
        "more/1.png", f"{tmp_path}/rows.csv, row 2", "gone.png", "0.png", "more/1.png"
    ]  # fmt: skip
    assert lines[1]["error"] == "the cell is empty" and "No such file" in lines[2]["error"]
    assert lines[0]["predictions"]["keys"]["scores"] == pytest.approx(lines[4]["predictions"]["keys"]["scores"])
    before = files(tmp_path)
    itself = tsbn(*given, "--output", tmp_path / "rows.csv")
    assert itself.exit_code == 2 and "would be overwritten" in itself.stderr and files(tmp_path) == before
    wrong = tsbn(*given, "--file", "foto")
    assert wrong.exit_code == 1 and "file='foto'" in wrong.stderr


def test_where_no_image_can_be_read(checkpoint, tmp_path):
    folder = photos(tmp_path, count=2, broken=(0, 1))
    told = tsbn("predict", checkpoint, folder, "--output", tmp_path / "out.jsonl")
    assert told.exit_code == 1 and len(told.stderr.splitlines()) == 2
    assert all("error" in json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())


def test_no_image_becomes_output(checkpoint, tmp_path):
    folder = photos(tmp_path, count=1, broken=())
    Image.new("RGB", (9, 9)).save(folder / "0.keys.png")
    before = files(tmp_path)
    told = tsbn("predict", checkpoint, folder, "--pictures", folder)
    assert told.exit_code == 1 and "0.keys.png'] would be overwritten" in told.stderr
    assert files(tmp_path) == before


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_in_predict(workers, checkpoint, tmp_path):
    """What is said until then stays, in whole records; what was there before, too."""
    folder = photos(tmp_path, count=1, broken=())
    (tmp_path / "rows.csv").write_text("file\n" + 400 * f"{folder}/0.png\n")
    out = tmp_path / "out.jsonl"
    out.write_text("older")
    process = subprocess.Popen(
        [sys.executable, "-m", "tsbn_hub.cli", "predict", checkpoint, tmp_path / "rows.csv", "--output", out,
         "--batch-size", "1", "--workers", str(workers)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    partial = tmp_path / "out.jsonl.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    lines = [json.loads(line) for line in partial.read_text().splitlines()]
    assert 0 < len(lines) < 400 and all("predictions" in line for line in lines)
    assert errors.splitlines()[-1] == f"tsbn: stopped by Ctrl-C: {len(lines)} of 400 images are in {partial}"
    assert "Traceback" not in errors and out.read_text() == "older"
