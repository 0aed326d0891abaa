"""What the docs show runs as it stands."""

import ast
import functools
import io
import json
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from http.server import HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from transformers import BitImageProcessor

import tsbn_hub
from tests.cli.commands import tsbn
from tsbn_hub.data import MultiDigits
from tsbn_hub.deploy import predict
from tsbn_hub.training.state.gates import gates_line, gates_text

ROOT = Path(__file__).parents[1]


def code_of(page):
    """The blocks of Python of a page, but drafts: those that begin with ```python draft."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, *_ = code_of("README.md")  # the others need downloads
    scope: dict = {}
    exec(code, scope)
    outputs = scope["model"](scope["images"])
    assert {task: output.shape for task, output in outputs.items()} == {"gender": (4, 2), "age": (4, 8)}
    assert type(scope["plain"]).__name__ == "ResNet"
    assert sorted(path.name for path in (tmp_path / "my_model").iterdir()) == ["config.json", "model.safetensors"]


def test_the_loop_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MultiDigits, "__len__", lambda self: 256)
    (code,) = code_of("docs/own-loop.md")
    statements = [line for line in code.splitlines() if line.strip()]
    assert len(statements) <= 30
    exec(code, {})
    assert capsys.readouterr().out.count("'left'") == 2
    assert timm.create_model("local-dir:my_model", pretrained=True).tasks == ["left", "right"]


def test_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for code in code_of("docs/hub.md"):
        exec(code, scope)
    model, x = scope["model"], scope["x"]
    assert model.tasks == ["gender", "age", "smile", "years"]
    assert torch.equal(model(x, task="years"), model(x, task="age"))


def test_links_of_the_docs():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_dense_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = code_of("docs/dense-tasks.md")
    scope: dict = {}
    exec(code, scope)
    assert scope["out"].logits["seg"].shape == (2, 3, 96, 128) and list(scope["out"].losses) == ["seg", "depth"]
    assert type(scope["classifier"]).__name__ == "TimmWrapperForImageClassification"
    assert type(scope["backbone"]).__name__ == "TimmWrapperModel"


def test_the_analysis(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "multi_digits"
    folder.mkdir(parents=True)
    line = gates_line(timm.create_model("test_resnet_tsbn", tasks=["left", "right"]), epoch=0)
    (folder / "gates.jsonl").write_text(gates_text([line]))
    scope: dict = {}
    for code in code_of("docs/analysis.md"):
        exec(code, scope)
    assert scope["similarity"].matrix.shape == (3, 3) and "layer4.0.conv1" in scope["conflicts"].layers
    assert {path.name for path in tmp_path.glob("*.png")} == {"similarity.png", "movement.png", "gradients.png"}


def test_the_trainer_of_transformers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for code in code_of("docs/transformers-trainer.md"):
        exec(code, scope)
    assert {"eval_loss_room", "eval_loss_age"} <= scope["scores"].keys()


@pytest.mark.nightly
def test_the_server(tmp_path, monkeypatch):
    """The commands of the page, but the training, then the server, and a request of a client."""
    monkeypatch.chdir(tmp_path)
    digits = {"input_size": (1, 36, 36), "mean": (0.1,), "std": (0.3,), "crop_pct": 1.0}
    tasks = {"left": 10, "right": 10}
    model = timm.create_model("test_resnet_tsbn", num_classes=tasks, in_chans=1, pretrained_cfg_overlay=digits)
    tsbn_hub.save_pretrained(model, "runs/multi_digits")
    (command,) = re.findall(r"^tsbn (export .+)$", (ROOT / "docs/deployment.md").read_text(), re.MULTILINE)
    told = tsbn(*command.split())
    assert told.exit_code == 0, told.output
    (code,) = code_of("docs/deployment.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    monkeypatch.setattr(HTTPServer, "serve_forever", HTTPServer.handle_request)  # one
    monkeypatch.setattr(HTTPServer, "server_bind", _bind_to_any_port)
    ports: list[int] = []
    monkeypatch.setattr(
        HTTPServer, "server_activate", lambda self: (self.socket.listen(), ports.append(self.server_port))
    )
    thread = threading.Thread(target=exec, args=(code, {}))
    thread.start()
    image, body = Image.effect_noise((36, 36), 90), io.BytesIO()
    image.save(body, "png")
    while not ports and thread.is_alive():
        time.sleep(0.01)
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}", body.getvalue()) as answer:
        scores = json.load(answer)
    thread.join()
    for task, expected in predict(model, image).items():
        found = torch.tensor([scores[task][str(label)] for label in range(10)])
        torch.testing.assert_close(found, expected.value, rtol=1e-4, atol=1e-5)


def _bind_to_any_port(server):
    server.socket.bind(("127.0.0.1", 0))
    server.server_port = server.socket.getsockname()[1]


def test_every_kind_and_head_is_in_the_docs():
    page = (ROOT / "docs/dense-tasks.md").read_text()
    for kind in (
        "classification",
        "attributes",
        "regression",
        "segmentation",
        "depth",
        "disparity",
        "normals",
        "edges",
        "saliency",
    ):
        assert f"| {kind} |" in page
    for head in ("linear", "small", "deeplabv3", "upernet", "segformer"):
        assert f"`{head}`" in page


def test_every_line_of_compatibility_is_held_by_a_test():
    lines = re.findall(r"^\| (?!idiom|---)(.+) \|$", (ROOT / "docs/compatibility.md").read_text(), re.MULTILINE)
    rows = [cells for cells in (re.split(r" *\| *", line) for line in lines) if len(cells) != 2]
    assert len(rows) > 80
    for row in rows:
        _, outcome, _, held_by = row
        tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", held_by)
        assert outcome in ("works", "differs", "refused") and len(tests) == held_by.count("`") / 2 > 0, row
        for file, name in tests:
            assert name in functions_of(file), f"{file} has no {name}"


@functools.cache
def functions_of(file):
    return {each.name for each in ast.parse((ROOT / file).read_text()).body if isinstance(each, ast.FunctionDef)}


def test_the_architecture_names_what_there_is():
    """The walks through the code name files, functions and classes: they are there."""
    page = re.sub(r"\s+", " ", (ROOT / "docs/architecture.md").read_text())
    steps = re.findall(r"`([\w/]+\.py): ([\w.]+)`", page)
    assert len(steps) > 40
    for file, name in steps:
        code = (ROOT / "tsbn_hub" / file).read_text()
        for part in name.split("."):
            assert re.search(rf"^\s*(?:def|class) {part}\b", code, re.MULTILINE), f"{file} has no {part}"


def test_the_architecture_has_the_floors():
    """The picture and the table have the folders that there are, and the picture the floors that are checked."""
    page = (ROOT / "docs/architecture.md").read_text()
    folders = {path.parent.name for path in (ROOT / "tsbn_hub").glob("*/__init__.py")}
    assert set(re.findall(r"<b>(\w+)</b>", page)) == folders == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = pyproject["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [sorted(name.removeprefix("tsbn_hub.") for name in layer.split(" | ")) for layer in layers]
    (drawn,) = re.findall(r"cli --> .*", page)
    assert [sorted(floor.split(" & ")) for floor in drawn.split(" --> ")] == floors[:-1]  # all but the version


@pytest.mark.nightly
def test_extending(tmp_path):
    """All code of the page is one file, in a process of its own: what it registers is not known to other tests."""
    (tmp_path / "my_parts.py").write_text("\n".join([*code_of("docs/extending.md"), SEEN]))
    process = subprocess.run([sys.executable, "my_parts.py"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


SEEN = """
assert abs(kind.loss(torch.zeros(2, 1, 8, 8), target).item() - 0.6931) < 1e-4
assert kind.new_metrics()  # those of depth
assert torch.equal(weighting.weights(["seg", "depth"]), torch.tensor([0.5, 2.0]))
assert abs(total["seg"].item() - 0.6) < 1e-6 and torch.allclose(joined, torch.tensor([0.6, 1.8]))
assert type(model.head("depth")).__name__ == "FinestHead" and type(model.kinds["depth"]).__name__ == "LogDepth"
assert abs(metrics.compute()["bias"].item() - 0.5) < 1e-6
assert [step.name for step in augment.steps] == ["flip", "sharpness"] and augment.steps[1].p == 0.2
assert copies(torch.rand(1, 3, 64, 96)).logits["far"].shape == (1, 1, 64, 96)
assert torch.equal(net.fold("left")(x), net(x, task="left")) and net[1].gate_logits.shape == (2, 16)
"""


def test_predicting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = code_of("docs/predicting.md")
    scope: dict = {}
    exec(code, scope)
    assert scope["name"] == "red.png" and scope["said"] == {"gender": (2,), "age": (8,)}
    photos = tmp_path / "photos" / "of" / "mine.jpg"
    photos.parent.mkdir(parents=True)
    Image.effect_noise((40, 30), 90).save(photos)
    Image.effect_noise((40, 30), 90).save("room.jpg")
    (tmp_path / "new.csv").write_text("photo\nof/mine.jpg\n")
    tsbn_hub.save_pretrained(scope["model"], "runs/products")
    tasks = [tsbn_hub.Task("depth", "depth", head_args={"channels": 8}), tsbn_hub.Task("place", num_classes=2)]
    dense = tsbn_hub.TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
    dense.image_processor = BitImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    tsbn_hub.save_pretrained(dense, "runs/scenes")
    commands = re.findall(r"^tsbn (predict .+)$", (ROOT / "docs/predicting.md").read_text(), re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        told = tsbn(*shlex.split(command.partition(" > ")[0], comments=True))
        assert told.exit_code == 0, told.output
    for name in ("products.csv", "new.jsonl", "maps/mine.depth.png", "predictions/room.place.png"):
        assert (tmp_path / name).is_file(), name
