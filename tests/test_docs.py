"""What the docs show runs as it stands."""

import re
from pathlib import Path

import timm
import torch

import tsbn_hub  # noqa: F401
from tsbn_hub.data import MultiDigits

ROOT = Path(__file__).parents[1]


def code_of(page):
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
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
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


def test_every_kind_and_head_is_in_the_docs():
    page = (ROOT / "docs/dense-tasks.md").read_text()
    for kind in ("classification", "attributes", "regression", "segmentation", "depth", "normals", "edges", "saliency"):
        assert f"| {kind} |" in page
    for head in ("linear", "small", "deeplabv3", "upernet", "segformer"):
        assert f"`{head}`" in page
