"""Running a script of benchmarks/ or examples/ in this process."""

import runpy
import sys
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]


def run_script(path: str, *arguments: str) -> None:
    """As `python path *arguments`, but that a script which exits with success returns."""
    folder = str((ROOT / path).parent)  # from where a script imports its parts
    with patch.object(sys, "argv", [path, *arguments]), patch.object(sys, "path", [folder, *sys.path]):
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
        except SystemExit as exit:
            if exit.code:
                raise
