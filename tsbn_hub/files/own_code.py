"""Code from outside this package, which registers kinds, heads, data sets and more: importing it, finding out its name.

A piece of it is named as a user does: a file, "path/to/kinds.py", or a module, "my_package.kinds".
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from types import ModuleType

from .module_names import check_names, files_needed_by, files_of

# What importing this package brings with it, and what it registers entries of by itself.
_LIBRARIES = frozenset(
    ("tsbn_hub", "torch", "torchvision", "torchmetrics", "timm", "transformers", "transformers_modules")
)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAME = "__tsbn_hub_name__"  # of an imported file's module: how the user named the file


def import_all(names: Iterable[str]) -> None:
    """Import files and modules that the user has named, in order. See `import_own`."""
    for name in names:
        import_own(name)


def import_own(name: str, folders: Sequence[Path] = (Path(),)) -> ModuleType:
    """Import a file or module, once: what is imported already is only looked up.

    Args:
        name: A file, "path/to/kinds.py", or a module, "my_package.kinds".
        folders: Where it is looked for, in order; the working directory by default. A module may be anywhere else that
            Python finds it, too.

    Returns:
        The module.

    Raises:
        ValueError: if there is no such file, or it is no Python file, or the name can be neither a file's nor a
            module's.
        ModuleNotFoundError: if there is no such module.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tsbn_hub.files.own_code import import_own
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "my_sizes.py").write_text("SIDE = 32")
        ...     import_own(f"{folder}/my_sizes.py").SIDE
        32
    """
    if is_file_name(name):
        return import_file(name, folders)
    if not _MODULE.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be imported: it is neither a file, path/to/file.py, nor a module, package.module."
        )
    return _import_module(name, folders)


def is_file_name(name: str) -> bool:
    """Whether a name is a file's, and not a module's."""
    return name.endswith(".py") or "/" in name or "\\" in name


def import_file(name: str, folders: Sequence[Path] = (Path(),)) -> ModuleType:
    """Import a file, once. See `import_own`."""
    path = next((path.absolute() for folder in folders if (path := folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{name!r} cannot be imported: there is no file {name}.")
    module = _module_of_file(path) or _executed(path)
    vars(module).setdefault(_NAME, name)
    return module


def _executed(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported: {path.name} is no Python file.")
    _check_names(path)
    module = importlib.util.module_from_spec(spec)
    # Worker processes find it by its name: forked ones among the modules, others (macOS, Python 3.14) in its folder.
    earlier = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    if sys.path[0] != str(path.parent.resolve()):
        sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        if earlier is not None:
            sys.modules[path.stem] = earlier
        raise
    return module


def _check_names(path: Path) -> None:
    """Refuse a file that would get another folder's modules by the names of its own folder's, or take away a name.

    Two files that the user names may have one name, as `faces/data.py` and `scenes/data.py`: neither is imported by it.
    """
    modules = list(sys.modules.values())  # some have None, or no module
    own_files = [module for module in modules if _NAME in getattr(module, "__dict__", ()) and _file_of(module)]
    check_names(files_needed_by(path), path, own_files)
    earlier = sys.modules.get(path.stem)
    if path.stem in sys.stdlib_module_names:
        raise ValueError(f"{path} is named as Python's own module {path.stem!r}, which others import: rename the file.")
    if earlier not in own_files:
        check_names({path.stem: path}, path, own_files)


def _import_module(name: str, folders: Sequence[Path]) -> ModuleType:
    top = name.partition(".")[0]
    with_file = [folder.absolute() for folder in folders if files_of(top, folder)]
    if with_file:
        check_names(files_of(name, with_file[0]), f"The import of {name!r}")
    if top not in sys.modules:
        found = [str(folder.resolve()) for folder in _folders_with(top, folders)]
        if found and found[0] not in sys.path:
            sys.path.insert(0, found[0])
        importlib.invalidate_caches()
    return importlib.import_module(name)


def _folders_with(package: str, folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if (folder / package).is_dir() or (folder / f"{package}.py").is_file()]


def can_be_found(name: str, folders: Sequence[Path]) -> bool:
    """Whether there is something to import by a name, in these folders, or, of a module, where Python finds it."""
    if is_file_name(name):
        return any((folder / name).is_file() for folder in folders)
    if not _MODULE.fullmatch(name):
        return False
    top = name.partition(".")[0]
    return top in sys.modules or bool(_folders_with(top, folders)) or importlib.util.find_spec(top) is not None


def imported(name: str) -> ModuleType | None:
    """What is imported already by a name, where nothing but the name is known of it; None: nothing is.

    Of a file that the user has named, or of the script that runs, the last part of its path counts: where it lies on
    this machine, another machine does not know.
    """
    if not is_file_name(name):
        return sys.modules.get(name)
    main, module = sys.modules.get("__main__"), sys.modules.get(PurePath(name).stem)
    named = module if module is not None and _NAME in vars(module) else None
    file_name = PurePath(name).name
    return next((each for each in (named, main) if each and PurePath(_file_of(each)).name == file_name), None)


def place_of(name: str) -> Path | None:
    """Where what is imported lies: the file, or the folder that the module is found in; None: it is not known.

    In this folder, or by this path, `import_own` imports the same in another working directory.
    """
    module = _module_of_file(Path(name).absolute()) if is_file_name(name) else sys.modules.get(name)
    if module is None or not _file_of(module):
        return None
    file = Path(_file_of(module)).absolute()
    if is_file_name(name):
        return file
    return file.parents[name.count(".") + hasattr(module, "__path__")]


def _module_of_file(path: Path) -> ModuleType | None:
    names = (path.stem, "__main__")  # a stem may have dots of its own
    within = tuple(f".{name}" for name in names)
    candidates = [module for name, module in list(sys.modules.items()) if name in names or name.endswith(within)]
    return next((module for module in candidates if _is_from(module, path)), None)


def _is_from(module: ModuleType, path: Path) -> bool:
    return bool(_file_of(module)) and Path(_file_of(module)).resolve() == path.resolve()


def _file_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or ""


def origin_of(entry: object) -> str | None:
    """The file or module that a class or function is from, by the name that imports it again.

    Returns:
        The file, as it was named to `import_own`; of the script that runs, its path from the working directory; else
        the module's name. None: it is from this package or the libraries below it, or from an interactive session,
        which nothing can import again.

    Example:
        >>> from tsbn_hub.files.own_code import origin_of
        >>> from tsbn_hub.data import MultiDigits
        >>> origin_of(MultiDigits), origin_of(Path)
        (None, 'pathlib')
    """
    name = getattr(entry, "__module__", None)
    if not isinstance(name, str) or name.partition(".")[0] in _LIBRARIES:
        return None
    module = sys.modules.get(name)
    if module is not None and _NAME in vars(module):
        return str(vars(module)[_NAME])
    if name != "__main__":
        return name
    return from_here(Path(_file_of(module))) if module is not None and _file_of(module) else None


def origins_of(entries: Iterable[object]) -> list[str]:
    """The files and modules that classes and functions are from, each once. See `origin_of`."""
    return list(dict.fromkeys(origin for entry in entries if (origin := origin_of(entry)) is not None))


def from_here(path: Path) -> str:
    """A path as one writes it in the working directory: relative if it is below that, else absolute."""
    path = path.absolute()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


def without_folder(name: str) -> str:
    """A name without the folders of this machine: of an absolute path the last part.

    Example:
        >>> from tsbn_hub.files.own_code import without_folder
        >>> without_folder("/home/ada/kinds.py"), without_folder("faces/kinds.py"), without_folder("faces.kinds")
        ('kinds.py', 'faces/kinds.py', 'faces.kinds')
    """
    return PurePath(name).name if PurePath(name).is_absolute() else name
