"""The report of a run: its numbers against scikit-learn and torch, its pictures, its page."""

import csv
import html.parser
import json
import math
import re
from itertools import count, pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from sklearn import metrics as sklearn

from tests.cli.commands import tsbn
from tests.cli.test_table import draw_products
from tests.training.small_runs import config_of_data
from tsbn_hub.analysis.report.angles import AnglesReport
from tsbn_hub.analysis.report.attributes import AttributesReport
from tsbn_hub.analysis.report.classes import ClassesReport, _matrix_figure, scores_figure
from tsbn_hub.analysis.report.depths import DepthsReport
from tsbn_hub.analysis.report.numbers import NumbersReport
from tsbn_hub.analysis.report.page import page
from tsbn_hub.analysis.report.run import Gathered
from tsbn_hub.analysis.report.section import Section
from tsbn_hub.analysis.report.thresholds import ThresholdsReport
from tsbn_hub.analysis.report.worst import WorstSamples
from tsbn_hub.data import Draw
from tsbn_hub.tasks import Kind, Task, make_kind
from tsbn_hub.tasks.kinds.attributes import Attributes

IMAGES, SIZE = 40, (6, 7)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def added(report, output, target, batches=4):
    """The report of what a model gives, in several batches; and the kind's metrics."""
    scored = report.kind.new_metrics()
    for some, true in zip(output.chunk(batches), target.chunk(batches), strict=True):
        prediction = report.kind.predict(some)
        report.add(prediction, true)
        scored.update(prediction, true)
    return {name: value.item() for name, value in scored.compute().items()}


def close(expected):
    return pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dense", [False, True], ids=["classification", "segmentation"])
def test_classes_are_scored_as_by_scikit_learn(dense, tmp_path):
    kind = make_kind(Task("t", "segmentation" if dense else "classification", labels=list("abcde")))
    shape = SIZE if dense else ()
    output = torch.randn(IMAGES, 5, *shape, generator=chance())
    output[:, 3] = -9  # never predicted
    target = torch.randint(4, (IMAGES, *shape), generator=chance(1))  # never the last one
    target[torch.rand(target.shape, generator=chance(2)) < 0.2] = -100
    report = ClassesReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    known = target != -100
    true, predicted = target[known].numpy(), output.argmax(dim=1)[known].numpy()
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        true, predicted, labels=range(5), zero_division=math.nan
    )
    iou = sklearn.jaccard_score(true, predicted, labels=range(5), average=None, zero_division=0)
    for index, row in enumerate(rows_of(tmp_path / "t.classes.csv")):
        assert row["class"] == "abcde"[index] and int(row["support"]) == support[index]
        for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
            assert (math.isnan(values[index]) and row[name] == "") or float(row[name]) == close(values[index])
        if dense and row["iou"]:
            assert float(row["iou"]) == close(iou[index])
    matrix = [[int(cell) for cell in list(row.values())[1:]] for row in rows_of(tmp_path / "t.confusion.csv")]
    assert matrix == sklearn.confusion_matrix(true, predicted, labels=range(5)).tolist()
    share = sum(matrix[index][index] for index in range(5)) / known.sum().item()
    assert share == close(scores["pixel_accuracy" if dense else "accuracy"])
    if dense:
        assert scores["miou"] == close(report.scores()["iou"].nanmean().item())


def test_attributes_are_scored_as_by_scikit_learn(tmp_path):
    kind = Attributes(3, labels=["hat", "beard", "never known"], thresholds=[0.25, 0.5, 0.5])
    output = torch.randn(IMAGES, 3, generator=chance())
    target = torch.randint(2, (IMAGES, 3), generator=chance(1))
    target[torch.rand(target.shape, generator=chance(2)) < 0.3] = -100
    target[:, 2] = -100
    report = AttributesReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    *rows, unknown = rows_of(tmp_path / "t.attributes.csv")
    for index, row in enumerate(rows):
        known = target[:, index] != -100
        true, predicted = target[known, index].numpy(), (output[known, index].sigmoid() > (0.25, 0.5)[index]).numpy()
        assert float(row["threshold"]) == (0.25, 0.5)[index]
        assert (int(row["known"]), int(row["support"])) == (len(true), true.sum())
        for name in ("precision", "recall", "f1", "accuracy"):
            assert float(row[name]) == close(getattr(sklearn, f"{name}_score")(true, predicted))
    assert unknown["accuracy"] == unknown["f1"] == ""
    for name in ("accuracy", "f1"):
        assert scores[name] == close(sum(float(row[name]) for row in rows) / 2)


