"""What to say of a path where there is nothing."""

from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path


def is_path(source: str | Path) -> bool:
    """Whether this can be nothing but a path: no repo of the Hub has such a name.

    Example:
        >>> from tsbn_hub.files.paths import is_path
        >>> is_path("./net"), is_path("~/net"), is_path("runs/mine/net"), is_path("org/name"), is_path("net")
        (True, True, True, False, False)
    """
    return _begins_as_path(source) or len(Path(source).parts) > 2


def no_folder(source: str | Path) -> str:
    """What to say of a path that is no folder: what it is, or what lies near."""
    if Path(source).is_file():
        return f"{source} is a file: give the folder that it is in."
    if _begins_as_path(source):
        return f"There is no folder {source}.{near_hint(source)}"
    return f"{source} is neither a folder nor a Hub repo's name (org/name).{near_hint(source)}"


def no_folder_of_repo(repo: str) -> str:
    """What to say of "org/name" that may have been meant as a path, before what the Hub says of it; else nothing."""
    near = near_folders(repo)
    if not near and not Path(repo).parent.is_dir():
        return ""
    return f"There is no folder {repo}.{near_hint(repo)} As a repo of the Hub: "


def near_folders(source: str | Path) -> list[str]:
    """The folders whose names are nearly those of a path, at most three, from where the path leads to nothing.

    Example:
        >>> import os, tempfile
        >>> from pathlib import Path
        >>> from tsbn_hub.files.paths import near_folders
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for folder in ("runs/multi_digits", "runs/scenes"):
        ...         os.makedirs(Path(name, folder))
        ...     [Path(near).name for near in near_folders(Path(name, "runs", "multi_digts"))]
        ['multi_digits']
    """
    path = Path(source)
    with suppress(RuntimeError):  # there is no such user
        path = path.expanduser()
    if path.is_dir():
        return [str(path)]
    missing = [part for part in (path, *path.parents) if not part.exists()]
    if not missing:
        return []
    first = missing[-1]
    names: list[str] = []
    with suppress(OSError):
        names = [each.name for each in first.parent.iterdir() if each.is_dir()]
    folders = [first.parent / name for name in get_close_matches(first.name, names)]
    rest = path.relative_to(first)
    return [str(folder / rest if (folder / rest).is_dir() else folder) for folder in folders]


def _begins_as_path(source: str | Path) -> bool:
    return isinstance(source, Path) or Path(source).is_absolute() or source.startswith((".", "~"))


def near_hint(source: str | Path) -> str:
    """A question that names what is near a path, to follow a sentence; nothing, where nothing is."""
    near = near_folders(source)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def is_file(path: Path) -> bool:
    r"""Whether a file is there; no error where a name is one that no file can have, such as a long text.

    Example:
        >>> from pathlib import Path
        >>> from tsbn_hub.files.paths import is_file
        >>> is_file(Path("a" * 5000)), is_file(Path("a\\0b"))
        (False, False)
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
