"""Source distributions from PyPI: they hold the test-suites that wheels leave out."""

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / "build" / "sources"


def source_of(package: str) -> Path:
    """The unpacked source distribution of the installed version.

    Raises:
        FileNotFoundError: if PyPI cannot be reached.
    """
    version = importlib.metadata.version(package)
    folder = CACHE / f"{package}-{version}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run([*command, "--dest", str(CACHE), f"{package}=={version}"], capture_output=True, text=True)
        archives = list(CACHE.glob(f"{package}-{version}.tar.gz"))
        if not archives:
            raise FileNotFoundError(f"pip could not download the source of {package} {version}: {done.stderr[-500:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(CACHE, filter="data")
    return folder
