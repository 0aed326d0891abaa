"""A table of files is enough: from pictures and a CSV to a model by commands alone."""

import csv
import json
import random
import re

import numpy as np
import pytest
import yaml
from onnxruntime import InferenceSession
from PIL import Image, ImageDraw

from tsbn_hub.data import Table, read_image
from tsbn_hub.data.notes import image_fit_of
from tsbn_hub.models import surface_of
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.loop import Training
from tsbn_hub.training.recipe.building import build_data, build_model, build_tasks
from tsbn_hub.training.recipe.from_table import config_of_table

from .commands import files, tsbn

SHAPES, COLOURS = ("plate", "box", "star"), {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210)}


def draw_products(folder, count, *sizes, radii=(5, 14)):
    """Pictures of products in some sizes and tables of what they are, with gaps; one file is cut off."""
    chance = random.Random(0)
    (folder / "img").mkdir(parents=True)
    rows = []
    for number in range(count):
        shape, colour, radius = SHAPES[number % 3], list(COLOURS)[number // 3 % 3], chance.randint(*radii)
        framed, size = number % 2, chance.choice(sizes or [(32, 32)])
        image = Image.new("RGB", size, (230, 230, 230))
        draw, (x, y) = ImageDraw.Draw(image), (size[0] // 2, size[1] // 2)
        box = (x - radius, y - radius, x + radius, y + radius)
        if shape == "plate":
            draw.ellipse(box, fill=COLOURS[colour])
        elif shape == "box":
            draw.rectangle(box, fill=COLOURS[colour])
        else:
            draw.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=COLOURS[colour])
        if framed:
            draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=(255, 0, 255), width=2)
        name = f"img/{number:04d}.{('jpg', 'png')[number % 2]}"
        image.save(folder / name)
        rows.append(
            {
                "file": name,
                "shape": shape,
                "colour": "" if number % 5 == 0 else colour,
                "price": "" if number % 4 == 0 else f"{2.5 * radius:.2f}",
                "framed": "yes" if framed else "no",
                "code": f"x-{number}",
            }
        )
    broken = folder / rows[7]["file"]
    broken.write_bytes(broken.read_bytes()[:60])
    for name, part in (("train.csv", rows[: -count // 4]), ("test.csv", rows[-count // 4 :])):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(part)
    return broken


def test_from_a_table_to_a_model(tmp_path):
    """Train, go on, evaluate, predict, card."""
    broken, run = draw_products(tmp_path, 60), tmp_path / "run"
    given = ["train", "--table", tmp_path / "train.csv", "--test-table", tmp_path / "test.csv", "--output", run,
             "--set", "data_args.max_broken=0.05"]  # fmt: skip
    before = files(tmp_path)
    shown = tsbn(*given, "--dry-run")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    for expected in ("3 classes: box, plate, star", "regression", "attributes", "45 texts in 45 rows", "img/0000.jpg",
                     "1 files are missing or broken"):  # fmt: skip
        assert expected in text, expected
    assert files(tmp_path) == before

    trained = tsbn(*given, "--epochs", 1)
    assert trained.exit_code == 0, trained.output
    with (run / "broken.csv").open(encoding="utf-8") as file:
        header, row = csv.reader(file)
    assert header == ["file", "reason"] and row[0] == str(broken)
    kept = yaml.safe_load((run / "training.yaml").read_text())
    assert kept["model"] == "test_resnet_tsbn" and kept["data"] == "Table" and kept["batch_size"] == 11
    assert kept["augmentation"] == {"color": 0.2}
    assert "is finished" in " ".join(tsbn(*given, "--epochs", 1).output.split())

    scores = json.loads(tsbn("evaluate", run, "--json").output)
    assert set(scores) == {"shape", "colour", "price", "framed"} and "mae" in scores["price"]
    out = tmp_path / "out"
    assert tsbn("predict", run, tmp_path / "img" / "0001.png", "--out", out).exit_code == 0
    (said,) = json.loads((out / "predictions.json").read_text()).values()
    assert said["shape"]["class"] in SHAPES and "values" in said["price"]
    assert tsbn("card", run).exit_code == 0 and (run / "README.md").is_file()
    assert tsbn("push", run, "me/products", "--dry-run").exit_code == 0
    assert json.loads((run / "preprocessor_config.json").read_text())["crop_size"] == {"height": 32, "width": 32}


@pytest.mark.nightly
def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    """Bit for bit, as it would have ended."""
    draw_products(tmp_path, 40)
    monkeypatch.chdir(tmp_path)
    given = ["train", "--table", "train.csv", "--test-table", "test.csv", "--set", "data_args.max_broken=0.05"]
    whole = tsbn(*given, "--epochs", 2, "--output", "whole")
    assert whole.exit_code == 0, whole.output
    end, calls = Training._end_epoch, []

    def stopping(self, started):
        calls.append(1)
        end(self, started)
        if len(calls) == 1:
            self._save()
            raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_end_epoch", stopping)
        assert "stopped" in tsbn(*given, "--epochs", 2, "--output", "parts").output
    assert tsbn(*given, "--epochs", 2, "--output", "parts").exit_code == 0
    for name in ("model.safetensors", "log.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "nothing.csv"], "There is no table nothing.csv"),
        (["--table", "train.csv", "--images", "nowhere"], "images: .*nowhere"),
        (["--table", "train.csv", "--set", "data_args.colums={}"], "Did you mean 'columns'"),
        (["--table", "train.csv", "--set", "data_args.columns={sise: null}"], "has no column 'sise'"),
        (["--table", "train.csv", "--set", "data_args.max_broken=0"], "have files that are missing or broken"),
    ],
)
def test_what_goes_wrong(arguments, message, tmp_path, monkeypatch):
    draw_products(tmp_path, 24)
    monkeypatch.chdir(tmp_path)
    told = tsbn("train", *arguments)
    assert told.exit_code == 1 and "Traceback" not in told.output and not (tmp_path / "runs").exists()
    assert re.search(f"^tsbn: .*{message}", told.stderr), told.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run.yaml", "--table", "train.csv"], "run.yaml and --table are both given: leave one out."),
        (["run.yaml", "--images", "img"], "--images, --validation-table and --test-table go with --table."),
        ([], "Or a table: tsbn train --table labels.csv."),
    ],
)
def test_one_of_config_and_table(arguments, message):
    told = tsbn("train", *arguments)
    assert told.exit_code == 2 and message in " ".join(told.stderr.replace("│", " ").split())


