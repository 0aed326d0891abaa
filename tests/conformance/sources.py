"""Source distributions from PyPI: they hold the test-suites that wheels leave out."""

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

CACHE = Path(__file__).parents[2] / "build" / "sources"


def file_of_source(package: str, path: str) -> Path:
    """A file of the installed version's source distribution, in a folder of its own.

    Raises:
        FileNotFoundError: if PyPI cannot be reached.
    """
    (file,) = files_of_source(package, [path])
    return file


def files_of_source(package: str, paths: list[str]) -> list[Path]:
    """Several files, in one folder. They are read in one pass, for each pass decompresses the archive.

    Raises:
        FileNotFoundError: if PyPI cannot be reached.
    """
    name = f"{package}-{importlib.metadata.version(package)}"
    folder, archive = CACHE / name, CACHE / f"{name}.tar.gz"
    files = {f"{name}/{path}": folder / Path(path).name for path in paths}
    missing = {path for path, file in files.items() if not file.is_file()}
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes that come here at once, none may read what another has half written.
        with TemporaryDirectory(dir=CACHE) as own:
            if not archive.is_file():
                _download(name, own).replace(archive)
            with tarfile.open(archive, "r|gz") as members:
                for member in members:
                    if member.name in missing:
                        content = members.extractfile(member)
                        assert content is not None
                        extracted = Path(own, files[member.name].name)
                        extracted.write_bytes(content.read())
                        extracted.replace(files[member.name])
    assert all(file.is_file() for file in files.values()), f"{archive} has not all of {paths}."
    return list(files.values())


def _download(name: str, folder: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", folder, name.replace("-", "==")], capture_output=True, text=True, timeout=300
    )
    archive = Path(folder, f"{name}.tar.gz")
    if not archive.is_file():
        raise FileNotFoundError(f"pip could not download the source of {name}: {done.stderr[-500:]}")
    return archive
