"""The lowest versions that pyproject.toml allows, as constraints for pip: `python tests/lowest.py`."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest_versions(pyproject: Mapping[str, Any]) -> list[str]:
    """For each dependency, those of extras and groups too, the lowest version that it may have.

    Raises:
        ValueError: if a dependency has no lower bound.

    Example:
        >>> from tests.lowest import lowest_versions
        >>> extras = {"digits": ["scikit-learn>=1.5"], "all": ["house[digits]"]}
        >>> project = {"name": "house", "dependencies": ["torch>=2.9,<3"], "optional-dependencies": extras}
        >>> lowest_versions({"project": project, "dependency-groups": {"dev": ["torchjd[quadprog]>=0.18"]}})
        ['torch==2.9', 'scikit-learn==1.5', 'torchjd==0.18']
    """
    project = pyproject["project"]
    groups: Iterable[list[str]] = (
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    )
    requirements = [requirement for group in groups for requirement in group]
    return [_lowest(requirement) for requirement in requirements if not requirement.startswith(f"{project['name']}[")]


def _lowest(requirement: str) -> str:
    found = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\w.]+)(?:,.*)?", requirement)
    if found is None:
        raise ValueError(f"{requirement!r} has no lower bound: write name>=version.")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(lowest_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8")))))
