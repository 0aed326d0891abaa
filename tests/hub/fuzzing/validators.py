"""Our own refusals: every `raise` that a checkpoint's files can lead to, and which of them an error came from."""

import ast
import importlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# By module, the functions and classes whose errors speak of files; None: all of the module.
_OF_FILES: dict[str, tuple[str, ...] | None] = {
    "files.checkpoints": ("_object_in", "check_values", "weight_files", "read_shapes"),
    "models.loading": ("load_base", "_from_timm", "_from_transformers", "_check_size", "_built", "_CallsOfTorch"),
    "models.hf.config": None,
    "models.hf.loading": None,
    "models.hf.backbone": ("__init__",),
    "models.heads.head": ("make_head",),
    "models.timm.model": ("_check_task_entries", "task_classes_of"),
    "norms.checkpoints": None,
    "norms.gating": ("_matching",),
    "norms.task_names": ("check_task_names",),
    "norms.task_norm": ("NormOptions",),
    "hub.adapters.files": ("read_adapter",),
    "hub.adapters.adapters": ("_add",),
    "files.strict_json": None,
    "tasks.task": None,
    "tasks.labels": None,
    "tasks.kind": ("make_kind",),
    "tasks.kinds.classification": ("outputs",),
    "tasks.kinds.edges": ("__init__",),
    "tasks.kinds.regression": ("__init__",),
}

# Those among them that files cannot lead to: what they refuse was refused before.
_UNREACHED = ("There is no file", "The model has a task")


@dataclass(frozen=True, order=True)
class Validator:
    """A `raise`.

    Args:
        file: The path of its source.
        line: Its first line.
        last: Its last.
        function: Which it is in.
        message: How its message begins, as it is written.
    """

    file: str
    line: int
    last: int
    function: str
    message: str

    def __str__(self) -> str:
        return f"{self.file.rpartition('tsbn_hub/')[2]}:{self.line} {self.function}: {self.message[:90]}"


def validators() -> list[Validator]:
    """All of them, in the order of their source."""
    return [each for module, names in _OF_FILES.items() for each in _of_module(f"tsbn_hub.{module}", names)]


def hit_by(error: BaseException, known: list[Validator]) -> set[Validator]:
    """Those that an error, or one that it came from, was raised by."""
    lines = {
        (frame.f_code.co_filename, line)
        for each in chain(error)
        for frame, line in traceback.walk_tb(each.__traceback__)
    }
    return {each for each in known if any((each.file, line) in lines for line in range(each.line, each.last + 1))}


def chain(error: BaseException) -> list[BaseException]:
    """An error, and those that it came from."""
    found: list[BaseException] = []
    left = [error]
    while left:
        each = left.pop()
        if each not in found:
            found.append(each)
            left += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
    return found


def _of_module(module: str, names: tuple[str, ...] | None) -> Iterator[Validator]:
    file = str(importlib.import_module(module).__file__)
    for function, node in _raises(ast.parse(Path(file).read_text()), ""):
        if names is None or any(part in names for part in function.split(".")):
            text = ast.unparse(node)
            if any(part in text for part in _UNREACHED):
                continue
            yield Validator(file, node.lineno, node.end_lineno or node.lineno, function, text.removeprefix("raise "))


def _raises(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Raise]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            yield function, child
        is_named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        yield from _raises(child, f"{function}.{child.name}".lstrip(".") if is_named else function)
