"""Source distributions from PyPI: they hold the test-suites that wheels leave out."""

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / "build" / "sources"


def file_of_source(package: str, path: str) -> Path:
    """A file of the installed version's source distribution, in a folder of its own.

    Raises:
        FileNotFoundError: if PyPI cannot be reached.
    """
    name = f"{package}-{importlib.metadata.version(package)}"
    file = CACHE / name / Path(path).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", str(CACHE), name.replace("-", "==")], capture_output=True, text=True, timeout=300
        )
        archive = CACHE / f"{name}.tar.gz"
        if not archive.is_file():
            raise FileNotFoundError(f"pip could not download the source of {name}: {done.stderr[-500:]}")
        with tarfile.open(archive) as members:
            content = members.extractfile(f"{name}/{path}")
            assert content is not None
            file.write_bytes(content.read())
    return file
