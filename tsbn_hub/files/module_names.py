"""One name, one module: Python keeps a single module by a name, and gives it to whoever imports that name."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType


def files_of(name: str, folder: Path) -> dict[str, Path]:
    """The files in a folder that a dotted name, and each part of it from the left, is imported from.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tsbn_hub.files.module_names import files_of
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "helper.py").write_text("SIDE = 32")
        ...     list(files_of("helper.SIDE", Path(folder))), list(files_of("os.path", Path(folder)))
        (['helper'], [])
    """
    parts = name.split(".")
    found = {}
    for length in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:length])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                found[".".join(parts[:length])] = file
                break
    return found


def files_needed_by(file: Path) -> dict[str, Path]:
    """By their names, the modules of its own folder that a Python file imports, anywhere in it, and those that they do.

    What cannot be read, or is no Python, imports nothing: to execute it tells.
    """
    folder, needed, left = file.parent, dict[str, Path](), [("", file)]
    while left:
        for name in _imports(*left.pop()):
            new = {part: path for part, path in files_of(name, folder).items() if part not in needed}
            needed |= new
            left += new.items()
    return needed


def _imports(name: str, file: Path) -> Iterator[str]:
    """The dotted names that a module imports, absolute ones, each with what is taken from it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def check_names(wanted: Mapping[str, Path], whose: object, others: Iterable[ModuleType] = ()) -> None:
    """Refuse names that stand for other files here than those that are wanted.

    Args:
        wanted: By its name, the file that a module is to be from.
        whose: What wants them, for the message.
        others: Modules that may import more by these names later, from folders of their own.

    Raises:
        ValueError: if a module of the name is from elsewhere, or another one wants it from elsewhere.
    """
    taken = {name: Path(file) for name in wanted if (file := getattr(sys.modules.get(name), "__file__", None))}
    for other in others:
        needed = files_needed_by(Path(str(other.__file__)))
        taken = {name: file for name, file in needed.items() if name in wanted} | taken
    for name, file in taken.items():
        if file.resolve() != wanted[name].resolve():
            raise ValueError(
                f"{whose} needs {wanted[name]} as the module {name!r}, which is {file} here, and there is but one of a "
                "name: rename one of the two files, and where it is imported."
            )