def test_the_model_follows_the_data(tmp_path):
    """What is chosen gives way to what is said."""
    draw_products(tmp_path, 40, (128, 128))
    given = {"train": str(tmp_path / "train.csv"), "max_broken": 0.1}
    config = config_of_table(given, {})
    assert isinstance(config, TrainingConfig) and config.model == "resnet18_tsbn" and config.output == "runs/train"
    small = config_of_table(given, {"data_args.size": 64})
    assert small.model == "test_resnet_tsbn" and small.data_args["size"] == 64
    flipped = config_of_table(given, {"augmentation.flip": True, "augmentation.color": False})
    assert flipped.augmentation == {"color": False, "flip": True}
    assert config_of_table(given, {"augmentation": {}}).augmentation == {}
    assert config_of_table(given, {"model": "resnet10t_tsbn", "epochs": 2}).epochs == 2
    assert config_of_table(given, {"data_args.size": 64, "pretrained": True}).model == "resnet18_tsbn"
    assert config_of_table(given, {"checkpoint": "runs/other", "norm": None}).model is None


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_predictions_see_what_the_training_saw(library, fit, tmp_path):
    """A model makes a photo one size as the table does, whichever library it is of."""
    draw_products(tmp_path, 24, (60, 40))
    columns = {"price": None, "framed": None} if library == "timm" else {}
    data_args = {"train": str(tmp_path / "train.csv"), "max_broken": 0.2, "fit": fit, "size": 32, "columns": columns}
    config = config_of_table(data_args, {"output": str(tmp_path / "run")})
    data = build_data(config, "train")
    model = build_model(config, build_tasks(config, data), (3, 32, 32), image_fit=image_fit_of(data.datasets))
    surface = surface_of(model)
    assert surface.library == library
    seen = surface.preprocessing()
    for name, sample in first_samples(tmp_path, data_args).items():
        prepared = seen.prepare(read_image(tmp_path / name))
        assert (prepared - sample["image"] / 255).abs().max() < 0.02


def first_samples(folder, data_args):
    """The samples of a table's first two rows, by the names of their files."""
    (folder / "two.csv").write_text("".join((folder / "train.csv").open().readlines()[:3]))
    data = Table("test", **data_args, test=folder / "two.csv")
    return {name: data[at] for at, name in enumerate(["img/0000.jpg", "img/0001.png"])}


@pytest.mark.nightly
def test_it_learns(tmp_path):
    """By commands alone, from pictures of several sizes to a file that onnxruntime runs."""
    draw_products(tmp_path, 320, (64, 64), (80, 64), (64, 96), (120, 90), radii=(12, 28))
    run, photos = tmp_path / "run", tmp_path / "img"
    told = tsbn("train", "--table", tmp_path / "train.csv", "--test-table", tmp_path / "test.csv", "--output", run)
    assert told.exit_code == 0, told.output
    told = tsbn("evaluate", run, "--json", "--report", tmp_path / "report")
    scores = json.loads(told.stdout)
    assert scores["shape"]["accuracy"] > 0.9 and scores["framed"]["accuracy"] > 0.9
    assert scores["price"]["mae"] < 6  # of prices from 30 to 70
    assert (tmp_path / "report" / "report.html").is_file()
    told = tsbn("predict", run, photos, "--output", tmp_path / "predicted.csv")
    assert told.exit_code == 3, told.output  # one file is broken
    with (tmp_path / "predicted.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 320
    assert tsbn("export", run, "--out", tmp_path / "products.onnx").exit_code == 0
    images = np.asarray(read_image(photos / "0000.jpg").convert("RGB").resize((64, 64))).transpose(2, 0, 1)[None]
    (shapes,) = InferenceSession(tmp_path / "products.onnx").run(["shape"], {"images": images})
    assert shapes.shape == (1, 3) and shapes.sum() == pytest.approx(1, abs=1e-4)
    assert tsbn("card", run).exit_code == 0 and tsbn("push", run, "me/products", "--dry-run").exit_code == 0
