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
    name = f"{package}-{importlib.metadata.version(package)}"
    file, archive = CACHE / name / Path(path).name, CACHE / f"{name}.tar.gz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes that come here at once, none may read what another has half written.
        with TemporaryDirectory(dir=CACHE) as own:
            if not archive.is_file():
                _download(name, own).replace(archive)
            with tarfile.open(archive) as members:
                content = members.extractfile(f"{name}/{path}")
                assert content is not None
                extracted = Path(own, file.name)
                extracted.write_bytes(content.read())
            extracted.replace(file)
    return file


def _download(name: str, folder: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", folder, name.replace("-", "==")], capture_output=True, text=True, timeout=300
    )
    archive = Path(folder, f"{name}.tar.gz")
    if not archive.is_file():
        raise FileNotFoundError(f"pip could not download the source of {name}: {done.stderr[-500:]}")
    return archive