@pytest.mark.parametrize("images", [IMAGES, 1200], ids=["points", "counts"])
def test_numbers_are_scored_as_by_scikit_learn(images, tmp_path):
    kind = make_kind(Task("t", "regression", kind_args={"size": 2, "mean": 50.0, "scale": 10.0}))
    output = torch.randn(images, 2, generator=chance())
    target = kind.predict(output + torch.randn(images, 2, generator=chance(1)))
    target[torch.rand(target.shape, generator=chance(2)) < 0.3] = math.nan
    report = NumbersReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    rows, pairs = rows_of(tmp_path / "t.errors.csv"), rows_of(tmp_path / "t.pairs.csv")
    for number, row in enumerate(rows):
        known = ~target[:, number].isnan()
        true, predicted = target[known, number], kind.predict(output)[known, number]
        written = [(float(pair["true"]), float(pair["predicted"])) for pair in pairs if pair["number"] == str(number)]
        assert written == [pytest.approx(pair) for pair in zip(true.tolist(), predicted.tolist(), strict=True)]
        expected = {
            "known": len(true),
            "mae": sklearn.mean_absolute_error(true, predicted),
            "rmse": sklearn.root_mean_squared_error(true, predicted),
            "r2": sklearn.r2_score(true, predicted),
            "bias": (predicted - true).mean().item(),
            "error at 50%": (predicted - true).quantile(0.5, interpolation="nearest").item(),
        }
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    weights = [int(row["known"]) for row in rows]
    mean = sum(weight * float(row["mae"]) for weight, row in zip(weights, rows, strict=True)) / sum(weights)
    assert mean == pytest.approx(scores["mae"], rel=1e-5)


@pytest.mark.parametrize("name", ["depth", "disparity"])
def test_depths_sum_up_to_the_metrics(name, tmp_path):
    kind = make_kind(Task("t", name))
    target = 20 * torch.rand(IMAGES, *SIZE, generator=chance()) ** 3
    target[torch.rand(target.shape, generator=chance(2)) < 0.2] = 0
    output = (target + torch.randn(target.shape, generator=chance(1)))[:, None]
    report = DepthsReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    rows = rows_of(tmp_path / "t.depths.csv")
    pixels = [int(row["pixels"]) for row in rows]
    assert sum(pixels) == (target > 0).sum() == report.counts.sum()
    for metric in ("abs_err", "delta1"):
        total = sum(count * float(row[metric]) for count, row in zip(pixels, rows, strict=True))
        assert total / sum(pixels) == pytest.approx(scores[metric], rel=1e-5)
    for row in rows:
        inside = (target > 0) & (target >= float(row["from"]) * (1 + 1e-5)) & (target < float(row["to"]) * (1 - 1e-5))
        assert abs(inside.sum().item() - int(row["pixels"])) <= 2  # edges are written in six digits


def test_angles_are_those_of_the_metrics(tmp_path):
    kind = make_kind(Task("t", "normals"))
    target = F.normalize(torch.randn(IMAGES, 3, *SIZE, generator=chance()), dim=1)
    output = target + 0.4 * torch.randn(target.shape, generator=chance(1))
    target[:, :, :2] = 0
    report = AnglesReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    rows = {float(row["below degrees"]): row for row in rows_of(tmp_path / "t.angles.csv")}
    for degrees, name in ((11.25, "within_11_25"), (22.5, "within_22_5"), (30.0, "within_30")):
        assert float(rows[degrees]["share"]) == close(scores[name])
    assert sum(int(row["pixels"]) for row in rows.values()) == target.any(dim=1).sum()
    mean = sum((degrees - 0.125) * int(row["pixels"]) for degrees, row in rows.items()) / target.any(dim=1).sum()
    assert mean == pytest.approx(scores["mean_angle"], abs=0.05)


@pytest.mark.parametrize("name", ["edges", "saliency"])
def test_thresholds_are_those_of_scikit_learn(name, tmp_path):
    options = {"tolerance": 0} if name == "edges" else {}
    kind = make_kind(Task("t", name, kind_args=options))
    target = torch.randint(2, (IMAGES, *SIZE), generator=chance())
    output = (target - 0.5 + torch.randn(target.shape, generator=chance(1)))[:, None]
    target[:, :2] = -100
    report = ThresholdsReport("t", kind)
    scores = added(report, output, target)
    report.write(tmp_path, "t")
    known, rows = target != -100, rows_of(tmp_path / "t.thresholds.csv")
    for row in rows:
        above = (kind.predict(output)[known] >= float(row["threshold"])).numpy()
        precision, recall, *_ = sklearn.precision_recall_fscore_support(
            target[known].numpy(), above, average="binary", zero_division=0
        )
        assert (float(row["precision"]), float(row["recall"])) == (close(precision), close(recall))
    assert max(float(row["f"]) for row in rows) == close(scores[kind.primary])


