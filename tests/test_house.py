"""The house keeps its shape: small rooms, small files, few `Any`, and one place that knows the libraries.

import-linter holds the floors, and that no modules import each other in a circle: see pyproject.toml.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tsbn_hub"
FILES = sorted(PACKAGE.rglob("*.py"))
# What may ask which library a model is of: the surfaces, and what chooses between them.
SURFACES = ("models/timm/", "models/hf/", "models/libraries.py")


def test_no_room_is_crowded():
    rooms = {file.parent for file in FILES}
    crowded = {str(room.relative_to(PACKAGE.parent)): len(list(room.glob("*.py"))) for room in rooms}
    assert {room: files for room, files in crowded.items() if files > 16} == {}


def test_no_file_is_long():
    long = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in FILES}
    assert {file: lines for file, lines in long.items() if lines > 400} == {}


def test_few_signatures_take_anything():
    """At most 8 `Any` in 1,000 lines, but for imports, and keywords and arguments that are handed on."""
    lines = [line for file in FILES for line in file.read_text().splitlines()]
    code = [line for line in lines if not re.match(r"\s*(from|import)\b", line)]
    found = sum(len(re.findall(r"\bAny\b", re.sub(r"\*\*?\w+: Any", "", line))) for line in code)
    assert 1000 * found / len(lines) <= 8, f"{found} in {len(lines)} lines"


def asks_for_the_library(code: str) -> list[str]:
    """The questions in a file that only the surfaces may ask."""
    questions = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            name = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else None
            if name in ("pretrained_cfg", "kinds", "heads", "save_pretrained", "config", "backbone_config", "tsbn"):
                questions.append(ast.unparse(node))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            classes = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            if classes & {"TimmTaskModel", "PreTrainedModel", "TsbnModel", "TsbnForMultiTask", "ModelWithHeads"}:
                questions.append(ast.unparse(node))
        if isinstance(node, ast.Compare) and "model_type" in ast.unparse(node):
            questions.append(ast.unparse(node))
        if isinstance(node, ast.Compare) and re.search(r"\.library\b", ast.unparse(node)):
            questions.append(ast.unparse(node))
    return questions


@pytest.mark.parametrize(
    "code",
    [
        'hasattr(model, "pretrained_cfg")',
        'getattr(model, "tsbn", model)',
        "isinstance(model, TimmTaskModel | nn.Linear)",
        'config["model_type"] == "tsbn"',
        'surface.library == "timm"',
    ],
)
def test_questions_are_found(code):
    assert asks_for_the_library(code) == [code.replace('"', "'")]


def test_nobody_asks_which_library_a_model_is_of():
    outside = [file for file in FILES if not str(file.relative_to(PACKAGE)).startswith(SURFACES)]
    asked = {str(file.relative_to(PACKAGE)): asks_for_the_library(file.read_text()) for file in outside}
    assert {file: questions for file, questions in asked.items() if questions} == {}