def test_the_worst_samples_are_those_of_the_highest_loss():
    kind = make_kind(Task("t", num_classes=4))
    output = torch.randn(200, 4, generator=chance())
    target = torch.randint(4, (200,), generator=chance(1))
    target[::3] = -100
    output[1] = output[2] = output[4]
    target[1] = target[2] = target[4]
    worst = WorstSamples("t", kind)
    for some in torch.arange(200).chunk(7):
        draws = [Draw(index, 0) for index in some.tolist()]
        worst.add(draws, output[some], kind.predict(output[some]), target[some])
    losses = F.cross_entropy(output, target, ignore_index=-100, reduction="none").tolist()
    expected = sorted((index for index in range(200) if index % 3), key=lambda index: (-losses[index], index))[:20]
    assert [sample.draw.index for sample in worst.samples] == expected
    assert [sample.loss for sample in worst.samples] == [pytest.approx(losses[index]) for index in expected]


def test_memory_does_not_grow_with_the_images():
    """But for two numbers for each image of a regression."""
    kinds = {name: make_kind(Task(name, name, num_classes=number)) for name, number in
             {"segmentation": 5, "depth": None, "normals": None, "edges": None, "saliency": None}.items()}  # fmt: skip
    gathered = Gathered(kinds, ([Draw(number, 0), Draw(number + 1, 0)] for number in count(step=2)))

    def held():
        sizes = [value.numel() for report in gathered.reports.values() for value in tensors(vars(report))]
        return sum(sizes) + sum(sample.target.numel() for worst in gathered.worst.values() for sample in worst.samples)

    def add(batches):
        for number in range(batches):
            outputs = {
                task: torch.randn(2, kind.outputs, *SIZE, generator=chance(number)) for task, kind in kinds.items()
            }
            targets = {
                task: kinds[task].predict(output) if task in ("depth", "normals")
                else torch.randint(2, (2, *SIZE), generator=chance()) for task, output in outputs.items()
            }  # fmt: skip
            gathered.add({"image": torch.zeros(2, 3, *SIZE), "targets": targets}, outputs)
        return held()

    assert add(12) == add(12)


def tensors(values):
    for value in values.values() if isinstance(values, dict) else [values]:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            yield from tensors(value)
        elif isinstance(value, torch.nn.Module):
            yield from tensors(value.metric_state)


@pytest.mark.parametrize("classes", [1, 5, 34, 200])
def test_pictures_of_many_classes_can_be_read(classes):
    labels = [f"class number {index} of a long name that goes on and on" for index in range(classes)]
    counts = torch.randint(9, (classes, classes), generator=chance())
    counts[0] = 0
    scores = {name: torch.rand(classes, generator=chance()) for name in ("f1", "precision", "recall")}
    for figure in (_matrix_figure(counts, labels, "images"), scores_figure(labels, scores)):
        figure.draw_without_rendering()
        assert figure.get_figwidth() <= 17 and figure.get_figheight() <= 17
        axes = figure.axes[0]
        names = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert 1 <= len(names) <= 60
        assert all(abs(first.y0 - second.y0) > 0.9 * first.height for first, second in pairwise(names))
        drawn = figure.get_tightbbox()
        assert drawn.x0 >= -0.01 and drawn.y0 >= -0.01


DENSE = """
import torch
from torch.utils.data import Dataset
from tsbn_hub import Task


class Rooms(Dataset):
    tasks = [
        Task("seg", "segmentation", num_classes=3, head_args={"channels": 8}),
        Task("a/b", "depth", head_args={"channels": 8}),
        Task("normals", "normals", head_args={"channels": 8}),
        Task("edges", "edges", head_args={"channels": 8}),
        Task("nothing", num_classes=2),
    ]

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return 12

    def __getitem__(self, index):
        chance = torch.Generator().manual_seed(index)
        depth = 1 + torch.rand(32, 48, generator=chance)
        targets = {"seg": (3 * torch.rand(32, 48, generator=chance)).long(), "a/b": depth}
        if index % 2:
            normals = torch.nn.functional.normalize(torch.randn(3, 32, 48, generator=chance), dim=0)
            targets |= {"normals": normals, "edges": (depth > 1.5).long()}
        if self.split == "train":
            targets["nothing"] = torch.tensor(index % 2)
        return {"image": torch.rand(3, 32, 48, generator=chance), "targets": targets}
"""


@pytest.mark.nightly
def test_the_report_of_a_dense_model(tmp_path, monkeypatch):
    """Of transformers; a task has a slash in its name, another no target; it is made by one process."""
    config = config_of_data(tmp_path, DENSE, "Rooms", model="timm/test_resnet", batch_size=4)
    assert tsbn("train", config).exit_code == 0
    out = tmp_path / "report"
    told = tsbn("evaluate", tmp_path / "run", "--report", out, "--json")
    assert told.exit_code == 0, told.output
    scores = json.loads(told.stdout)
    assert scores == json.loads(tsbn("evaluate", tmp_path / "run", "--json").stdout)
    assert scores["nothing"] == {"accuracy": None}
    assert {path.name for path in out.glob("*.png")} == {
        "seg.confusion.png", "seg.classes.png", "a%2Fb.depths.png", "normals.angles.png", "edges.thresholds.png",
        *(f"{task}.worst.png" for task in ("seg", "a%2Fb", "normals", "edges")),
    }  # fmt: skip
    check_page(out)
    assert {int(row["sample"]) % 2 for row in rows_of(out / "normals.worst.csv")} == {1}
    assert len(rows_of(out / "seg.worst.csv")) == 12
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    told = tsbn("evaluate", tmp_path / "run", "--report", tmp_path / "other")
    assert told.exit_code == 1 and "A report is made by one process" in told.stderr
    assert not (tmp_path / "other").exists()


def test_the_report_of_a_table(tmp_path, monkeypatch):
    """With gaps, by the command of the docs: the worst samples are files, and the numbers those of results.json."""
    monkeypatch.chdir(tmp_path)
    draw_products(tmp_path, 40)
    run, out = tmp_path / "runs" / "products", tmp_path / "report"
    given = ["train", "--table", "train.csv", "--test-table", "test.csv", "--output", run]
    assert tsbn(*given, "--set", "data_args.max_broken=0.05", "--epochs", 1).exit_code == 0
    docs = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()
    command, _ = re.findall(r"^tsbn (evaluate .+)$", docs, re.MULTILINE)
    told = tsbn(*command.split())
    assert told.exit_code == 0 and "report/report.html has pictures and tables." in told.stdout
    for path in out.iterdir():
        name = path.name if path.stem in ("report", "scores") else path.stem.rsplit(".", 1)[1]
        assert f"`{name}`" in docs, f"the page does not name {path.name}"
    by_row = {(row["task"], row["metric"]): float(row["value"]) for row in rows_of(out / "scores.csv")}
    measured = json.loads((run / "results.json").read_text())["tasks"]
    assert len(measured) == 4
    for task in measured:
        for metric in task["metrics"]:
            assert by_row[task["name"], metric["name"]] == pytest.approx(metric["value"])
    matrix = [list(row.values())[1:] for row in rows_of(out / "shape.confusion.csv")]
    right = sum(int(row[place]) for place, row in enumerate(matrix))
    assert right / sum(int(cell) for row in matrix for cell in row) == pytest.approx(by_row["shape", "accuracy"])
    shapes = {row["file"]: row["shape"] for row in rows_of(tmp_path / "test.csv")}
    worst = rows_of(out / "shape.worst.csv")
    assert len(worst) == 10
    for row in worst:
        assert row["true"] == shapes[row["file"]] and row["predicted"] in shapes.values()
    losses = [float(row["loss"]) for row in worst]
    assert losses == sorted(losses, reverse=True)
    check_page(out)


def check_page(folder):
    """All that the page names is there, and it names all."""
    named = set()

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            named.update(unquote(value) for key, value in attributes if key in ("href", "src"))

    Links().feed((folder / "report.html").read_text())
    assert named | {"report.html", "scores.csv"} == {path.name for path in folder.iterdir()}
    for picture in folder.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 100


def test_names_are_no_html():
    kind = make_kind(Task("<b>", labels=["<i>", "b"]))
    section = Section("t", None, ["<b>.csv"], [["true"], ["<i>"]])
    text = page("<run>", "&", {"<b>": kind}, {"<b>": {"accuracy": math.nan}}, {"<b>": [section]})
    assert "<b>" not in text and "<i>" not in text and "<run>" not in text and "&lt;b&gt;" in text and "—" in text


def test_a_kind_of_ones_own_has_its_worst_samples(tmp_path):
    class Heat(Kind):
        name, dense, missing, outputs = "heat", False, math.nan, 1
        loss = staticmethod(lambda output, target: (output - target).abs().mean())
        predict = staticmethod(lambda output: output)
        describe = staticmethod(lambda prediction: {"heat": prediction.item()})
        check = picture = None

    gathered = Gathered({"t": Heat()}, [[Draw(0, 0), Draw(1, 0)]])
    targets = {"t": torch.tensor([[1.0], [5.0]])}
    gathered.add({"image": torch.zeros(2, 3, 4, 4), "targets": targets}, {"t": torch.zeros(2, 1)})
    assert not gathered.reports
    gathered.worst["t"].write(tmp_path, "t", lambda draw: torch.zeros(3, 4, 4), lambda index: None)
    rows = rows_of(tmp_path / "t.worst.csv")
    assert [(row["sample"], row["true"], row["predicted"]) for row in rows] == [
        ("1", "5", '{"heat": 0.0}'), ("0", "1", '{"heat": 0.0}')
    ]  # fmt: skip
